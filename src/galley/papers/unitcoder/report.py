"""What the stages share: the sandbox limits of a plan, and pooled ratios as items.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from galley.papers.unitcoder.plan import Plan
from galley.sandbox.types import Limits
from galley.synthesize.ratios import linearised
from galley.tables.items import Rows, absent, fraction


def limits_of(plan: Plan) -> Limits:
    """Return the sandbox limits of a plan."""
    return Limits(cpu_s=plan.limits.cpu_s, wall_s=plan.limits.wall_s, memory_mb=plan.limits.memory_mb)


def ratio_rows(hits: Mapping[str, float], counts: Mapping[str, float], *, times: int = 1, **row: Any) -> Rows:
    """Return a pooled ratio as one item a task (linearised, so that its mean is the ratio); one not_run row when nothing was counted."""
    ids = sorted(counts)
    scores = linearised([hits[i] for i in ids], [counts[i] for i in ids])
    if not len(ids) or scores[0] != scores[0]:
        return [absent(reason="nothing was kept, so there is no ratio", **row)]
    return [fraction(value=times * float(score), item_id=i, **row) for i, score in zip(ids, scores, strict=True)]
