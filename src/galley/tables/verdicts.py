"""Verdicts: an interval against a margin, one rule a kind, and the same rule for every control.

At the paper's own scale, and for exact claims at any: reproduced, contradicted, inconclusive. A smaller
stand-in can only agree or disagree: a proxy never yields `reproduced`.

Source: ours; two one-sided tests for equivalence (Schuirmann, 1987).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from galley.artifact import GalleyError
from galley.stats import Estimate, items_needed, paired_difference, slope
from galley.tables.claims import Claim, Control, Rows
from galley.tables.items import OUT_OF_REACH

AGREES = {"reproduced", "proxy_agrees"}


class Missing(Exception):
    """Rows that a claim needs are not there; the text is the reason."""


def pick(items: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Return the ok rows that a claim points at, or raise Missing with the recorded reason."""
    mask = (items["method"] == rows.method) & (items["benchmark"] == rows.benchmark) & (items["metric"] == rows.metric)
    if rows.setting is not None:
        mask &= items["setting"] == rows.setting
    if rows.model is not None:
        mask &= items["model"] == rows.model
    found = items[mask]
    good = found[found["status"] == "ok"]
    if not len(good):
        why = found["reason"].iloc[0] if len(found) else _no_row(items, rows)
        raise Missing(f"{rows.method} {rows.setting or ''} {rows.benchmark}/{rows.metric}: {why}")
    return good


def _no_row(items: pd.DataFrame, rows: Rows) -> str:
    """Return why there is no row: a source that other rows of its benchmark lack, else that this scale makes none."""
    beside = items.loc[(items["benchmark"] == rows.benchmark) & (items["status"] != "ok"), "reason"]
    gone = beside[beside.str.contains(OUT_OF_REACH, regex=False)]
    return f"no such row, for {gone.iloc[0]}" if len(gone) else "no such row at this scale"


