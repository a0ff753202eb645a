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
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from galley.artifact import GalleyError, atomic_dir, digest
from galley.train.packing import batch
from galley.train.schedule import warmup_stable_decay


@dataclass(frozen=True)
class TrainConfig:
    """A run's settings; `dtype` bfloat16 trains bf16 weights, autocast float32 weights with bf16 products.

    A step sees batch_size x accumulate sequences, of which batch_size at a time are in memory.
    """

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
    accumulate: int = 1


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
        ids = batch(data, step=step, batch_size=config.batch_size * config.accumulate, seed=config.seed).to(model.device)
        loss = 0.0
        for part in ids.split(config.batch_size):
            with torch.autocast(model.device.type, torch.bfloat16, enabled=config.dtype == "autocast"):
                part_loss = next_token_loss(model, part, chunk=config.chunk) / config.accumulate
            part_loss.backward()
            loss += part_loss.item()
        norm = torch.nn.utils.clip_grad_norm_(params, config.clip, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        log.append(
            {
                "step": step + 1,
                "loss": loss,
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


def micro_batches(tokens_per_step: int | None, *, seq_len: int, batch_size: int, world_size: int = 1) -> int:
    """Return how many micro-batches of batch_size x seq_len tokens a process takes per step (1 when no global batch is asked for).

    GalleyError when the global batch cannot be met exactly: another batch is another experiment.
    """
    if tokens_per_step is None:
        return 1
    tokens = world_size * batch_size * seq_len
    if tokens_per_step % tokens:
        rows = tokens_per_step // (world_size * seq_len)
        fits = [b for b in range(1, rows + 1) if tokens_per_step % (world_size * b * seq_len) == 0]
        way_out = f"set training.batch_size to one of {fits[:8]}" if fits else f"change seq_len ({seq_len}) or the processes ({world_size})"
        raise GalleyError(
            f"tokens_per_step is {tokens_per_step:,}, which {world_size} processes x batch_size {batch_size} x seq_len {seq_len} = "
            f"{tokens:,} tokens do not divide; {way_out}"
        )
    return tokens_per_step // tokens


def next_token_loss(model: PreTrainedModel, ids: torch.Tensor, *, chunk: int = 256) -> torch.Tensor:
    """Return the mean next-token cross-entropy (nats) of ids (batch, tokens), logits made chunk by chunk."""
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    targets = ids[:, 1:].flatten()
    head = model.lm_head
    if len(targets) * head.out_features <= 2**24 or head.bias is not None or not torch.is_grad_enabled():
        return F.cross_entropy(head(hidden).float(), targets)
    weight = head.weight
    if torch.is_autocast_enabled(hidden.device.type):
        hidden, weight = hidden.to(torch.bfloat16), weight.to(torch.bfloat16)
    return HeadLoss.apply(hidden, weight, targets, chunk)


class HeadLoss(torch.autograd.Function):
    """Cross-entropy of a linear head whose logits and gradients are made together, a chunk of tokens at a time.

    The gradient of a mean cross-entropy is (softmax - onehot)/n, known in the forward pass: nothing is computed twice.
    """

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
        """Return the loss; hidden (tokens, d), weight (vocabulary, d), targets (tokens,)."""
        n, total = len(targets), hidden.new_zeros((), dtype=torch.float32)
        needs_weight = ctx.needs_input_grad[1]
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight) if needs_weight else None
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            log_p = (hidden[part] @ weight.T).float().log_softmax(dim=-1)
            total += F.nll_loss(log_p, targets[part], reduction="sum")
            grad = log_p.exp_()
            grad[torch.arange(len(grad), device=grad.device), targets[part]] -= 1
            grad = (grad / n).to(hidden.dtype)
            torch.mm(grad, weight, out=d_hidden[part])
            if d_weight is not None:
                d_weight.addmm_(grad.T, hidden[part])
        ctx.save_for_backward(d_hidden, d_weight)
        return total / n

    @staticmethod
    def backward(ctx, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        """Scale the gradients that the forward pass left."""
        d_hidden, d_weight = ctx.saved_tensors
        grad = grads[0].to(d_hidden.dtype)
        return d_hidden * grad, None if d_weight is None else d_weight * grad, None, None


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
