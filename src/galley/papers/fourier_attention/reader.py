"""One job's model with the caches of every method, and the rows of what they read; finished prompts survive an interruption.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.caches.rope import require_rope_attention
from galley.data.corpus import read_split
from galley.evaluate.long.questions import Question, ask
from galley.models.checkpoint import load_tensors
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.papers.fourier_attention.methods import SNAP_WINDOW, Maker, make_makers
from galley.papers.fourier_attention.plan import asks_for_votes
from galley.stage import Job
from galley.tables.ledger import Ledger, Rows


@dataclass(frozen=True)
class Reader:
    """A loaded model, its methods' makers, held-out text to hide facts in, and the ledger that keeps what was read."""

    job: Job
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    makers: dict[str, Maker]
    votes: bool
    texts: list[str]
    ledger: Ledger

    @classmethod
    def load(cls, job: Job, base: Path, *, corpus: Path, errors: Path, device: str, **inputs: Path) -> Reader:
        """Load a model and its calibrated channels; GalleyError for attention that caches do not take. `inputs` decide prompts too."""
        where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
        model = load_model(base, dtype=getattr(torch, job.spec.dtype), device=where)
        require_rope_attention(model.config)
        makers = make_makers(model, load_tensors(errors), job.plan)
        inputs |= {"base": base, "heldout": corpus / "heldout.jsonl", "errors": errors}
        ledger = Ledger(job, backend="torch", device=device_name(where), inputs=inputs)
        return cls(job, model, load_tokenizer(base), makers, asks_for_votes(job.plan), held_out_text(corpus), ledger)

    def chosen(self, names: Collection[str] | None) -> dict[str, Maker]:
        """Return the makers of the named methods, all for None."""
        return {name: make for name, make in self.makers.items() if names is None or name in names}

    def questions(self, what: str, questions: Sequence[Question], *, makers: Mapping[str, Maker], generate: Collection[str]) -> Rows:
        """Return the rows of this shard's questions."""
        return self.ledger.each(
            f"{what} questions", self.job.mine(questions),
            lambda q: ask(self.model, self.tokenizer, q, makers=makers, generate=generate, window=SNAP_WINDOW, votes=self.votes),
            name=lambda q: f"{q.benchmark},{q.setting},{q.item_id}",
        )  # fmt: skip

    def leave(self, rows: Rows, *, tokens: int) -> None:
        """Write the job's rows, and its run with the tokens of its prompts."""
        self.ledger.add(rows, {**self.job.watch.read(), "tokens": tokens}, name=self.job.name)
        self.ledger.write()


def held_out_text(corpus: Path) -> list[str]:
    """Return held-out text: essays where the machine has them, else all of the split."""
    documents = read_split(corpus, "heldout")
    essays = [doc["text"] for doc in documents if doc["source"] == "essays"]
    return essays or [doc["text"] for doc in documents]
