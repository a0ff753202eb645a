"""The paper's scale can be judged: rows of its planned items and runs settle every experiment, one way and the other.

No table of the paper could be read, so effects are assumed: nats as the laptop's reference run saw them, thirty points on the released
test, ten on HumanEval and MBPP. That stages write the rows is seen in test_case2code_stages.
"""

from pathlib import Path

import numpy as np
import pytest
from paper_scale import detectable, items, scored, verdict

from galley.plan import read_plan_of
from galley.tables.claims import load_claims
from galley.tables.metrics import load_metrics
from galley.tables.verdicts import judge_claim

PLAN, METRICS = read_plan_of("case2code", "paper"), load_metrics(Path("recipes/metrics.yaml"))
CLAIMS = {c.id: c for c in load_claims(Path("recipes/case2code/claims.yaml")) if c.evidence == "experiment" and "paper" in c.scales}
TASKS = {"case2code_test": PLAN.zero_shot.tasks, "humaneval_plus": 164, "mbpp_plus": 378}
RATES = {"D1": (0.96, 0.10), "N1": (0.40, 0.10), "N1.matched": (0.40, 0.10)}  # lhs, rhs; of T 0.45 and 0.35
# Effect, spread of one function's difference, spread of a side's mean over runs: of D4.model both sides are scores of the same runs.
NATS = {
    "D5": (0.045, 0.1, 0.005),
    "D5.matched": (0.104, 0.12, 0.005),
    "D5.cases": (0.07, 0.12, 0.005),
    "D5.anonymous": (0.076, 0.13, 0.005),
    "D4.model": (0.0035, 0.017, 0.0),
}
DETECTABLE = {"humaneval_plus": 0.09, "mbpp_plus": 0.06, "case2code_test": 0.05}  # at most: half of an interval


def hits(rate, n, *, runs, seed):
    """Hits of exactly a rate in each run: tasks are as hard on both sides, and a run's luck moves a few of them."""
    hard = np.random.default_rng(0).permutation(n) / n
    luck = np.random.default_rng(seed + 1).normal(0, 0.15, (runs, n))
    return (np.argsort(np.argsort(hard + luck, axis=1), axis=1) < round(rate * n)).astype(float)


def judged(claim, *, reverse):
    if claim.id in NATS:
        gap, spread, between = NATS[claim.id]
        untrained = claim.rhs.method == "before"
        gap = -gap if reverse else gap
        trained = (True, not untrained)
        return verdict(claim, gap=gap, spread=spread, n=PLAN.tuning.heldout_items, runs=3, between_runs=between, trained=trained)
    rates = RATES.get(claim.id, (0.45, 0.35))
    rows = []
    for place, (side, rate) in enumerate(zip((claim.lhs, claim.rhs), rates[::-1] if reverse else rates, strict=True)):
        arm = side.method.removeprefix("tuned:")
        runs = sum(name == arm for name, _ in PLAN.tuning_runs()) or 1
        rows += scored(side, hits(rate, TASKS[side.benchmark], runs=runs, seed=place), model="m", trained=arm != side.method)
    for wanted in claim.requires:
        rows += scored(wanted.rows, np.zeros((1, 1)), model="m")
    return judge_claim(claim, items(rows, paper="case2code"), scale="paper", metrics=METRICS)


@pytest.mark.parametrize("name", CLAIMS)
def test_an_effect_as_assumed_is_reproduced_and_reversed_it_is_contradicted(name):
    claim = CLAIMS[name]
    found, against = (judged(claim, reverse=reverse) for reverse in (False, True))
    assert found["verdict"] == "reproduced", found
    assert against["verdict"] in ("contradicted", "below_margin"), against
    assert claim.lhs is not None and detectable(found) <= DETECTABLE.get(claim.lhs.benchmark, 0.03), found


def test_answers_cut_off_settle_nothing():
    claim = CLAIMS["D1"]
    rows = [r for side, rate in ((claim.lhs, 0.96), (claim.rhs, 0.1)) for r in scored(side, hits(rate, 500, runs=1, seed=0), model="m")]
    rows += scored(claim.requires[0].rows, np.full((1, 1), 0.3), model="m")
    found = judge_claim(claim, items(rows, paper="case2code"), scale="paper", metrics=METRICS)
    assert found["verdict"] == "inconclusive" and "cuts off" in found["reason"] and "0.3, required at most 0.1" in found["reason"]
