"""LongBench as questions for many caches: gold likelihood and graded answers, and its two averages.

Protocol of LongBench (Bai et al., 2023): prompts, truncation and metrics of longbench.py and longbench_metrics.py. Beside the score the
likelihood of the first gold answer's first tokens: a small model carries signal there. With `audit` an item
that is longer than the limit is asked three times: with its middle cut (the benchmark's way), with its end cut, as FourierAttention's
authors' wrapper does, which loses the question, and with its start cut, which loses as much text and keeps the question.
Averages: by samples, as OpenCompass prints it, and plain; only when all sixteen tasks are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from galley.evaluate.long.longbench import build_prompt
from galley.evaluate.long.longbench_metrics import METRICS, SAMPLES, score
from galley.evaluate.long.questions import Question

ABSENT = "data: out of reach (neither mirror nor hub)"
MIDDLE, AUDITS = "cut=middle", ("end", "start")
BY_SAMPLES, PLAIN = "weighted by samples", "plain"


def longbench_questions(
    tasks: Mapping[str, Sequence[Mapping[str, Any]] | None],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompts: Mapping[str, str],
    maxlen: Mapping[str, int],
    protocol: str,
    limit: int,
    max_length: int,
    gold_tokens: int,
    new_tokens: int | None = None,
    audit: bool = False,
) -> list[Question]:
    """Return the questions of the tasks that are there, at most `limit` a task; `new_tokens` caps the official answer lengths."""
    questions = []
    for task in METRICS:
        for number, item in enumerate((tasks.get(task) or ())[:limit] if task in prompts else ()):
            room = min(maxlen[task], new_tokens or maxlen[task])

            def cut(side: str, task: str = task, item: Mapping[str, Any] = item, room: int = room) -> tuple[int, ...]:
                return tuple(build_prompt(dict(item), prompts[task], tokenizer, protocol=protocol, max_length=max_length,
                                          answer_tokens=max(room, gold_tokens), side=side))  # fmt: skip

            gold = (item["answers"] or [""])[0]
            space = "" if prompts[task][-1:].isspace() else " "
            answer = tuple(tokenizer(space + gold, add_special_tokens=False)["input_ids"][:gold_tokens])
            if not answer:
                continue

            def grade(text: str, task: str = task, item: Mapping[str, Any] = item) -> dict[str, float]:
                return {"score": score(task, text, item["answers"], item.get("all_classes") or ())}

            stop = "\n" if protocol == "official" and task == "samsum" else None
            name, prompt = f"longbench_{task}", cut("middle")
            questions.append(Question(name, str(number), prompt, answer, room, grade, MIDDLE, stop))
            for side in AUDITS if audit else ():
                other = cut(side)
                if other != prompt:
                    questions.append(Question(name, str(number), other, answer, 0, grade, f"cut={side}", stop))
    return questions


def absent_rows(tasks: Mapping[str, Sequence[Mapping[str, Any]] | None], *, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return a `not_run` row for every method and English task whose data are not there: no silent gap."""
    return [
        {"method": method, "benchmark": f"longbench_{task}", "setting": MIDDLE, "metric": "score", "unit": "fraction", "item_id": "",
         "score": float("nan"), "status": "not_run", "reason": ABSENT}
        for task in METRICS if not tasks.get(task) for method in methods
    ]  # fmt: skip


def asked_of(questions: Sequence[Question]) -> dict[str, int]:
    """Return how many items of each English task are asked."""
    middle = [q.benchmark for q in questions if q.setting == MIDDLE]
    return {task: middle.count(f"longbench_{task}") for task in METRICS}


def average_rows(rows: Sequence[Mapping[str, Any]], *, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return both averages' item rows of the scores in `rows`; `counts` are the items of each task over all jobs.

    An item weighs its task's share over its task's items, so that the rows of all jobs together give the average. None while
    a task has no item: an average over fewer tasks is another number.
    """
    if not all(counts.values()):
        return []
    out = []
    for row in rows:
        if row["metric"] != "score" or row["setting"] != MIDDLE or not row["benchmark"].startswith("longbench_"):
            continue
        task = row["benchmark"].removeprefix("longbench_")
        for way, share in ((BY_SAMPLES, SAMPLES.get(task, 200)), (PLAIN, 1)):
            out.append({**row, "benchmark": "longbench", "setting": way, "metric": "average", "item_id": f"{task}/{row['item_id']}",
                        "weight": share / counts[task]})  # fmt: skip
    return out


def absent_average_rows(*, counts: Mapping[str, int], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return `not_run` rows of both averages when a task has no item, none otherwise."""
    missing = [task for task, n in counts.items() if not n]
    if not missing:
        return []
    why = f"{len(missing)} of {len(METRICS)} tasks have no score, such as {missing[0]}"
    return [
        {"method": method, "benchmark": "longbench", "setting": way, "metric": "average", "unit": "fraction", "item_id": "",
         "score": float("nan"), "status": "not_run", "reason": why}
        for way in (BY_SAMPLES, PLAIN) for method in methods
    ]  # fmt: skip
