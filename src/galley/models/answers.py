"""Prompts with answers as rows of tokens, of which the answer's tokens alone are targets.

Source: ours; counting the answer only follows arXiv:2407.12504 and arXiv:2510.14620. Fine-tuning (galley.train.sft) and the likelihood of
answers (galley.evaluate.induction) read the same rows, so that what is learnt is what is measured. Rows are padded on the right, where
a causal model cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

IGNORE = -100  # a target that is no answer token


@dataclass(frozen=True)
class SftExample:
    """What is given and what is to be learnt; the end token is added after the answer."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt, answer and end; the last `answer_tokens` of them are the answer with its end."""

    ids: tuple[int, ...]
    answer_tokens: int


class Rows(NamedTuple):
    """A micro-batch: ids and targets, (rows, tokens) each, and its tokens and answer tokens without padding."""

    ids: torch.Tensor
    targets: torch.Tensor
    tokens: int
    answer_tokens: int


def encode(example: SftExample, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Return an example's tokens; prompt and answer are tokenised apart, so that no token straddles the two."""
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    start = [] if tokenizer.bos_token_id in (None, tokenizer.eos_token_id) else [tokenizer.bos_token_id]
    return Encoded((*start, *prompt, *answer, tokenizer.eos_token_id), len(answer) + 1)


def answer_targets(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mask of the positions that predict an answer token (rows, tokens - 1), those tokens, and the row of each."""
    following = targets[:, 1:]
    where = following != IGNORE
    return where, following[where], where.nonzero()[:, 0]


def pad_rows(rows: Sequence[Encoded], *, pad: int, keep: Sequence[int] | None = None) -> Rows:
    """Return a micro-batch padded on the right; `keep` says how many of a row's answer tokens count, from the first."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    targets = torch.full((len(rows), width), IGNORE)
    for i, row in enumerate(rows):
        count = row.answer_tokens if keep is None else keep[i]
        start = len(row.ids) - row.answer_tokens
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        targets[i, start : start + count] = torch.tensor(row.ids[start : start + count])
    return Rows(ids, targets, sum(len(row.ids) for row in rows), int((targets != IGNORE).sum()))
