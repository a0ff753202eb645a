"""Verdicts: an interval against a margin, one rule a kind, and the same rule for every control.

What a verdict is called says what kind of evidence it is: `holds` for an identity of our code, `confirmed` for a finding against a
paper, `reproduced` for a number that is derived again, an artefact, or an experiment at the paper's own scale. A smaller stand-in can
only agree or disagree: a proxy never yields `reproduced`. What cannot settle anything is `inconclusive`: fewer than eight items, an
interval without width, a trained side with fewer than three runs, a requirement that is not met.

Source: ours; two one-sided tests for equivalence (Schuirmann, 1987); Holm (1979) over a recipe's headline claims.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from galley.stats import RUNS, Estimate, items_needed, paired_difference
from galley.tables.claims import Claim, Control, Point, Requirement, Rows
from galley.tables.metrics import Metric
from galley.tables.pairing import Missing, Side, grid, pick

LEAST_ITEMS = 8  # fewer settle nothing: intervals of four items cover far less than they say
Outcome = Literal["agrees", "reverse", "below_margin", "disagrees"]


@dataclass(frozen=True)
class Step:
    """One difference that a claim is about: what the interval says of it, or why it can say nothing."""

    outcome: Outcome | None
    estimate: Estimate
    threshold: float
    few: str
    sides: tuple[Side, Side]


def judge_claim(
    claim: Claim, items: pd.DataFrame, *, scale: str, control: Control | None = None, metrics: Mapping[str, Metric] | None = None
) -> dict:
    """Return the verdict on one claim, or on one of its controls, with the evidence."""
    if scale not in claim.scales:
        return _verdict("not_run", reason=claim.not_run_reason)
    try:
        if claim.kind == "structural":
            found = _structural(claim, pick(items, (control.lhs if control else None) or claim.lhs), scale=scale)  # type: ignore[arg-type]
        else:
            found = _compared(claim, steps_of(claim, items, control=control, metrics=metrics or {}), scale=scale)
        unmet = None if control else _unmet(claim.requires, items, gap=found["estimate"])
    except Missing as missing:
        return _verdict("not_run", reason=str(missing))
    return {**found, "verdict": "inconclusive", "reason": unmet} if unmet else found


def steps_of(
    claim: Claim, items: pd.DataFrame, *, control: Control | None = None, metrics: Mapping[str, Metric], alpha: float | None = None
) -> list[Step]:
    """Return the differences of a claim or control: one, or a trend's from each point to the next; `alpha` instead of the kind's own."""
    alpha = alpha or (0.1 if claim.kind in ("equivalence", "value") else 0.05)
    return [_step(claim, pick(items, lhs), pick(items, rhs), metrics=metrics, alpha=alpha) for lhs, rhs in _pairs(claim, control)]


def _pairs(claim: Claim, control: Control | None) -> list[tuple[Rows, Rows]]:
    if claim.kind == "trend":
        points: list[Point] = sorted((control.points if control else None) or claim.points or [], key=lambda point: point.x)
        return [(after.rows, before.rows) for before, after in itertools.pairwise(points)]
    lhs, rhs = (control.lhs if control else None) or claim.lhs, (control.rhs if control else None) or claim.rhs
    assert lhs is not None and rhs is not None
    return [(lhs, rhs)]


def _step(claim: Claim, lhs: pd.DataFrame, rhs: pd.DataFrame, *, metrics: Mapping[str, Metric], alpha: float) -> Step:
    (a, b), weights = grid([lhs, rhs])
    rate = all(name in metrics and metrics[name].kind == "rate" for name in (*lhs["metric"].unique(), *rhs["metric"].unique()))
    estimate = paired_difference(a.scores, b.scores, weights, seed=zlib.crc32(claim.id.encode()), alpha=alpha, rate=rate)
    outcome, threshold = _outcome(claim, estimate)
    few = _too_few(estimate, a, b)
    return Step(None if few else outcome, estimate, threshold, few, (a, b))


def _compared(claim: Claim, steps: Sequence[Step], *, scale: str) -> dict:
    """Return the verdict on differences: every step of a trend must agree, and the weakest is shown."""
    outcomes = [step.outcome for step in steps]
    against: tuple[Outcome, ...] = ("reverse", "disagrees", "below_margin")
    settled = next((outcome for outcome in against if outcome in outcomes), None)
    if settled is None and all(outcome == "agrees" for outcome in outcomes):
        settled = "agrees"
    weakest = min(steps, key=lambda step: (step.outcome == "agrees", _sign(claim) * step.estimate.value))
    needed = items_needed(weakest.estimate, threshold=weakest.threshold) if settled is None and not weakest.few else None
    reason = "" if settled is not None else weakest.few or _unsettled(needed, runs=weakest.estimate.n_seeds)
    runs = (weakest.sides[0].runs, weakest.sides[1].runs)
    return _verdict(word(claim, settled, scale=scale), estimate=weakest.estimate, reason=reason, needed=needed, runs=runs)


def _too_few(estimate: Estimate, *sides: Side) -> str:
    """Return why an estimate settles nothing, whatever its interval says."""
    trained = [side.runs for side in sides if side.trained]
    if trained and min(trained) < RUNS:
        return f"{'one run' if min(trained) == 1 else 'two runs'} of a trained side; {RUNS} or more settle it (--config seeds={RUNS})"
    if trained and estimate.n_seeds < RUNS:
        return f"the trained sides share {estimate.n_seeds} of their runs; {RUNS} or more settle it"
    if math.isnan(estimate.low):
        return estimate.method
    if 1 < estimate.n_items < LEAST_ITEMS or (estimate.n_items == 1 and estimate.n_seeds < RUNS):
        return f"{estimate.n_items} items; below {LEAST_ITEMS} there is no verdict"
    if math.isclose(estimate.high, estimate.low, rel_tol=1e-9, abs_tol=1e-12):  # what rounding leaves of a constant is no width
        return "an interval without width settles nothing"
    return ""


def _unsettled(needed: int | None, *, runs: int) -> str:
    more = ", or more runs," if runs >= RUNS else ""  # what runs differ by is in the interval, too, and items do not narrow it
    return f"about {needed} items{more} would settle it" if needed else "the difference is too small to settle"


def _sign(claim: Claim) -> float:
    return -1.0 if claim.direction == "less" else 1.0


def _outcome(claim: Claim, e: Estimate) -> tuple[Outcome | None, float]:
    """Return what the interval says of the claim (None: it does not settle it), and the threshold it was held against."""
    m, sign = claim.margin.abs, _sign(claim)
    if math.isnan(e.low):
        return None, m
    if claim.kind in ("equivalence", "value"):
        inside, outside = -m <= e.low and e.high <= m, e.low > m or e.high < -m
        return ("agrees" if inside else "disagrees" if outside else None), math.copysign(m, e.value)
    low, high = (e.low, e.high) if sign > 0 else (-e.high, -e.low)  # now: larger is what the claim says
    bound = -m if claim.kind == "non_inferiority" else m
    if low > bound:
        return "agrees", sign * bound
    return ("reverse" if high < min(bound, 0.0) else "below_margin" if high < bound else None), sign * bound


def word(claim: Claim, outcome: Outcome | None, *, scale: str) -> str:
    """Return what an outcome is called, by the kind of evidence, the stance and the scale."""
    if outcome is None:
        return "inconclusive"
    agrees = outcome == "agrees"
    if claim.evidence == "self_check":
        return "holds" if agrees else "broken"
    if claim.exact or scale == "paper":
        if claim.stance == "critique":
            return "confirmed" if agrees else "refuted"
        return "reproduced" if agrees else "below_margin" if outcome == "below_margin" else "contradicted"
    return f"proxy_{outcome}"


def _unmet(requirements: Sequence[Requirement], items: pd.DataFrame, *, gap: float) -> str | None:
    """Return what a claim requires and the rows do not show; None where all is met. Missing rows raise Missing."""
    for wanted in requirements:
        value = _mean(pick(items, wanted.rows))
        if wanted.minus is not None:
            value = abs(value - _mean(pick(items, wanted.minus)))
        most = abs(gap) if wanted.below_gap else wanted.most
        if (wanted.least is not None and value < wanted.least) or (most is not None and value > most):
            bound = f"at least {wanted.least:g}" if wanted.least is not None and value < wanted.least else f"at most {most:.4g}"
            return f"{wanted.why}: {value:.4g}, required {bound}"
    return None


def _mean(rows: pd.DataFrame) -> float:
    return float(np.average(rows["score"], weights=rows["weight"]))


def _structural(claim: Claim, rows: pd.DataFrame, *, scale: str) -> dict:
    assert claim.expected is not None
    want, scores = claim.expected, rows["score"]
    # The worst row decides: the farthest from the value, or the one that comes closest to the wrong side.
    far = {"eq": (scores - want.value).abs(), "le": scores - want.value, "ge": want.value - scores}[want.op]
    holds = bool(far.max() <= want.atol + 1e-12)
    runs = int(rows["seed"].nunique())
    estimate = Estimate(float(scores.iloc[int(far.argmax())]), math.nan, math.nan, "exact", len(scores), runs)
    symbol = {"eq": "=", "le": "<=", "ge": ">="}[want.op]
    tolerance = f" within {want.atol:g}" if want.atol else ""
    name = word(claim, "agrees" if holds else "disagrees", scale=scale)
    return _verdict(name, estimate=estimate, reason=f"must be {symbol} {want.value:g}{tolerance}", runs=(runs, 0))


def _verdict(
    verdict: str, *, estimate: Estimate | None = None, reason: str = "", needed: int | None = None, runs: tuple[int, int] = (0, 0)
) -> dict:  # fmt: skip
    nan = math.nan
    e = estimate or Estimate(nan, nan, nan, "", 0, 0)
    return {"verdict": verdict, "estimate": e.value, "ci_low": e.low, "ci_high": e.high, "level": nan if math.isnan(e.low) else e.level,
            "ci_method": e.method, "n_items": e.n_items, "n_seeds": e.n_seeds, "runs_lhs": runs[0], "runs_rhs": runs[1],
            "n_needed": needed, "reason": reason}  # fmt: skip
