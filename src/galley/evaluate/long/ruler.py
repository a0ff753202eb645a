"""RULER: synthetic long-context tasks of any length, as questions for many caches.

Source: RULER (arXiv:2404.06654). Eleven of the thirteen tasks (ruler_texts.py); the two QA tasks need paragraphs that are out of
reach, and are reported so. A prompt is the largest that leaves room for the answer, counted in the model's own tokens.
Metric: the share of the answers that the generated text contains, letter case aside. Beside it the answers' likelihood, in
the order of the text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.evaluate.long.questions import Question
from galley.evaluate.long.ruler_texts import TASKS, UNREACHED, Build, Sample
from galley.evaluate.long.wording import PLAIN, Wording

ABLATION = ("niah_multikey_1", "niah_multikey_2", "niah_multikey_3", "niah_multivalue")  # the four that arXiv:2506.11886 runs


def string_match(text: str, answers: Sequence[str]) -> float:
    """Return the share of the answers that the text contains."""
    return sum(answer.lower() in text.lower() for answer in answers) / len(answers)


def fit(build: Build, tokenizer: PreTrainedTokenizerBase, *, length: int, task: str) -> tuple[Sample, list[int], list[int]]:
    """Return the largest sample that fits `length` tokens with its answer, its prompt's ids and its answer's.

    GalleyError when not even the smallest does.
    """

    def made(size: int) -> tuple[Sample, list[int], list[int]]:
        sample = build(size)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (sample.prompt, sample.said)]
        return sample, ids[0], ids[1]

    smallest = made(0)
    need = len(smallest[1]) + len(smallest[2])
    if need > length:
        raise GalleyError(f"ruler length is {length} tokens, but the shortest {task} takes {need}; use at least {need}")
    low, best, high = 0, smallest, 1
    while sum(map(len, made(high)[1:])) <= length and high < 4 * length:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        candidate = made(middle)
        if len(candidate[1]) + len(candidate[2]) <= length:
            low, best = middle, candidate
        else:
            high = middle
    return best


def ruler_questions(
    essays: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    tasks: Sequence[str],
    length: int,
    limit: int,
    new_tokens: int,
    seed: int,
    wording: Wording = PLAIN,
) -> list[Question]:
    """Return `limit` questions of each task over sentences of `essays`; GalleyError for an unknown task or too short a length."""
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise GalleyError(f"ruler task is {unknown[0]!r}; allowed: {', '.join(TASKS)}")
    sentences = [s.strip() + "." for text in essays for s in text[:200_000].replace("\n", " ").split(". ") if s.strip()]
    questions = []
    for task in tasks:
        for n in range(limit):
            # A task's samples depend on its name and number only: a longer list of tasks changes none.
            rng = random.Random(f"{seed}/{task}/{n}")
            sample, prompt, answer = fit(TASKS[task](rng, sentences, wording), tokenizer, length=length, task=task)

            def grade(text: str, sample: Sample = sample) -> dict[str, float]:
                return {"string_match": string_match(text, sample.answers)}

            room = min(new_tokens, len(answer) + 4) if new_tokens else 0
            questions.append(Question(f"ruler_{task}", str(n), tuple(prompt), tuple(answer), room, grade, f"len={length}"))
    return questions


def unreached_rows(*, methods: Sequence[str], length: int) -> list[dict[str, Any]]:
    """Return `not_run` rows of the tasks whose text is out of reach."""
    return [
        {"method": method, "benchmark": f"ruler_{task}", "setting": f"len={length}", "metric": "string_match", "unit": "fraction",
         "item_id": "", "score": float("nan"), "status": "not_run", "reason": f"data: {what} are out of reach"}
        for task, what in UNREACHED.items() for method in methods
    ]  # fmt: skip


def ablation_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the four tasks of the paper's ablation again, pooled under one name: each task weighs the same."""
    names = {f"ruler_{task}": task for task in ABLATION}
    return [
        {**row, "benchmark": "ruler_ablation", "item_id": f"{names[row['benchmark']]}/{row['item_id']}"}
        for row in rows if row["benchmark"] in names
    ]  # fmt: skip
