"""Needle prompts read through many compressed caches, all filled from one prefill.

Protocol as in needle.py (gkamradt's grid with a fact that cannot be guessed). The prompt but its last token is prefilled once;
the last token and the gold answer then go through each method's cache as if one by one, so that every scored token has attended
to the compressed prompt. Likelihood and greedy hits come from the same pass: greedy decoding gives the answer exactly when every
argmax agrees with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd
import torch
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.caches.follow import follow
from galley.caches.prefill import Prefill, prefill
from galley.evaluate.long.needle import CITIES, build_needle_prompt
from galley.evaluate.long.wording import PLAIN, Wording

METRICS = (("answer_nll", "nats/token"), ("answer_accuracy", "fraction"), ("keyword_recall", "fraction"))


class Answered(Protocol):
    """A prompt and the gold tokens after it."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """Return the prompt's ids."""

    @property
    def answer(self) -> tuple[int, ...]:
        """Return the answer's ids."""


@dataclass(frozen=True)
class NeedleItem:
    """One prompt with its answer, and where in the grid it stands."""

    item_id: str
    length: int
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def build_needle_grid(
    haystack: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    context: int,
    lengths: Sequence[int],
    depths: Sequence[float],
    repeats: int,
    seed: int,
    wording: Wording = PLAIN,
) -> list[NeedleItem]:
    """Return the items of all lengths, depths and repeats; a repeat starts in another text of the haystack.

    GalleyError, before any prompt runs, for a length beyond the model's context or without room for the needle.
    """
    too_long = [n for n in lengths if n > context]
    if too_long:
        raise GalleyError(f"needle length is {too_long[0]} tokens, but the model's context is {context}; use lengths up to {context}")
    generator = torch.Generator().manual_seed(seed)
    items = []
    for length in lengths:
        for depth in depths:
            for repeat in range(repeats):
                city = CITIES[int(torch.randint(len(CITIES), (), generator=generator))]
                number = int(torch.randint(10_000, 100_000, (), generator=generator))
                start = int(torch.randint(len(haystack), (), generator=generator))
                texts = [*haystack[start:], *haystack[:start]]
                prompt, answer = build_needle_prompt(
                    texts, tokenizer, length=length, depth=depth, city=city, number=number, wording=wording
                )
                if str(number) not in tokenizer.decode(prompt):
                    raise GalleyError(f"the needle {number} does not survive tokenisation at length {length}, depth {depth}")
                items.append(NeedleItem(f"len={length},depth={depth},n={repeat}", length, tuple(prompt), tuple(answer)))
    return items


def score_needles(
    model: PreTrainedModel,
    items: Sequence[NeedleItem],
    *,
    makers: Mapping[str, Callable[[Prefill, NeedleItem], Cache]],
    window: int,
    votes: bool = False,
) -> pd.DataFrame:
    """Return one row per item, method and metric; `makers` fill a cache from a prefill that recorded `window` queries (and votes)."""
    rows = []
    for item in items:
        prompt = prefill(model, torch.tensor([item.prompt[:-1]], device=model.device), window=window, votes=votes)
        for method, make in makers.items():
            for (metric, unit), value in zip(METRICS, read_answer(model, make(prompt, item), item), strict=True):
                rows.append({"method": method, "benchmark": "niah", "metric": metric, "unit": unit, "item_id": item.item_id,
                             "score": value, "weight": 1.0, "status": "ok", "reason": ""})  # fmt: skip
    return pd.DataFrame(rows)


def read_answer(model: PreTrainedModel, cache: Cache, item: Answered) -> tuple[float, float, float]:
    """Return the answer's nats a token, the share of its tokens that come first, and whether all do."""
    gold = torch.tensor(item.answer, device=model.device)
    fed = torch.tensor([[item.prompt[-1], *item.answer[: len(gold) - 1]]], device=model.device)
    stacked = follow(model, cache, fed)[0].float()
    right = (stacked.argmax(dim=-1) == gold).float()
    return float(F.cross_entropy(stacked, gold)), float(right.mean()), float(right.min())
