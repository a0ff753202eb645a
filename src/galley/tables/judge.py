"""All claims of a recipe judged together: each beside its controls, the headline ones corrected for their number.

A flip tells something where the claim agrees and its control does not; beside a claim that does not agree a control has nothing to show.

Source: ours; Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from galley.tables.claims import AGREES, Claim, Control
from galley.tables.metrics import Metric
from galley.tables.pairing import Missing, grid, pick
from galley.tables.verdicts import judge_claim, steps_of

HALVINGS = 14  # of the level in the search for a p value: to one part in some thousands


def judge(claims: Sequence[Claim], items: pd.DataFrame, *, scale: str, metrics: Mapping[str, Metric] | None = None) -> pd.DataFrame:
    """Return one row per claim: verdict, evidence, and which controls flipped it.

    A control fails to flip a claim when both agree: the check would then pass for the broken variant too. One that did not run beside a
    claim that did comes with the reason: nothing shows then that the check could fail.
    """
    metrics = metrics or {}
    rows = []
    for claim in claims:
        main = judge_claim(claim, items, scale=scale, metrics=metrics)
        outcomes = [(c, judge_claim(claim, items, scale=scale, control=c, metrics=metrics)) for c in claim.controls]
        ran = [(control, found) for control, found in outcomes if found["verdict"] != "not_run"]
        agrees = main["verdict"] in AGREES
        flipped = [control for control, found in ran if agrees and found["verdict"] not in AGREES and not _shifted(claim, control, items)]
        if not ran and main["verdict"] != "not_run":
            main["reason"] = "; ".join(part for part in (main["reason"], "no control ran: nothing shows that this check can fail") if part)
        rows.append({
            "claim_id": claim.id, "statement": claim.statement, "source": claim.source, "tier": claim.tier, "evidence": claim.evidence,
            "stance": claim.stance, "kind": claim.kind, "scale": scale, **main,
            "margin": claim.margin.abs, "margin_reason": claim.margin.reason,
            "p": _p(claim, items, metrics=metrics, judged=main), "p_holm": math.nan,
            "controls_run": len(ran), "controls_flipped": len(flipped),
            "controls": "; ".join(_said(control, found, main, claim=claim, items=items) for control, found in outcomes),
        })  # fmt: skip
    judged = pd.DataFrame(rows)
    return judged.assign(p_holm=holm(judged["p"].to_numpy(float)))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values corrected for how many there are (Holm, 1979); NaN stays NaN and does not count."""
    from statsmodels.stats.multitest import multipletests

    known = ~np.isnan(p)
    corrected = np.full(len(p), math.nan)
    if known.any():
        corrected[known] = multipletests(p[known], method="holm")[1]
    return corrected


def _p(claim: Claim, items: pd.DataFrame, *, metrics: Mapping[str, Metric], judged: dict) -> float:
    """Return the smallest one-sided level at which a headline experiment would agree, by its own intervals; NaN for anything else."""
    if claim.tier != "headline" or claim.evidence != "experiment" or math.isnan(judged["ci_low"]):
        return math.nan

    def agrees(alpha: float) -> bool:
        return all(step.outcome == "agrees" for step in steps_of(claim, items, metrics=metrics, alpha=alpha))

    low, high = 0.0, 1.0  # of the two-sided level; the interval of level 1 is the estimate
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if agrees(middle) else (middle, high)
    return high / 2


def _shifted(claim: Claim, control: Control, items: pd.DataFrame) -> bool:
    """Return whether a control's rows are the claim's plus a constant, which flips it whatever the method is worth."""
    pairs = [(claim.lhs, control.lhs), (claim.rhs, control.rhs)] if claim.kind not in ("structural", "trend") else []
    for mine, theirs in pairs:
        if mine is None or theirs is None:
            continue
        try:
            (a, b), _ = grid([pick(items, mine), pick(items, theirs)])
        except Missing:
            continue
        difference = a.scores - b.scores
        if difference.size > 1 and np.ptp(difference) <= 1e-12 < abs(difference.flat[0]) and np.ptp(a.scores) > 1e-12:
            return True
    return False


def _said(control: Control, found: dict, main: dict, *, claim: Claim, items: pd.DataFrame) -> str:
    idle = found["verdict"] == "not_run" and main["verdict"] != "not_run"
    why = " ".join(found["reason"].replace(";", ",").split())  # controls are parted by semicolons
    if found["verdict"] not in ("not_run", *AGREES) and _shifted(claim, control, items):
        return f"{control.name}: a constant apart"
    return f"{control.name}: {found['verdict']}" + (f" ({why})" if idle else "")
