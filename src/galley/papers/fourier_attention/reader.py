"""One job's model with the caches of every method, and the rows of what they read; finished prompts survive an interruption.

Source: ours. A prompt's rows are kept in a folder named by the digest of all that they depend on, so an interrupted job goes on
where it was and ends in the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError, Stopwatch, atomic_path, code_digest, digest
from galley.caches.rope import require_rope_attention
from galley.evaluate.questions import Question, ask
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.models.spec import spec_of
from galley.papers.fourier_attention.methods import SNAP_WINDOW, Maker, make_makers
from galley.papers.fourier_attention.plan import Plan, asks_for_votes
from galley.tables.rows import item_frame, write_items, write_runs

PAPER = "fourier_attention"
T = TypeVar("T")


@dataclass(frozen=True)
class Reader:
    """A loaded model, its methods' makers, and where rows go."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    makers: dict[str, Maker]
    votes: bool
    plan: Plan
    out: Path
    stage: str
    shard: int
    key: str
    common: dict[str, Any]
    watch: Stopwatch

    @classmethod
    def load(cls, base: Path, *, out: Path, plan: Plan, model_name: str, scale: str, shard: int, stage: str, device: str) -> Reader:
        """Load a model and its calibrated channels; GalleyError for a shard out of range or attention that caches do not take."""
        if shard >= plan.shards:
            raise GalleyError(f"shard is {shard}; this scale has shards 0 to {plan.shards - 1}")
        watch = Stopwatch()
        spec = spec_of(plan.models, model_name)
        where = resolve_device(device, model=model_name, gpus=spec.gpus)
        model = load_model(base, dtype=getattr(torch, spec.dtype), device=where)
        require_rope_attention(model.config)
        errors = load_file(out / "errors.safetensors")
        kept = {mode: e.double().sum().item() for mode, e in errors.items()}
        key = digest([code_digest(f"galley.papers.fourier_attention.{MODULES[stage]}"), plan.model_dump(), model_name, kept, where.type])
        common = {"run_id": digest([key, stage, shard]), "paper": PAPER, "scale": scale, "model": model_name}
        common["device"] = device_name(where)
        makers = make_makers(model, errors, plan)
        return cls(model, load_tokenizer(base), makers, asks_for_votes(plan), plan, out, stage, shard, key, common, watch)

    def deal(self, units: Sequence[T]) -> Sequence[T]:
        """Return this shard's share of the units, dealt in turn."""
        return units[self.shard :: self.plan.shards]

    def chosen(self, names: Collection[str] | None) -> dict[str, Maker]:
        """Return the makers of the named methods, all for None."""
        return {name: make for name, make in self.makers.items() if names is None or name in names}

    def each(self, what: str, units: Sequence[Any], score: Callable[[Any], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return the rows of all units, each kept when it is done."""
        rows: list[dict[str, Any]] = []
        for unit in tqdm(units, desc=what, mininterval=10):  # in a log file too: a grid takes minutes
            name = unit.item_id if not hasattr(unit, "benchmark") else f"{unit.benchmark},{unit.setting},{unit.item_id}"
            done = self.out / "state" / self.key / f"{digest([what, name])}.parquet"
            if not done.exists():
                with atomic_path(done) as part:
                    pd.DataFrame(score(unit)).to_parquet(part)
            rows += pd.read_parquet(done).to_dict("records")
        return rows

    def questions(self, questions: Sequence[Question], *, makers: Mapping[str, Maker], generate: Collection[str]) -> list[dict[str, Any]]:
        """Return the rows of this shard's questions."""
        mine = self.deal(questions)
        return self.each(
            f"{mine[0].benchmark.split('_')[0]} questions" if mine else "questions", mine,
            lambda q: ask(self.model, self.tokenizer, q, makers=makers, generate=generate, window=SNAP_WINDOW, votes=self.votes),
        )  # fmt: skip

    def write(self, rows: Sequence[Mapping[str, Any]], *, tokens: int) -> None:
        """Write the stage's items and its run."""
        write_items(item_frame(rows, **self.common, backend="torch"), self.out / f"{self.stage}-{self.shard}.items.parquet")
        facts = {"stage": self.stage, "method": "", "setting": "", "seed": 0, "threads": torch.get_num_threads(), "tokens": tokens}
        write_runs(pd.DataFrame([{**self.common, **facts, **self.watch.read()}]), self.out / f"{self.stage}-{self.shard}.runs.csv")


MODULES = {"needles": "experiment", "tasks": "tasks"}
