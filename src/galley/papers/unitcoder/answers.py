"""What trained models answer: code benchmarks, greedily, one program a task, in points out of 100 as the paper prints them.

arXiv:2502.11460 reports pass@1 on BigCodeBench, HumanEval and MBPP; which split, shots and decoding it took is not published. Here: the
benchmarks' own prompts for base models (BigCodeBench-Complete; MBPP's test split after three examples), greedy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from galley.data.code_benchmarks import MBPP_SPLITS
from galley.data.fetched import present
from galley.evaluate.code.benchmarks import benchmark
from galley.evaluate.code.generate import generate_samples
from galley.evaluate.code.score import score_file
from galley.llm.local import HFBackend
from galley.papers.unitcoder.plan import Plan
from galley.tables.items import Rows, absent, scored, unreached

NAMES = {"bigcodebench": "BigCodeBench", "bigcodebench_all": "BigCodeBench", "humaneval": "HumanEval", "mbpp": "MBPP"}


def answer_rows(
    method: str, model: Any, tokenizer: Any, *, plan: Plan, sources: Path, folder: Path, unsafe: bool, but: Collection[str] = ()
) -> Rows:
    """Return a row a task of each benchmark of the plan `but` some: 100 where the program passes, 0 where not; none where it names none."""
    rows: Rows = []
    for name in [n for n in (plan.answers.benchmarks if plan.answers else ()) if NAMES[n] not in but]:
        if not present(sources / benchmark(name).source):
            rows.append(absent(method, NAMES[name], "points", unreached(benchmark(name).source)))
            continue
        assert plan.answers is not None
        backend, limit = HFBackend(model, tokenizer, batch_size=plan.answers.batch_size), plan.answers.tasks
        answers, scores = folder / f"{name}.jsonl", folder / f"{name}.scores"
        generate_samples(name, backend, sources=sources, out=answers, limit=limit)
        score_file(name, answers, sources=sources, out=scores, partial=limit is not None, unsafe=unsafe)
        found = [json.loads(line) for line in (scores / "results.jsonl").read_text(encoding="utf-8").splitlines()]
        low, high = MBPP_SPLITS["test"] if name == "mbpp" else (0, sys.maxsize)
        rows += [
            scored(method, NAMES[name], "points", 100.0 * (r["verdict"] == "pass"), unit="points", item_id=r["task_id"])
            for r in found
            if low <= int(r["task_id"].split("/")[1]) <= high
        ]
    return rows
