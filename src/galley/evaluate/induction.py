"""How much of an answer's likelihood comes from its own cases: the induction gap.

gap_i = NLL(answer_i | another item's cases) - NLL(answer_i | its own cases), in nats per answer token, paired item by item. A model
that merely learns the style of answers lowers both terms and shows no gap.

Source: ours, for arXiv:2407.12504 and arXiv:2510.14620.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.models.answers import Encoded, SftExample, answer_targets, encode, pad_rows
from galley.stats import derangement

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """Nats per answer token of every item, on its own cases and on another's; the gap is their difference."""

    own: Array
    other: Array

    @property
    def gap(self) -> Array:
        """Return other - own, item by item."""
        return self.other - self.own


@torch.no_grad()
def answer_nll(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[SftExample], *, batch_size: int = 16
) -> Array:
    """Return each example's negative log-likelihood of the answer and its end token, in nats per answer token.

    Examples are batched by length, padded on the right; logits are made for answer tokens only.
    """
    encoded = [encode(e, tokenizer) for e in examples]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    out = np.zeros(len(encoded))
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        group = order[start : start + batch_size]
        out[group] = _batch_nll(model, [encoded[i] for i in group])
    model.train(was_training)
    return out


def induction_gap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[SftExample],
    *,
    seed: int,
    others: Sequence[str] | None = None,
    batch_size: int = 16,
) -> Gap:
    """Return every item's likelihood on its own prompt and on another item's.

    `others` are the prompts with another's cases where a plain exchange of prompts would change more than the cases (a function's
    name, say); by default prompts are exchanged by a seeded permutation that leaves none in its place.
    """
    if others is None:
        others = [examples[j].prompt for j in derangement(len(examples), seed=seed)]
    if len(others) != len(examples):
        raise GalleyError(f"others has {len(others)} prompts for {len(examples)} examples; give one each")
    swapped = [SftExample(prompt, e.answer) for prompt, e in zip(others, examples, strict=True)]
    both = answer_nll(model, tokenizer, [*examples, *swapped], batch_size=batch_size)
    return Gap(own=both[: len(examples)], other=both[len(examples) :])


def _batch_nll(model: PreTrainedModel, rows: Sequence[Encoded]) -> list[float]:
    part = pad_rows(rows, pad=0)
    hidden = model.model(part.ids.to(model.device), use_cache=False).last_hidden_state
    where, wanted, row = answer_targets(part.targets)
    logits = model.lm_head(hidden[:, :-1][where.to(hidden.device)]).float()
    nll = F.cross_entropy(logits, wanted.to(logits.device), reduction="none").double().cpu()
    total = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, row, nll)
    return (total / torch.tensor([r.answer_tokens for r in rows], dtype=torch.float64)).tolist()
