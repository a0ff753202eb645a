"""The paper's scale can be judged: rows of its planned items and runs settle every experiment, one way and the other.

Of the trained models the abstract prints 31 to 40 and 28 to 39 points; other effects could not be read and are assumed: that of HumanEval
and MBPP as BigCodeBench's smaller one, of an ablation a third of it, in nats a hundredth, of the D-claims what the laptop's reference run
saw. That stages write the rows is seen in test_unitcoder_training.
"""

from pathlib import Path

import numpy as np
import pytest
from paper_scale import detectable, items, noise, scored, sides

from galley.plan import read_plan_of
from galley.tables.claims import load_claims
from galley.tables.metrics import load_metrics
from galley.tables.verdicts import judge_claim

PLAN, METRICS = read_plan_of("unitcoder", "paper"), load_metrics(Path("recipes/metrics.yaml"))
CLAIMS = {c.id: c for c in load_claims(Path("recipes/unitcoder/claims.yaml")) if c.evidence == "experiment"}
MODELS = {"Llama-3.1-8B": (40.0, 31.0), "InternLM2.5-7B": (39.0, 28.0)}  # UnitCoder and base on BigCodeBench, arXiv:2502.11460, abstract
TASKS = {"BigCodeBench": 1140, "HumanEval": 164, "MBPP": 500}
PROGRAMS = len(PLAN.debugging.models) * PLAN.debugging.tasks
# The claim's rows from what it says is least to most (a trend: by x), the spread of a difference on one item, items.
SEEN = {
    "D1.trend.corpus": ((0.18, 0.47, 0.58, 0.68), 0.3, PLAN.mutants.tasks),
    "D1.ten.corpus": ((0.18, 0.68), 0.4, PLAN.mutants.tasks),
    "D1.trend.humaneval": ((0.03, 0.10, 0.16, 0.27), 0.2, PLAN.mutants.tasks),
    "D1.ten.humaneval": ((0.03, 0.27), 0.4, PLAN.mutants.tasks),
    "D2.precision": ((0.20, 0.58), 0.7, 153),
    "D2.coverage": ((0.20, 0.60), 0.4, 153),
    "D2.noise": ((0.37, 1.0), 0.3, 153),
    "D3.yield": ((0.15, 0.33), 0.5, round(0.37 * PROGRAMS)),
    "D3.precision": ((0.19, 0.77), 0.8, PLAN.debugging.tasks),
    "D3.drawn": ((0.19, 0.60), 0.9, PLAN.debugging.tasks),
    "D3.seeded": ((0.45, 0.68), 0.5, PLAN.pipeline.functions),
    "D4.corpus": ((0.001, 0.24), 0.3, PLAN.mutants.tasks),
    "D4.asserts": ((0.001, 0.15), 0.3, 153),
    "D4.mbpp": ((0.001, 0.55), 0.5, PROGRAMS),
    "D5": ((0.3, 0.9), 0.6, PLAN.pipeline.functions),
    "M1.filtered_unfiltered": ((0.69, 0.70), 0.09, PLAN.tuning.heldout),
    "M1.unfiltered_failing": ((0.69, 0.70), 0.09, PLAN.tuning.heldout),
    "M1.filtered_failing": ((0.68, 0.70), 0.09, PLAN.tuning.heldout),
}
DETECTABLE = {"BigCodeBench": 4.5, "HumanEval": 7.0, "MBPP": 5.5}  # points, at most: half of an interval
RUNS, LUCK = PLAN.seeds, 0.12  # of a training run, on one task


def points(rate, n, *, runs, seed):
    """Points of exactly a rate in each run: tasks are as hard for every arm, and a run's luck moves a few of them."""
    hard = np.random.default_rng(0).permutation(n) / n
    luck = np.random.default_rng(seed + 1).normal(0, LUCK, (runs, n))
    return 100.0 * (np.argsort(np.argsort(hard + luck, axis=1), axis=1) < round(rate / 100 * n))


