"""Questions about long texts read through many compressed caches, all filled from one prefill.

Source: ours. What LongBench, RULER and NeedleBench share: the prompt but its last token is prefilled once, then every method's
cache is filled from it twice at most: the gold answer's likelihood (known tokens, follow.py), and a greedy answer that
the benchmark grades. Every scored token has attended to the compressed prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.caches.follow import follow
from galley.caches.prefill import Prefill, prefill
from galley.evaluate.long.cached_needles import read_answer


@dataclass(frozen=True)
class Question:
    """One prompt with its gold answer, and how a generated answer is graded (metric to score, 0 to 1)."""

    benchmark: str
    item_id: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]  # the gold tokens whose likelihood is taken
    new_tokens: int  # greedy tokens that are graded; 0: only the likelihood
    grade: Callable[[str], Mapping[str, float]]
    setting: str = ""
    stop: str | None = None  # text at which a generated answer ends

    @property
    def length(self) -> int:
        """Return the tokens that the model must hold."""
        return len(self.prompt) + max(len(self.answer), self.new_tokens)


def require_room(questions: Sequence[Question], *, context: int) -> None:
    """Refuse questions that the model's context does not hold, before any of them runs."""
    for q in questions:
        if q.length > context:
            raise GalleyError(
                f"{q.benchmark} {q.item_id} needs {q.length} tokens with its answer, but the model's context is {context}; "
                "lower its length in the recipe"
            )


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: Question,
    *,
    makers: Mapping[str, Callable[[Prefill, Any], Cache]],
    generate: Collection[str],
    window: int,
    votes: bool = False,
) -> list[dict[str, Any]]:
    """Return item rows of one question: the gold answer's nats a token by every maker, and grades by those in `generate`."""
    prompt = prefill(model, torch.tensor([question.prompt[:-1]], device=model.device), window=window, votes=votes)
    common = {"benchmark": question.benchmark, "setting": question.setting, "item_id": question.item_id}
    rows = []
    for method, make in makers.items():
        nll, accuracy, _ = read_answer(model, make(prompt, question), question)
        rows += [{**common, "method": method, "metric": "answer_nll", "unit": "nats/token", "score": nll},
                 {**common, "method": method, "metric": "answer_accuracy", "unit": "fraction", "score": accuracy}]  # fmt: skip
        if question.new_tokens and method in generate:
            text = greedy_answer(model, tokenizer, make(prompt, question), question)
            rows += [{**common, "method": method, "metric": metric, "unit": "fraction", "score": float(value)}
                     for metric, value in question.grade(text).items()]  # fmt: skip
    return rows


def greedy_answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cache: Cache, question: Question) -> str:
    """Return the greedy continuation through a filled cache, up to the end token, the stop text or `new_tokens`."""
    ids: list[int] = []
    token, text = question.prompt[-1], ""
    ends = tokenizer.eos_token_id
    while len(ids) < question.new_tokens:
        token = int(follow(model, cache, torch.tensor([[token]], device=model.device))[0, -1].argmax())
        if token == ends:
            break
        ids.append(token)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if question.stop is not None and question.stop in text:
            return text.split(question.stop)[0]
    return text
