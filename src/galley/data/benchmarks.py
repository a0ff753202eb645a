"""Readers of benchmark files: plain lists of dicts, with the line number when something is broken.

Source: the formats are the benchmarks' own; see recipes/sources.yaml for where each comes from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError


def read_jsonl(path: Path, *, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read JSON lines that all have `fields`; GalleyError names the first broken line."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise GalleyError(f"{path}:{number}: not JSON: {error.msg}") from None
        missing = [field for field in fields if field not in row]
        if missing:
            raise GalleyError(f"{path}:{number}: no field {missing[0]!r}; expected {', '.join(fields)}")
        rows.append(row)
    return rows


def read_piqa(folder: Path) -> list[dict[str, Any]]:
    """Return PIQA validation items: goal, sol1, sol2, label (0 or 1)."""
    rows = read_jsonl(folder / "valid.jsonl", fields=("goal", "sol1", "sol2"))
    labels = (folder / "valid-labels.lst").read_text().split()
    if len(labels) != len(rows):
        raise GalleyError(f"{folder}: {len(rows)} items but {len(labels)} labels")
    return [{**row, "label": int(label)} for row, label in zip(rows, labels, strict=True)]


def read_hellaswag(folder: Path) -> list[dict[str, Any]]:
    """Return HellaSwag items as the fixture has them: question, choices, answer letter."""
    return read_jsonl(folder / "cases.jsonl", fields=())


def read_longbench(folder: Path, task: str) -> list[dict[str, Any]]:
    """Return a LongBench task's items: input, context, answers, length, all_classes."""
    return read_jsonl(folder / f"{task}.jsonl", fields=("input", "context", "answers"))


def read_longbench_config(folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Return LongBench's official prompts and answer lengths by task."""
    prompts = json.loads((folder / "dataset2prompt.json").read_text(encoding="utf-8"))
    return prompts, json.loads((folder / "dataset2maxlen.json").read_text(encoding="utf-8"))
