"""Rows as the paper's scale would leave them, made from a claim's own numbers: whether its planned items and runs can settle it.

Noise has exactly the spread that it is said to have and no mean, so that a verdict follows from the numbers and not from luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from galley.tables.claims import Claim, Rows
from galley.tables.metrics import Metric
from galley.tables.rows import check_items, complete
from galley.tables.verdicts import judge_claim

AGREED, SETTLED_AGAINST = {"reproduced", "confirmed"}, {"contradicted", "below_margin", "refuted"}


def noise(runs: int, items: int, *, spread: float, between_runs: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return noise (runs, items) of standard deviation `spread` over items and `between_runs` over runs, each without a mean."""
    rng = np.random.default_rng(seed)
    each = rng.standard_normal((runs, items))
    each -= each.mean(axis=1, keepdims=True)
    each *= spread / (each.std(axis=1, ddof=1, keepdims=True) if items > 1 else 1.0)
    run = rng.standard_normal(runs)
    run = (run - run.mean()) * (between_runs / run.std(ddof=1)) if runs > 1 else np.zeros(1)
    return each + run[:, None]


def scored(rows: Rows, scores: np.ndarray, *, model: str, trained: bool = False) -> list[dict]:
    """Return the items of scores (runs, items) as a stage would write them, under the names that a claim's rows say."""
    about = {"method": rows.method, "benchmark": rows.benchmark, "metric": rows.metric, "setting": rows.setting or "", "trained": trained}
    return [{**about, "model": rows.model or model, "seed": seed, "item_id": f"i{item}", "score": float(score)}
            for seed, run in enumerate(np.atleast_2d(scores)) for item, score in enumerate(run)]  # fmt: skip


def items(rows: Iterable[dict], *, paper: str) -> pd.DataFrame:
    """Return rows as checked items of the paper's scale, each once."""
    frame = complete(list(rows), paper=paper, scale="paper", run_id="r", backend="torch", device="cuda").assign(unit="")
    return check_items(frame.drop_duplicates(["method", "model", "setting", "seed", "benchmark", "metric", "item_id"]))


def sides(claim: Claim) -> list[Rows]:
    """Return the rows that a claim compares, from the one that it says is more to the least (of a trend: by x)."""
    if claim.kind == "trend":
        by_x = [point.rows for point in sorted(claim.points or [], key=lambda point: point.x)]
        return by_x if claim.direction == "less" else by_x[::-1]
    assert claim.lhs and claim.rhs
    return [claim.lhs, claim.rhs] if claim.direction == "greater" else [claim.rhs, claim.lhs]


def named(claim: Claim) -> list[Rows]:
    """Return all rows that a claim names: its own, its controls' and its requirements'."""
    of = [rows for part in (claim, *claim.controls) for rows in (part.lhs, part.rhs, *(point.rows for point in part.points or []))]
    return [rows for rows in (*of, *(r for wanted in claim.requires for r in (wanted.rows, wanted.minus))) if rows is not None]


def verdict(
    claim: Claim, *, gap: float, spread: float, n: int, runs: int = 1, between_runs: float = 0.0, trained: Sequence[bool] = (False, False),
    models: Sequence[str] = ("m",), metrics: dict[str, Metric] | None = None,
) -> dict:  # fmt: skip
    """Return the verdict where each side is `gap` above the next, in the direction of the claim, with `n` items a model.

    `spread` is that of the difference on one item. Rows that a claim requires lie within their bounds.
    """
    rows: list[dict] = []
    own = [side.model for side in sides(claim) if side.model]
    for model in own[:1] or models:
        for place, side in enumerate(sides(claim)):
            flag = trained[min(place, 1)]
            around = noise(runs if flag else 1, n, spread=spread / 2**0.5, between_runs=between_runs, seed=place)
            rows += scored(side, around - gap * place, model=model, trained=flag)
        for wanted in claim.requires:
            value = (wanted.least + 1) / 2 if wanted.least is not None else (wanted.most or 0.0) / 2
            rows += scored(wanted.rows, np.full((1, n), value), model=model)
    return judge_claim(claim, items(rows, paper="p"), scale="paper", metrics=metrics or {})


def detectable(found: dict) -> float:
    """Return about the smallest distance from its threshold that a claim's rows could have settled."""
    return (found["ci_high"] - found["ci_low"]) / 2
