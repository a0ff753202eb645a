"""Items as stages make them: one score, a count, a share of a whole, and what could not be made here.

What a row leaves out (unit, item, weight, seed) is filled in when it is written (galley.tables.rows).

Source: ours.
"""

from __future__ import annotations

import math
from typing import Any, SupportsFloat

Rows = list[dict[str, Any]]
OUT_OF_REACH = "out of reach"  # in the reason of a row that an absent source is to blame for: no regression, whatever was expected


def unreached(source: str) -> str:
    """Return the reason of rows that a source's absence leaves without a score."""
    return f"the source {source} is {OUT_OF_REACH}"


def scored(method: str, benchmark: str, metric: str, score: SupportsFloat, **more: Any) -> dict[str, Any]:
    """Return one score as an item; `more` are other columns of items."""
    return {"method": method, "benchmark": benchmark, "metric": metric, "score": float(score), **more}


def count(method: str, benchmark: str, what: str, value: SupportsFloat, *, setting: str = "", **more: Any) -> dict[str, Any]:
    """Return a count as an item: metric `count`, with what is counted in the setting."""
    return scored(method, benchmark, "count", value, unit="count", setting=",".join(part for part in (what, setting) if part), **more)


def fraction(method: str, benchmark: str, metric: str, value: SupportsFloat, **more: Any) -> dict[str, Any]:
    """Return one share of a whole as an item."""
    return scored(method, benchmark, metric, value, unit="fraction", **more)


def absent(method: str, benchmark: str, metric: str, reason: str, **more: Any) -> dict[str, Any]:
    """Return the row of a number that could not be made here."""
    return scored(method, benchmark, metric, math.nan, status="not_run", reason=reason, **more)
