"""What every stage of the recipe leaves: items and one run row, with the same common columns; and counts as items.

Source: ours.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import Stopwatch, digest
from galley.papers.unitcoder.plan import Plan
from galley.sandbox.types import Limits
from galley.synthesize.ratios import linearised
from galley.tables.rows import item_frame, write_items, write_runs

PAPER = "unitcoder"
Rows = list[dict[str, Any]]


def limits_of(plan: Plan) -> Limits:
    """Return the sandbox limits of a plan."""
    return Limits(cpu_s=plan.limits.cpu_s, wall_s=plan.limits.wall_s, memory_mb=plan.limits.memory_mb)


def finish(rows: Rows, *, stage: str, out: Path, plan: Plan, scale: str, watch: Stopwatch, backend: str, device: str = "cpu") -> None:
    """Write <stage>.items.parquet and <stage>.runs.csv; `backend` says how programs were isolated, `device` where a model computed.

    Call it when the sandbox is closed: then the CPU seconds of its processes are known, and they are in the run's.
    """
    run_id = digest([PAPER, stage, scale, plan.model_dump()])
    common = {"paper": PAPER, "scale": scale, "run_id": run_id, "device": device}
    rows = [{"model": "none", **row} for row in rows]
    write_items(item_frame(rows, **common, backend=backend or "none"), out / f"{stage}.items.parquet")
    facts: dict[str, Any] = {"stage": stage, "model": "none", "method": "", "setting": "", "seed": 0, "threads": 1, **watch.read()}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts["cpu_s"] = round(facts["cpu_s"] + children.ru_utime + children.ru_stime, 3)
    write_runs(pd.DataFrame([{**common, **facts}]), out / f"{stage}.runs.csv")


def count(method: str, benchmark: str, what: str, value: float, *, setting: str = "", **more: Any) -> dict[str, Any]:
    """Return a count as an item: metric `count`, with what is counted in the setting."""
    where = ",".join(part for part in (what, setting) if part)
    return {"method": method, "benchmark": benchmark, "metric": "count", "unit": "count", "score": float(value), "setting": where, **more}


def fraction(method: str, benchmark: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    """Return one share of a whole as an item."""
    return {"method": method, "benchmark": benchmark, "metric": metric, "unit": "fraction", "score": float(value), **more}


def absent(method: str, benchmark: str, metric: str, reason: str, **more: Any) -> dict[str, Any]:
    """Return the row of a number that could not be made here."""
    return {"method": method, "benchmark": benchmark, "metric": metric, "score": None, "status": "not_run", "reason": reason, **more}


def ratio_rows(hits: Mapping[str, float], counts: Mapping[str, float], *, times: int = 1, **row: Any) -> Rows:
    """Return a pooled ratio as one item a task (linearised, so that its mean is the ratio); one not_run row when nothing was counted."""
    ids = sorted(counts)
    scores = linearised([hits[i] for i in ids], [counts[i] for i in ids])
    if not len(ids) or scores[0] != scores[0]:
        return [{**row, "score": None, "status": "not_run", "reason": "nothing was kept, so there is no ratio"}]
    return [{**row, "unit": "fraction", "item_id": i, "score": times * float(score)} for i, score in zip(ids, scores, strict=True)]
