"""One plain training loop, with state that survives a kill at any moment and ends in the same bytes.

Source: ours; the optimiser's settings are those of arXiv:2502.14837, section 4.1 (AdamW, clip 1.0). The same loop runs in one
process and, over FSDP, in several: a step's batch is a function of seed and step, of which each process takes its rows.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from galley.artifact import GalleyError, digest
from galley.progress import progress
from galley.train.loss import next_token_loss
from galley.train.packing import batch
from galley.train.schedule import warmup_stable_decay
from galley.train.state import resume_state, save_state
from galley.train.workers import Objective, Workers


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


@dataclass(frozen=True)
class Batches:
    """What a run trains on: a step's micro-batches for this process, and their loss."""

    parts: Callable[[int], Sequence[Any]]  # of a step: a pure function of it
    loss: Callable[[PreTrainedModel, Any], torch.Tensor]  # of a micro-batch, the mean in nats
    share: Callable[[Any], float]  # of a micro-batch in its step's loss: the shares of a step add up to 1
    tokens: Callable[[Any], int]  # of a micro-batch
    key: Any  # what they draw from, so that a kept state is only of the same run


def packed_batches(data: torch.Tensor, config: TrainConfig, workers: Workers) -> Batches:
    """Return the batches of packed ids (sequences, seq_len): this process's rows of each global batch, predicted token by token."""
    if data.shape[1] != config.seq_len:
        raise GalleyError(f"training.seq_len is {config.seq_len}, but the data is packed to {data.shape[1]}")
    rows = config.batch_size * config.accumulate

    def parts(step: int) -> Sequence[torch.Tensor]:
        ids = batch(data, step=step, batch_size=rows * workers.size, seed=config.seed)
        return ids[workers.rank * rows : (workers.rank + 1) * rows].long().split(config.batch_size)

    def loss(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
        return next_token_loss(model, ids.to(model.device), chunk=config.chunk)

    seen = data[:: max(1, len(data) // 4096)]  # a mapped file is not read whole for this
    return Batches(parts, loss, lambda _: 1 / config.accumulate, torch.numel, [list(data.shape), int(seen.sum())])


def train(
    model: PreTrainedModel,
    data: torch.Tensor,
    config: TrainConfig,
    *,
    state: Path | None = None,
    on_step: Callable[[int, PreTrainedModel], None] | None = None,
    at_steps: Iterable[int] = (),
    workers: Workers | None = None,
) -> pd.DataFrame:
    """Train `model` in place on packed ids (sequences, seq_len); return step, loss, lr, grad_norm and tokens.

    With `state`, every `state_every` steps are kept there and a later call goes on from them;
    `on_step(step, model)` is called after the steps in `at_steps`, in one process only. With `workers` of several processes
    each calls this alike, the weights are spread over them, and the caller asks the workers for the full ones.
    """
    workers = workers or Workers()
    return Run(model, packed_batches(data, config, workers), config, state=state, workers=workers).steps(on_step, at_steps)


class Run:
    """A training run under way: the objective, the optimiser and where it stands."""

    def __init__(
        self, model: PreTrainedModel, batches: Batches, config: TrainConfig, *, state: Path | None = None, workers: Workers | None = None
    ) -> None:
        workers = workers or Workers()
        if config.dtype not in ("float32", "bfloat16", "autocast"):
            raise GalleyError(f"training.dtype is {config.dtype!r}; allowed: float32, bfloat16, autocast")
        self.batches, self.config, self.state, self.workers = batches, config, state, workers
        self.device = model.device
        model.to(torch.bfloat16 if config.dtype == "bfloat16" else torch.float32)
        _choose(model, config.trainable)
        self.objective = Objective(model, batches.loss)
        workers.share(self.objective, low_precision=config.dtype == "autocast")
        self.params = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.params, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
        )
        same = asdict(config) | {"accumulate": config.accumulate * workers.size}  # the global batch, however it is cut
        self.key = digest([same, batches.key])
        self.first, self.log = resume_state(self.objective.model, self.optimizer, workers, state=state, key=self.key)

    def steps(self, on_step: Callable[[int, PreTrainedModel], None] | None = None, at_steps: Iterable[int] = ()) -> pd.DataFrame:
        """Take the steps that are left; see `train`."""
        config, model, points = self.config, self.objective.model, set(at_steps)
        model.train()
        left = range(self.first, config.steps)
        if self.workers.rank == 0:
            left = progress(left, what="train", initial=self.first, total=config.steps)  # type: ignore[assignment]
        for step in left:
            self.log.append(self._step(step))
            if on_step is not None and step + 1 in points:
                model.eval()
                on_step(step + 1, model)
                model.train()
            if self.state is not None and (step + 1) % config.state_every == 0 and step + 1 < config.steps:
                save_state(model, self.optimizer, self.workers, state=self.state, key=self.key, step=step + 1, log=self.log)
        model.eval()
        self.workers.wait()
        if self.state is not None and self.workers.rank == 0:
            shutil.rmtree(self.state, ignore_errors=True)
        return pd.DataFrame(self.log)

    def _step(self, step: int) -> dict[str, float]:
        """Take one optimiser step on the global batch; return its log entry."""
        config, workers = self.config, self.workers
        lr = config.lr * warmup_stable_decay(step, steps=config.steps, warmup=config.warmup_steps, decay=config.decay_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        parts = self.batches.parts(step)
        loss = 0.0
        for number, part in enumerate(parts, start=1):
            workers.last_backward(self.objective, number == len(parts))
            with self._precision():
                part_loss = self.objective(part) * self.batches.share(part)
            part_loss.backward()
            loss += part_loss.item()
        tokens = workers.size * sum(map(self.batches.tokens, parts))
        norm = torch.nn.utils.clip_grad_norm_(self.params, config.clip, foreach=True)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"step": step + 1, "loss": workers.mean(loss), "lr": lr, "grad_norm": norm.item(), "tokens": tokens}

    def _precision(self) -> contextlib.AbstractContextManager:
        """Return the context of a forward pass: bf16 products where FSDP does not see to them."""
        if self.config.dtype == "autocast" and self.workers.size == 1:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()


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


def _choose(model: PreTrainedModel, which: str) -> None:
    """Let only the named parameters learn."""
    if which not in ("all", "attention"):
        raise GalleyError(f"training.trainable is {which!r}; allowed: all, attention")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(which == "all" or ".self_attn." in name)