def rates_of(claim, model):
    """Return the points of lhs and rhs that the paper prints, or that are assumed."""
    most, least = MODELS[model]
    if claim.id.startswith("T"):
        return most, most - 3.0
    if claim.id == "M2":
        return 43.0, 40.0
    if claim.id == "N2":
        return least + 1.0, (most + least) / 2
    return (most, least) if claim.lhs.benchmark == "BigCodeBench" else (49.0, 40.0)


def answered(claim, *, reverse):
    rows = []
    for model in [claim.lhs.model] if claim.lhs.model else MODELS:
        rates = rates_of(claim, model)
        for place, (side, rate) in enumerate(zip((claim.lhs, claim.rhs), rates[::-1] if reverse else rates, strict=True)):
            trained = side.method != "base"
            found = points(rate, TASKS[side.benchmark], runs=RUNS if trained else 1, seed=place)
            rows += scored(side.model_copy(update={"model": model}), found, model=model, trained=trained)
    return rows


def compared(claim, *, reverse):
    levels, spread, n = SEEN[claim.id]
    trained = claim.id.startswith("M1")
    rows = []
    for place, (side, level) in enumerate(zip(sides(claim), levels if reverse else levels[::-1], strict=True)):
        around = noise(RUNS if trained else 1, n, spread=spread / 2**0.5, between_runs=0.002 * trained, seed=place)
        rows += scored(side, around + level, model="m", trained=trained)
    return rows


def judged(claim, *, reverse=False, required=True):
    rows = compared(claim, reverse=reverse) if claim.id in SEEN else answered(claim, reverse=reverse)
    own = {(r["method"], r["benchmark"], r["metric"], r["setting"]) for r in rows}
    for wanted in claim.requires:
        if (wanted.rows.method, wanted.rows.benchmark, wanted.rows.metric, wanted.rows.setting or "") not in own:
            rows += scored(wanted.rows, np.full((1, 1), wanted.least * (2 if required else 0.5)), model="m")
    return judge_claim(claim, items(rows, paper="unitcoder"), scale="paper", metrics=METRICS)


@pytest.mark.parametrize("name", CLAIMS)
def test_an_effect_as_printed_or_seen_is_reproduced_and_reversed_it_is_contradicted(name):
    claim = CLAIMS[name]
    found, against = judged(claim), judged(claim, reverse=True)
    agrees, refused = ("confirmed", {"refuted"}) if claim.stance == "critique" else ("reproduced", {"contradicted", "below_margin"})
    assert found["verdict"] == agrees, found
    # a base rate that a requirement asks for may be gone when the sides are exchanged
    assert against["verdict"] in refused or "sort" in against["reason"], against
    if claim.id not in SEEN:
        assert detectable(found) <= DETECTABLE[claim.lhs.benchmark], found


@pytest.mark.parametrize("name", [c.id for c in CLAIMS.values() if any(wanted.least and wanted.least > 1 for wanted in c.requires)])
def test_too_little_to_judge_by_settles_nothing(name):
    found = judged(CLAIMS[name], required=False)
    assert found["verdict"] == "inconclusive" and "required at least" in found["reason"]


def test_no_gain_is_below_the_margin_and_says_what_could_be_seen():
    claim = CLAIMS["N1.llama"]
    rows = [r for place, side in enumerate((claim.lhs, claim.rhs))
            for r in scored(side, points(31.0, 1140, runs=RUNS if not place else 1, seed=place), model="m", trained=not place)]  # fmt: skip
    rows += scored(claim.requires[0].rows, np.full((1, 1), 20000.0), model="m")
    found = judge_claim(claim, items(rows, paper="unitcoder"), scale="paper", metrics=METRICS)
    assert found["verdict"] in ("below_margin", "inconclusive") and found["estimate"] == pytest.approx(0, abs=0.1)
