"""One plain training loop, with state that survives a kill at any moment and ends in the same bytes.

Source: ours; the optimiser's settings are those of arXiv:2502.14837, section 4.1 (AdamW, clip 1.0).
Fast on a CPU for what it leaves out: logits are made and freed a chunk of tokens at a time, so the
gradient of a 49k vocabulary never stands in memory whole. The slow twin is the plain cross-entropy.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from galley.artifact import GalleyError, atomic_dir, digest
from galley.train.packing import batch
from galley.train.schedule import warmup_stable_decay


@dataclass(frozen=True)
class TrainConfig:
    """A run's settings; `dtype` bfloat16 trains bf16 weights, autocast float32 weights with bf16 products."""

    steps: int
    batch_size: int
    seq_len: int
    lr: float
    warmup_steps: int = 0
    decay_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0
    dtype: str = "float32"
    seed: int = 0
    trainable: str = "all"
    state_every: int = 100
    chunk: int = 256


def train(
    model: PreTrainedModel,
    data: torch.Tensor,
    config: TrainConfig,
    *,
    state: Path | None = None,
    on_step: Callable[[int, PreTrainedModel], None] | None = None,
    at_steps: Iterable[int] = (),
) -> pd.DataFrame:
    """Train `model` in place on packed ids (sequences, seq_len); return step, loss, lr, grad_norm and tokens.

    With `state`, every `state_every` steps are kept there and a later call goes on from them;
    `on_step(step, model)` is called after the steps in `at_steps`.
    """
    if config.dtype not in ("float32", "bfloat16", "autocast"):
        raise GalleyError(f"training.dtype is {config.dtype!r}; allowed: float32, bfloat16, autocast")
    if data.shape[1] != config.seq_len:
        raise GalleyError(f"training.seq_len is {config.seq_len}, but the data is packed to {data.shape[1]}")
    points = set(at_steps)
    model.to(torch.bfloat16 if config.dtype == "bfloat16" else torch.float32)
    params = _trainable(model, config.trainable)
    optimizer = torch.optim.AdamW(params, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True)
    key = digest([asdict(config), list(data.shape), int(data.sum())])
    first, log = _resume(model, optimizer, state=state, key=key)
    model.train()
    for step in tqdm(range(first, config.steps), initial=first, total=config.steps, desc="train", disable=None):
        factor = warmup_stable_decay(step, steps=config.steps, warmup=config.warmup_steps, decay=config.decay_steps)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * factor
        ids = batch(data, step=step, batch_size=config.batch_size, seed=config.seed)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "autocast"):
            loss = next_token_loss(model, ids, chunk=config.chunk)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, config.clip, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        log.append(
            {
                "step": step + 1,
                "loss": loss.item(),
                "lr": config.lr * factor,
                "grad_norm": norm.item(),
                "tokens": ids.numel(),
            }
        )
        if on_step is not None and step + 1 in points:
            model.eval()
            on_step(step + 1, model)
            model.train()
        if state is not None and (step + 1) % config.state_every == 0 and step + 1 < config.steps:
            _save(model, optimizer, state=state, key=key, step=step + 1, log=log)
    model.eval()
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)
    return pd.DataFrame(log)


def next_token_loss(model: PreTrainedModel, ids: torch.Tensor, *, chunk: int = 256) -> torch.Tensor:
    """Return the mean next-token cross-entropy (nats) of ids (batch, tokens), logits made chunk by chunk."""
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    targets = ids[:, 1:].flatten()
    head = model.lm_head
    if len(targets) * head.out_features <= 2**24:
        return F.cross_entropy(head(hidden).float(), targets)
    pieces = [
        checkpoint(_piece, head.weight, head.bias, h, t, use_reentrant=False)
        for h, t in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.stack(pieces).sum() / len(targets)


def _piece(weight: torch.Tensor, bias: torch.Tensor | None, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.linear(hidden, weight, bias).float(), targets, reduction="sum")


def _trainable(model: PreTrainedModel, which: str) -> list[torch.nn.Parameter]:
    if which not in ("all", "attention"):
        raise GalleyError(f"training.trainable is {which!r}; allowed: all, attention")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(which == "all" or ".self_attn." in name)
    return [p for p in model.parameters() if p.requires_grad]


def _save(model: PreTrainedModel, optimizer: torch.optim.Optimizer, *, state: Path, key: str, step: int, log: list) -> None:
    """Keep weights, both moments and the log: tensors as safetensors, the rest as JSON."""
    moments = {}
    for i, entry in optimizer.state_dict()["state"].items():
        for name in ("exp_avg", "exp_avg_sq", "step"):
            moments[f"{i}.{name}"] = entry[name].contiguous()
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    with atomic_dir(state) as part:
        save_file(weights, part / "model.safetensors")
        save_file(moments, part / "optimizer.safetensors")
        (part / "state.json").write_text(json.dumps({"key": key, "step": step, "log": log}))


def _resume(model: PreTrainedModel, optimizer: torch.optim.Optimizer, *, state: Path | None, key: str) -> tuple[int, list]:
    """Load a kept state if it is of the same run; return its step and log."""
    if state is None or not (state / "state.json").exists():
        return 0, []
    kept = json.loads((state / "state.json").read_text())
    if kept["key"] != key:
        return 0, []
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in load_file(state / "model.safetensors").items():
            parameters[name].copy_(tensor)
    moments = load_file(state / "optimizer.safetensors")
    full = optimizer.state_dict()
    indices = sorted({int(name.split(".")[0]) for name in moments})
    full["state"] = {i: {n: moments[f"{i}.{n}"] for n in ("exp_avg", "exp_avg_sq", "step")} for i in indices}
    optimizer.load_state_dict(full)
    return kept["step"], kept["log"]
