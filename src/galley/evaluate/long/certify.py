"""Certificates of RULER and NeedleBench: a solver that reads the prompt must score 1, exchanged and empty answers near 0.

Source: ours. The solver knows each task's rule and sees the prompt's tokens only, so a certificate holds the whole way from the generator
over the tokenizer to the grade: a needle that was cut off, or an answer that the prompt does not have, fails it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from galley.evaluate.certificates import not_run, row
from galley.evaluate.long.needlebench import MISS, needlebench_questions
from galley.evaluate.long.questions import Question
from galley.evaluate.long.ruler import ruler_questions
from galley.evaluate.long.ruler_texts import TASKS, UNREACHED
from galley.models.scratch import train_tokenizer

LENGTH, SAMPLES = 512, 4
FACT = re.compile(r"The secret number of ([\w -]+?) is ([\w-]+)\.")
ASKED = re.compile(r"secret numbers? of ([\w ,-]+?)\? Answer")


def solve(prompt: str) -> str:
    """Return the answer that a prompt of needles, chained variables or word counts asks for."""
    body, question = prompt.rsplit("Question:", 1)
    if "VAR" in body:
        value = re.findall(r"hold the value (\d+)", question)[-1]
        held: dict[str, str] = {}
        for name, given in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)\.", body):
            held[name] = held.get(given, given)
        return ", ".join(name for name, what in held.items() if what == value)
    if "List:" in body:
        counts = Counter(re.findall(r"\d+\. ([a-z]+)", body.split("List:", 1)[1]))
        return ", ".join(word for word, _ in counts.most_common(10))
    if "Coded text:" in body:
        counts = Counter(re.findall(r"[a-z]+", body.split("Coded text:", 1)[1]))
        return ", ".join(word for word, _ in counts.most_common(3))
    asked = ASKED.findall(f"{question}")[0].split(", ")
    return ", ".join(value for key, value in FACT.findall(body) if key in asked)


def certify_haystacks(prose: Sequence[str]) -> list[dict[str, Any]]:
    """Return the certificates of all RULER tasks and of NeedleBench over `prose`."""
    tokenizer = train_tokenizer(prose[:20], vocab_size=512)
    rows = [not_run(f"ruler_{task}", "string_match", f"data: {what} are out of reach") for task, what in UNREACHED.items()]
    for task in TASKS:
        length = 4 * LENGTH if task == "cwe" else LENGTH
        questions = ruler_questions(prose, tokenizer, tasks=[task], length=length, limit=SAMPLES, new_tokens=0, seed=0)
        rows += graded(questions, "string_match", tokenizer, exchanged=0.0)
    questions = needlebench_questions(
        prose, tokenizer, lengths=[LENGTH], depths=[0.0, 0.3, 0.7, 1.0], repeats=1, new_tokens=8, seed=0
    )  # fmt: skip
    return rows + graded(questions, "needlebench_score", tokenizer, exchanged=MISS)


def graded(questions: Sequence[Question], metric: str, tokenizer, *, exchanged: float) -> list[dict[str, Any]]:
    """Return the mean grade of solved, exchanged and empty answers; exchanged ones may score up to `exchanged`."""
    solved = [solve(tokenizer.decode(q.prompt)) for q in questions]
    answers = {"gold:solver": solved, "corrupted:exchanged": solved[1:] + solved[:1], "corrupted:empty": [""] * len(solved)}
    rows = []
    for method, texts in answers.items():
        scores = [q.grade(text)[metric] for q, text in zip(questions, texts, strict=True)]
        low, high = {"gold:solver": (1.0, 1.0), "corrupted:empty": (0.0, 0.0)}.get(method, (0.0, exchanged))
        rows.append(row(questions[0].benchmark, metric, method, sum(scores) / len(scores), n=len(scores), low=low, high=high))
    return rows