def grid(frames: Sequence[pd.DataFrame]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return per frame its scores (seeds, items) on the items and seeds that all share, and those items' weights.

    A frame of one seed (an untrained model) pairs with every seed of the others. Missing when nothing is shared,
    GalleyError when a side mixes several settings: a score per model, item and seed is what can be paired.
    """
    tables, weights = [], None
    for frame in frames:
        keyed = frame.assign(key=frame["model"] + "|" + frame["item_id"])
        if keyed.duplicated(["seed", "key"]).any():
            found = ", ".join(sorted(set(frame["setting"])))
            raise GalleyError(f"{frame['method'].iloc[0]} has several scores of one item; its settings are {found}: name one in the claim")
        tables.append(keyed.pivot(index="seed", columns="key", values="score"))
        weights = keyed.groupby("key")["weight"].first() if weights is None else weights
    several = [set(t.index) for t in tables if len(t) > 1]
    seeds = sorted(set.intersection(*several)) if several else []
    if several and not seeds:
        raise Missing("the compared rows share no seeds")
    # An item that a seed lacks cannot be paired: it is left out on every side.
    tables = [(t if len(t) == 1 else t.loc[seeds]).dropna(axis=1) for t in tables]
    shared = sorted(set.intersection(*(set(t.columns) for t in tables)))
    if not shared or weights is None:
        raise Missing("the compared rows share no items")
    return [t[shared].to_numpy(float) for t in tables], weights.loc[shared].to_numpy(float)


def judge_claim(claim: Claim, items: pd.DataFrame, *, scale: str, control: Control | None = None) -> dict:
    """Return the verdict on one claim, or on one of its controls, with the evidence."""
    if scale not in claim.scales:
        return _verdict("not_run", reason=claim.not_run_reason)
    lhs = (control.lhs if control else None) or claim.lhs
    rhs = (control.rhs if control else None) or claim.rhs
    points = (control.points if control else None) or claim.points
    seed = zlib.crc32(claim.id.encode())
    try:
        if claim.kind == "structural":
            assert lhs is not None
            return _structural(claim, pick(items, lhs))
        if claim.kind == "trend":
            assert points is not None
            series, weights = grid([pick(items, p.rows) for p in points])
            stacked = np.stack(np.broadcast_arrays(*series))
            estimate = slope(np.array([p.x for p in points]), stacked, weights, seed=seed)
            sign = -1.0 if claim.direction == "less" else 1.0
        else:
            assert lhs is not None and rhs is not None
            (a, b), weights = grid([pick(items, lhs), pick(items, rhs)])
            alpha = 0.1 if claim.kind in ("equivalence", "value") else 0.05
            estimate = paired_difference(a, b, weights, seed=seed, alpha=alpha)
            sign = -1.0 if claim.direction == "less" else 1.0
    except Missing as missing:
        return _verdict("not_run", reason=str(missing))
    holds, threshold = _holds(claim, estimate, sign=sign)
    exact = claim.exact or scale == "paper"
    names = {
        True: "reproduced" if exact else "proxy_agrees",
        False: "contradicted" if exact else "proxy_disagrees",
        None: "inconclusive",
    }
    needed = items_needed(estimate, threshold=threshold) if holds is None else None
    reason = "" if holds is not None else _unsettled(estimate, needed)
    return _verdict(names[holds], estimate=estimate, reason=reason, needed=needed)


def _unsettled(estimate: Estimate, needed: int | None) -> str:
    if math.isnan(estimate.low):
        return estimate.method
    return f"about {needed} items would settle it" if needed else "the difference is too small to settle"


def _holds(claim: Claim, e: Estimate, *, sign: float) -> tuple[bool | None, float]:
    """Return whether the interval settles the claim (None: it does not), and the threshold it was held against."""
    m = claim.margin.abs
    if math.isnan(e.low):
        return None, m
    if claim.kind in ("equivalence", "value"):
        inside, outside = -m <= e.low and e.high <= m, e.low > m or e.high < -m
        return (True if inside else False if outside else None), math.copysign(m, e.value)
    low, high = (e.low, e.high) if sign > 0 else (-e.high, -e.low)  # now: larger is what the claim says
    bound = -m if claim.kind == "non_inferiority" else m
    return (True if low > bound else False if high < bound else None), sign * bound


def _structural(claim: Claim, rows: pd.DataFrame) -> dict:
    assert claim.expected is not None
    want, scores = claim.expected, rows["score"]
    # The worst row decides: the farthest from the value, or the one that comes closest to the wrong side.
    worst = {
        "eq": (scores - want.value).abs().max(),
        "le": (scores - want.value).max(),
        "ge": (want.value - scores).max(),
    }[want.op]
    value = (
        float(scores.iloc[(scores - want.value).abs().argmax()])
        if want.op == "eq"
        else float(scores.max() if want.op == "le" else scores.min())
    )
    holds = bool(worst <= want.atol + 1e-12)
    estimate = Estimate(value, math.nan, math.nan, "exact", len(scores), 1)
    symbol = {"eq": "=", "le": "<=", "ge": ">="}[want.op]
    tolerance = f" within {want.atol:g}" if want.atol else ""
    return _verdict(
        "reproduced" if holds else "contradicted",
        estimate=estimate,
        reason=f"must be {symbol} {want.value:g}{tolerance}",
    )


def _verdict(verdict: str, *, estimate: Estimate | None = None, reason: str = "", needed: int | None = None) -> dict:
    nan = math.nan
    e = estimate or Estimate(nan, nan, nan, "", 0, 0)
    return {"verdict": verdict, "estimate": e.value, "ci_low": e.low, "ci_high": e.high, "ci_method": e.method,
            "n_items": e.n_items, "n_seeds": e.n_seeds, "n_needed": needed, "reason": reason}  # fmt: skip


def judge(claims: Sequence[Claim], items: pd.DataFrame, *, scale: str) -> pd.DataFrame:
    """Return one row per claim: verdict, evidence, and whether each control that ran flipped it.

    A control fails to flip a claim when both agree with the paper: the check would then pass for the broken variant too. One that did
    not run beside a claim that did comes with the reason: nothing shows then that the check could fail.
    """
    rows = []
    for claim in claims:
        main = judge_claim(claim, items, scale=scale)
        outcomes = [(control.name, judge_claim(claim, items, scale=scale, control=control)) for control in claim.controls]
        ran = [(name, found["verdict"]) for name, found in outcomes if found["verdict"] != "not_run"]
        flipped = [name for name, verdict in ran if not {verdict, main["verdict"]} <= AGREES]
        if not ran and main["verdict"] != "not_run":
            main["reason"] = "; ".join(part for part in (main["reason"], "no control ran: nothing shows that this check can fail") if part)
        rows.append({
            "claim_id": claim.id, "statement": claim.statement, "source": claim.source, "tier": claim.tier, "kind": claim.kind,
            "scale": scale, **main, "margin": claim.margin.abs, "margin_reason": claim.margin.reason,
            "controls_run": len(ran), "controls_flipped": len(flipped),
            "controls": "; ".join(_outcome(name, found, beside=main) for name, found in outcomes),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _outcome(name: str, found: dict, *, beside: dict) -> str:
    idle = found["verdict"] == "not_run" and beside["verdict"] != "not_run"
    why = " ".join(found["reason"].replace(";", ",").split())  # controls are parted by semicolons
    return f"{name}: {found['verdict']}" + (f" ({why})" if idle else "")
