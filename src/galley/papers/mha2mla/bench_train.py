"""Fine-tuning: tokens per second of our loop against transformers' Trainer, same model, batches, optimiser and schedule.

Source: ours. Short runs alternate (ours, Trainer, ours, ...) in one process; each first step is left out.
"""

from __future__ import annotations

import copy
import platform
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from galley.models.loading import load_model
from galley.papers.mha2mla.bench_rows import limit_row, ratio_row
from galley.papers.mha2mla.convert import convert_mla
from galley.train.loop import TrainConfig, train
from galley.train.packing import batch

# The dtype of our loop, Trainer's setting of the same name, and how far the loss curves may part. float32 sums in another
# order; bf16 keeps 8 bits (0.4 %) of every product, and the two round the head's logits at different places.
KINDS = {"float32": (False, 1e-3), "autocast": (True, 3e-2)}


def bench_train(base: Path, *, steps: int = 4, rounds: int = 3, batch_size: int = 1, seq_len: int = 512) -> list[dict[str, Any]]:
    """Return per dtype the throughput row and the largest difference between the loss curves."""
    rows = []
    for dtype in KINDS:
        rows += bench_dtype(base, dtype=dtype, steps=steps, rounds=rounds, batch_size=batch_size, seq_len=seq_len)
    return rows


def has_bf16_units() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware; without, bf16 is slower than float32 and says nothing of a GPU."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() or "arm" in platform.machine()


def bench_dtype(base: Path, *, dtype: str, steps: int, rounds: int, batch_size: int, seq_len: int) -> list[dict[str, Any]]:
    """Return the rows of one dtype: float32, or autocast (bf16 products over float32 weights, Trainer's bf16=True)."""
    mixed, limit = KINDS[dtype]
    original = load_model(base, dtype=torch.float32)
    d_h = original.config.hidden_size // original.config.num_attention_heads
    converted = convert_mla(original, strategy="high", r=d_h // 16, d_kv=16)
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(10, original.config.vocab_size, (steps * batch_size, seq_len), generator=generator)
    config = TrainConfig(steps=steps, batch_size=batch_size, seq_len=seq_len, lr=1e-4, dtype=dtype)
    rates: dict[str, list[float]] = {"ours": [], "trainer": []}
    gap = 0.0
    for _ in range(rounds):
        curves = []
        for name, run in (("ours", run_ours), ("trainer", run_trainer)):
            losses, seconds = run(copy.deepcopy(converted), data, config)
            curves.append(losses)
            rates[name].append(batch_size * seq_len / statistics.median(seconds))
        gap = max(gap, *(abs(a - b) for a, b in zip(*curves, strict=True)))
    ours, peer = statistics.median(rates["ours"]), statistics.median(rates["trainer"])
    facts = {
        "n": rounds * (steps - 1),
        "threads": torch.get_num_threads(),
        "dtype": "bf16 products" if mixed else "float32",
        "device": "cpu",
    }
    emulated = mixed and not has_bf16_units()
    setting = f"d_kv=16,batch={batch_size}x{seq_len}" + (", bf16 emulated: this CPU has no units for it" if emulated else "")
    return [
        ratio_row(part="train", setting=setting, metric="throughput", unit="tokens/s", ours=ours, peer=peer, higher_is_better=True,
                  peer_name="transformers Trainer", goal=None if emulated else 1.2, **facts),
        limit_row(part="train", setting=setting, metric="largest_loss_gap", unit="nats", ours=gap, limit=limit, **facts),
    ]  # fmt: skip


def run_ours(model: PreTrainedModel, data: torch.Tensor, config: TrainConfig) -> tuple[list[float], list[float]]:
    """Return losses and seconds per step (without the first) of our loop."""
    ends: list[float] = []
    log = train(model, data, config, on_step=lambda step, model: ends.append(time.perf_counter()), at_steps=range(1, config.steps + 1))
    return log["loss"].tolist(), [b - a for a, b in pairwise(ends)]


def run_trainer(model: PreTrainedModel, data: torch.Tensor, config: TrainConfig) -> tuple[list[float], list[float]]:
    """Return losses and seconds per step (without the first) of transformers' Trainer on the same batches."""
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    class InOrder(Trainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    ids = torch.cat([batch(data, step=s, batch_size=config.batch_size, seed=config.seed) for s in range(config.steps)])
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=config.batch_size, max_steps=config.steps, max_grad_norm=config.clip,
            logging_steps=1, report_to=[], save_strategy="no", use_cpu=True, bf16=config.dtype == "autocast",
            disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = InOrder(
            model=model,
            args=settings,
            train_dataset=[{"input_ids": row, "labels": row} for row in ids],
            optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)),
            callbacks=[Clock()],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, [b - a for a, b in pairwise(ends)]
