"""The fine-tuning of one arm: the paper's schedule on packed text, in this process or over the model's GPUs.

arXiv:2502.14837, section 4.1. The global batch is the model's tokens_per_step, met exactly by processes x micro-batch x
accumulation, or refused. Settled: bf16 products over float32 weights (`autocast`) where the paper says bf16, as its nanotron
runs keep float32 weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import atomic_dir, atomic_path
from galley.data.corpus import iter_split
from galley.models.device import release
from galley.models.likelihood import Windows, save_windows, score_windows
from galley.models.loading import load_model
from galley.models.spec import Model
from galley.papers.mha2mla.plan import Plan
from galley.train.launch import launch_training
from galley.train.loop import TrainConfig, micro_batches, train
from galley.train.packing import pack, pack_file, write_packed

MEMORY_TOKENS = 2**26  # packed text above this is mapped from a file


@dataclass(frozen=True)
class Tuning:
    """What the arms of a shard share when they are fine-tuned."""

    plan: Plan
    spec: Model
    tokenizer: PreTrainedTokenizerBase
    curve: Windows  # scored after every eval_every steps
    corpus: Path
    folder: Path  # where packed text is kept
    processes: int = 1

    @property
    def seq_len(self) -> int:
        """Return the tokens of a sequence."""
        return self.spec.seq_len or self.plan.training.seq_len

    @property
    def step_tokens(self) -> int:
        """Return the tokens of a step, over all processes."""
        return self.spec.tokens_per_step or self.plan.training.batch_size * self.seq_len

    @property
    def steps(self) -> int:
        """Return the optimiser steps of an arm."""
        return self.spec.steps or self.plan.training.steps

    def config(self, *, seed: int) -> TrainConfig:
        """Return one process's settings; GalleyError when the processes cannot meet the global batch."""
        settings = self.plan.training
        return TrainConfig(
            steps=self.steps,
            batch_size=settings.batch_size,
            seq_len=self.seq_len,
            lr=settings.lr,
            warmup_steps=round(settings.warmup_fraction * self.steps),
            decay_steps=round(settings.decay_fraction * self.steps),
            weight_decay=settings.weight_decay,
            dtype=settings.dtype,
            trainable=settings.trainable,
            accumulate=micro_batches(
                self.step_tokens if self.processes > 1 else self.spec.tokens_per_step,
                seq_len=self.seq_len,
                batch_size=settings.batch_size,
                world_size=self.processes,
            ),
            state_every=max(100, self.steps // 50),
            seed=seed,
        )

    def data(self, *, seed: int) -> torch.Tensor:
        """Return the train split packed, (sequences, seq_len): in memory, or mapped where it would not fit.

        In memory each seed orders the documents anew. A file keeps the corpus's own mixture, and the seed orders its sequences.
        """
        texts = (document["text"] for document in iter_split(self.corpus, "train"))
        wanted = self.steps * self.step_tokens
        if wanted <= MEMORY_TOKENS:
            return pack(list(texts), self.tokenizer, seq_len=self.seq_len, seed=seed, max_tokens=2 * wanted)
        return pack_file(texts, self.tokenizer, self.file, seq_len=self.seq_len, max_tokens=wanted)

    @property
    def file(self) -> Path:
        """Return where the train split is mapped from, one file for all arms."""
        return self.folder / f"packed-{self.seq_len}-{self.steps * self.step_tokens}.bin"


def fine_tune(
    model: PreTrainedModel, data: torch.Tensor, *, tuning: Tuning, seed: int, folder: Path
) -> tuple[PreTrainedModel, dict[int, pd.DataFrame]]:
    """Return the model after its steps and the curve's scores by step; an interrupted call goes on from `folder`."""
    config = tuning.config(seed=seed)
    points = range(tuning.plan.training.eval_every, config.steps, tuning.plan.training.eval_every)
    if tuning.processes > 1:
        model = _launched(model, data, config, tuning=tuning, points=points, folder=folder)
    else:

        def at_step(step: int, current: PreTrainedModel) -> None:
            with atomic_path(folder / "points" / f"step-{step}.parquet") as part:
                score_windows(current, tuning.curve).to_parquet(part)

        train(model, data, config, state=folder / "train", on_step=at_step, at_steps=points)
    return model, {step: pd.read_parquet(folder / "points" / f"step-{step}.parquet") for step in points}


def _launched(
    model: PreTrainedModel, data: torch.Tensor, config: TrainConfig, *, tuning: Tuning, points: range, folder: Path
) -> PreTrainedModel:
    """Hand the model to a launch and return what it made; this process's GPU is free meanwhile."""
    device, start, out = model.device, folder / "start", folder / "tuned"
    if not (out / "config.json").exists():
        if not (start / "config.json").exists():
            with atomic_dir(start) as part:
                model.save_pretrained(part)
                tuning.tokenizer.save_pretrained(part)
        file = tuning.file
        if not file.exists():  # it was small enough for memory
            file = folder / "packed.bin"
            write_packed(data, file)
        save_windows(tuning.curve, folder / "windows.safetensors")
        model.to("meta")  # it is in `start`
        release(device)
        launch_training(
            folder, config, model=start, data=file, out=out, windows=folder / "windows.safetensors", at_steps=list(points),
            processes=tuning.processes, device=device,
        )  # fmt: skip
    return load_model(out, dtype=torch.bfloat16 if config.dtype == "bfloat16" else torch.float32, device=device)
