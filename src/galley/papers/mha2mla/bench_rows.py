"""Rows of the bench.

Source: ours.
"""

from __future__ import annotations

from typing import Any


def ratio_row(*, part: str, setting: str, metric: str, unit: str, ours: float, peer: float, peer_name: str, goal: float | None,
              higher_is_better: bool, **facts: Any) -> dict[str, Any]:  # fmt: skip
    """Return a row of ours against a peer; the ratio is above 1 when ours is better."""
    ratio = ours / peer if higher_is_better else peer / ours
    met = None if goal is None else ratio >= goal
    return {"part": part, "setting": setting, "metric": metric, "unit": unit, "ours": ours, "peer": peer, "peer_name": peer_name,
            "ratio": ratio, "goal": goal, "met": met, **facts}  # fmt: skip


def limit_row(*, part: str, setting: str, metric: str, unit: str, ours: float, limit: float, **facts: Any) -> dict[str, Any]:
    """Return a row of a figure that must not exceed its limit."""
    return {"part": part, "setting": setting, "metric": metric, "unit": unit, "ours": ours, "goal": limit, "met": ours <= limit, **facts}
