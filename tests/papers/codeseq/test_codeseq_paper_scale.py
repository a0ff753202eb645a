"""The paper's scale can be judged: claims made true come out so, reversed ones do not; the stages write the rows that claims name."""

from pathlib import Path

import pytest
from paper_scale import AGREED, SETTLED_AGAINST, detectable, named, verdict

from galley.papers.codeseq.gtg import PROBLEMS
from galley.papers.codeseq.tune import ARMS
from galley.plan import read_plan_of
from galley.tables.claims import load_claims
from galley.tables.paper_values import read_paper_values

RECIPE = Path("recipes/codeseq")
PLAN = read_plan_of("codeseq", "paper")
CLAIMS = [c for c in load_claims(RECIPE / "claims.yaml") if "paper" in c.scales and c.kind in ("order", "non_inferiority")]
BEST_GAIN = 42.7
# Spread of one item's difference: points of 32 samples each; hits and misses, most of which stay as they are; nats as at laptop scale.
SPREAD = {"points": 35.0, "pass_rate": 0.5, "acc": 30.0, "answer_nll": 0.4, "induction_gap": 0.1}
RUN = {"points": 1.0, "pass_rate": 0.01, "acc": 0.3, "answer_nll": 0.01, "induction_gap": 0.01}  # and of a run's mean
ITEMS = {
    "GTG": PROBLEMS, "GTG recent": PROBLEMS // 2, "humaneval": 164, "mbpp": 974, "shortcuts": 500, "LiveCodeBench": 400,
    "MMLU": 14042, "BBH": 6511, "GaoKaoBench": 2811, "functions": PLAN.functions.held_out, "solutions": PLAN.functions.held_out,
}  # fmt: skip
# The smallest difference, in the metric's unit, that the planned items and three runs can tell from the margin.
POWER = {
    "D4": 0.045, "M1.gap": 0.03, "M1.pass": 0.045, "M2": 0.025, "N1": 4.5, "N1.recent": 6.0, "N1.reflections": 2.5, "N2.humaneval": 0.065,
    "N2.mbpp": 0.04, "N2.livecodebench": 2.5, "N3.mmlu": 1.0, "N3.bbh": 1.0, "N3.gaokao": 1.2,
}  # fmt: skip


def judged(claim, gap):
    """The claim's rows with a difference in its direction: two models' where models are tuned, three runs of what is tuned."""
    metric, benchmark = claim.lhs.metric, claim.lhs.benchmark
    sides = (claim.lhs, claim.rhs) if claim.direction == "greater" else (claim.rhs, claim.lhs)
    tuned = tuple(rows.method not in ("before", "lookup:polynomial", "lookup:nothing") for rows in sides)
    models = ("none",) if benchmark == "shortcuts" else tuple(PLAN.models)
    return verdict(claim, gap=gap, spread=SPREAD[metric], n=ITEMS[benchmark], runs=PLAN.seeds, between_runs=RUN[metric], trained=tuned,
                   models=models)  # fmt: skip


def threshold(claim):
    return -claim.margin.abs if claim.kind == "non_inferiority" else claim.margin.abs


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_reproduced_from_the_power_on_and_settled_against_when_it_is_reversed(claim):
    power = POWER[claim.id]
    assert judged(claim, threshold(claim) + power)["verdict"] in AGREED
    assert judged(claim, threshold(claim) - power)["verdict"] in SETTLED_AGAINST
    found = judged(claim, threshold(claim))
    assert found["verdict"] == "inconclusive" and 0.5 * power < detectable(found) <= power, "the power that is said is the one there is"
    assert found["runs_lhs"] == (1 if claim.id == "D4" else PLAN.seeds) >= (1 if claim.id == "D4" else 3)


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.id.startswith("N1") and c.rhs.method == "before"], ids=lambda claim: claim.id)
def test_the_paper_s_own_gain_is_reproduced_and_its_reverse_contradicted(claim):
    (gain,) = (float(row["value"]) for row in read_paper_values(RECIPE / "paper_values.csv").to_dict("records") if row["metric"] == "gain")
    assert gain == BEST_GAIN and claim.margin.abs == pytest.approx(gain / 4, abs=0.05)
    assert judged(claim, gain)["verdict"] == "reproduced"
    assert judged(claim, -gain)["verdict"] == "contradicted"
    (wanted,) = claim.requires
    assert wanted.most == pytest.approx(100 - gain)


def test_margins_that_come_from_the_paper_s_gain_are_what_they_say():
    margins = {claim.id: claim.margin.abs for claim in load_claims(RECIPE / "claims.yaml")}
    assert margins["D1"] == pytest.approx(BEST_GAIN / 200, abs=0.001)
    assert margins["D2"] == margins["D2.search"] == pytest.approx(BEST_GAIN / 1000, abs=0.001)
    assert margins["D3.total"] == margins["D4"] == pytest.approx(BEST_GAIN / 2000, abs=0.001)


def test_the_rows_that_claims_of_tuned_models_name_are_written_at_the_paper_s_scale():
    functions = {"before"} | {arm for experiment, arm in ARMS if experiment == "functions"}
    solutions = {"before"} | {arm for experiment, arm in ARMS if experiment == "solutions"}
    assert PLAN.tuning.gtg and PLAN.tuning.benchmarks == ["humaneval", "mbpp"]
    written = {("functions", metric): functions for metric in ("answer_nll", "induction_gap", "pass_rate")}
    written |= {("solutions", "answer_nll"): solutions, ("GTG", "points"): solutions, ("GTG recent", "points"): solutions}
    written |= {(name, "pass_rate"): solutions for name in PLAN.tuning.benchmarks}
    written |= {(name, "acc"): solutions for name in PLAN.tuning.elsewhere}  # as rows that were not run
    rows = [rows for claim in CLAIMS if claim.id[0] in "MN" for rows in named(claim)]
    assert len(rows) > 30 and all(row.method in written[row.benchmark, row.metric] and row.setting is None for row in rows)
