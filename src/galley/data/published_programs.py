"""Programs that models wrote and others published: CodeGen-16B on HumanEval (CodeT), three models on MBPP (LLMDebugger).

Source: CodeT (arXiv:2207.10397) sampled 100 completions and 100 test suites a task at temperature 0.8 from prompts without
their examples; LLMDebugger (arXiv:2402.16906) starts from one program a task. They exercise the scorers without a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.data.benchmarks import read_jsonl
from galley.data.code_benchmarks import HumanEvalTask, PlusTask

SEEDS = ("codellama", "gpt-3.5-turbo-0613", "starcoder")
_DEF = re.compile(r"^def (\w+)\(", re.MULTILINE)


def read_codet(folder: Path, tasks: Sequence[HumanEvalTask | PlusTask], *, per_task: int, kind: str = "solutions") -> dict[str, list[str]]:
    """Return the first `per_task` completions by task id; kind `tests` gives test suites, which begin after `assert `.

    The files are in an order of their own. A task is known by the last function that its prompt defines, and among those of one
    name (HumanEval has six pairs) by its words: the prompt that begins alike the longest.
    """
    found: dict[str, list[str]] = {}
    for row in read_jsonl(folder / f"{kind}_humaneval_codegen16B.jsonl", fields=("prompt", "samples")):
        name = _DEF.findall(row["prompt"])[-1]
        alike = [task for task in tasks if task.entry_point == name]
        if alike:
            task = max(alike, key=lambda t: _alike(t.prompt.split(), row["prompt"].split()))
            found[task.id] = row["samples"][:per_task]
    return dict(sorted(found.items(), key=lambda item: int(item[0].split("/")[1])))


def _alike(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many words two texts have in common before they first differ."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def read_llmdebugger(folder: Path, model: str) -> list[dict[str, Any]]:
    """Return a model's programs for MBPP's test split: task_id, entry_point, solution, given_tests, test, is_solved (theirs)."""
    if model not in SEEDS:
        raise GalleyError(f"model is {model!r}; LLMDebugger published {', '.join(SEEDS)}")
    rows = read_jsonl(folder / f"{model}_mbpp_seed.jsonl", fields=("task_id", "solution", "is_solved"))
    return [{**row, "task_id": f"Mbpp/{row['task_id'].split('/')[1]}"} for row in rows]
