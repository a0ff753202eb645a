import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from galley.artifact import GalleyError
from galley.tables.check import check_file
from galley.tables.claims import Claim, load_claims
from galley.tables.judge import holm, judge
from galley.tables.rows import check_items
from galley.tables.verdicts import judge_claim

ROWS = {"benchmark": "heldout", "metric": "bits_per_byte", "setting": "final"}


def items(**means):
    """Rows of 3 seeds x 30 items per method; a method's mean may be nan for a row that was not run."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1.0, size=30)
    noise -= noise.mean()
    rows = []
    for method, mean in means.items():
        for seed in range(3):
            for i in range(30):
                score = mean + noise[i] + rng.normal(0, 0.02)
                rows.append({"method": method.replace("_", ":"), "seed": seed, "item_id": str(i), "score": score})
    common = {"paper": "p", "scale": "smoke", "model": "m", "unit": "", "weight": 1.0, "status": "ok", "reason": "", "run_id": "r",
              "backend": "torch", "device": "cpu", "trained": True}  # fmt: skip
    return check_items(pd.DataFrame(rows).assign(**common, **ROWS))


def claim(**changes):
    side = {"benchmark": "heldout", "metric": "bits_per_byte"}
    base = {
        "id": "c", "statement": "a is less than b", "source": "Table 1", "kind": "order", "evidence": "experiment",
        "lhs": {"method": "a", **side}, "rhs": {"method": "b", **side}, "scales": ["smoke"],
        "margin": {"abs": 0.0, "reason": "an order has no margin"},
        "controls": [{"name": "broken", "why": "not a at all", "lhs": {"method": "control:broken", **side}}],
    }  # fmt: skip
    return Claim.model_validate(base | changes)


@pytest.mark.parametrize(
    ("kind", "margin", "b", "verdict"),
    [
        ("order", 0.0, 0.1, "proxy_agrees"),
        ("order", 0.0, -0.1, "proxy_reverse"),
        ("order", 0.0, 0.0, "inconclusive"),
        ("order", 0.2, 0.1, "proxy_below_margin"),
        ("order", 0.2, -0.1, "proxy_reverse"),
        ("equivalence", 0.05, 0.0, "proxy_agrees"),
        ("equivalence", 0.05, 0.3, "proxy_disagrees"),
        ("non_inferiority", 0.05, -0.02, "proxy_agrees"),
        ("non_inferiority", 0.05, -0.2, "proxy_reverse"),
    ],
)
def test_verdicts_follow_the_interval(kind, margin, b, verdict):
    c = claim(kind=kind, margin={"abs": margin, "reason": "for the test only"})
    assert judge_claim(c, items(a=0.0, b=b), scale="smoke")["verdict"] == verdict


def test_a_proxy_is_never_reproduced_and_an_exact_claim_is():
    frame = items(a=0.0, b=0.5)
    assert judge_claim(claim(), frame, scale="smoke")["verdict"] == "proxy_agrees"
    assert judge_claim(claim(scales=["paper"]), frame, scale="paper")["verdict"] == "reproduced"
    below = claim(margin={"abs": 0.9, "reason": "for the test only"}, scales=["paper"])
    assert judge_claim(below, frame, scale="paper")["verdict"] == "below_margin"
    for evidence, stance, scale, word in [
        ("artefact", "paper", "smoke", "reproduced"), ("printed", "paper", "smoke", "reproduced"),
        ("self_check", "paper", "smoke", "holds"), ("self_check", "critique", "paper", "holds"),
        ("artefact", "critique", "smoke", "confirmed"),
        ("experiment", "critique", "smoke", "proxy_agrees"), ("experiment", "critique", "paper", "confirmed"),
    ]:  # fmt: skip
        kind = claim(evidence=evidence, stance=stance, scales=["smoke", "paper"])
        assert judge_claim(kind, frame, scale=scale)["verdict"] == word, (evidence, stance, scale)
    assert judge_claim(claim(evidence="self_check"), items(a=0.5, b=0.0), scale="smoke")["verdict"] == "broken"
    assert judge_claim(claim(evidence="printed", stance="critique"), items(a=0.5, b=0.0), scale="smoke")["verdict"] == "refuted"


def test_missing_rows_are_not_run_with_the_reason():
    frame = items(a=0.0, b=0.5)
    frame.loc[frame["method"] == "b", ["status", "reason"]] = ["not_run", "data: none"]
    verdict = judge_claim(claim(), frame, scale="smoke")
    assert verdict["verdict"] == "not_run" and "data: none" in verdict["reason"]
    assert judge_claim(claim(), items(a=0.0), scale="smoke")["verdict"] == "not_run"


STRUCTURAL = [
    ("eq", 1.0, 0.0, True),
    ("eq", 1.1, 0.05, False),
    ("le", 1.0, 0.0, True),
    ("le", 0.9, 0.0, False),
    ("ge", 1.0, 0.0, True),
    ("ge", 1.1, 0.0, False),
]


@pytest.mark.parametrize(("op", "value", "atol", "holds"), STRUCTURAL)
def test_structural(op, value, atol, holds):
    frame = items(a=0.0)
    frame["score"] = 1.0
    for evidence, yes, no in [("printed", "reproduced", "contradicted"), ("experiment", "proxy_agrees", "proxy_disagrees")]:
        c = claim(kind="structural", expected={"op": op, "value": value, "atol": atol}, evidence=evidence)
        assert judge_claim(c, frame, scale="smoke")["verdict"] == (yes if holds else no)


def test_structural_is_decided_by_the_worst_row():
    frame = items(a=0.0)
    frame["score"] = 0.0
    frame.loc[7, "score"] = 2.0
    c = claim(kind="structural", expected={"op": "le", "value": 1.0}, evidence="self_check")
    assert judge_claim(c, frame, scale="smoke")["verdict"] == "broken"


def test_trend_and_its_reversal():
    frame = items(a=0.0, b=0.2, c=0.4)
    points = [{"x": x, "rows": {"method": m, "benchmark": "heldout", "metric": "bits_per_byte"}} for x, m in enumerate("abc")]
    flat = [{"name": "flat", "why": "its middle is no middle", "points": [points[0], {**points[1], "rows": points[0]["rows"]}, points[2]]}]
    up = claim(kind="trend", points=points, controls=flat, direction="greater")
    assert judge_claim(up, frame, scale="smoke")["verdict"] == "proxy_agrees"
    assert judge_claim(claim(kind="trend", points=points, controls=flat), frame, scale="smoke")["verdict"] == "proxy_reverse"
    bent = judge_claim(up, items(a=0.0, b=0.6, c=0.4), scale="smoke")  # its ends agree; a straight line's slope would, too
    assert bent["verdict"] == "proxy_reverse" and bent["estimate"] == pytest.approx(-0.2, abs=0.05)
    assert judge_claim(up, items(a=0.0, b=0.0, c=0.4), scale="smoke")["verdict"] == "inconclusive"


def test_check_reports_regressions_and_dead_controls(tmp_path):
    good = claim(expect={"smoke": ["proxy_agrees"]})
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [good.model_dump(exclude_none=True)]}))

    def problems(frame, c=good):
        judge([c], frame, scale="smoke").to_csv(tmp_path / "claims.csv", index=False)
        return check_file(tmp_path / "claims.csv", tmp_path / "claims.yaml", "smoke").problems

    assert problems(items(a=0.0, b=0.5, control_broken=0.7)) == []
    assert problems(items(a=0.0, b=0.0, control_broken=0.7)) == []  # inconclusive is an outcome, not a failure
    assert "expected proxy_agrees" in problems(items(a=0.5, b=0.0, control_broken=0.7))[0]
    assert "did not flip" in problems(items(a=0.0, b=0.5, control_broken=0.1))[0]
    assert "none of its controls ran" in problems(items(a=0.0, b=0.5))[0]


def test_a_flip_counts_only_beside_a_claim_that_agrees():
    def row(**means):
        return judge([claim()], items(**means), scale="smoke").iloc[0]

    told = row(a=0.0, b=0.5, control_broken=0.7)
    assert (told["controls_run"], told["controls_flipped"]) == (1, 1)
    for means in ({"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.0}):
        assert row(**means, control_broken=0.7)["controls_flipped"] == 0


def test_a_control_that_is_the_claim_and_a_constant_flips_nothing():
    frame = items(a=0.0, b=0.5)
    moved = frame[frame["method"] == "a"].assign(method="control:broken")
    moved["score"] += 3.0
    found = judge([claim()], check_items(pd.concat([frame, moved])), scale="smoke").iloc[0]
    assert found["controls_flipped"] == 0 and "broken: a constant apart" in found["controls"]


A, B = ({"method": name, "benchmark": "heldout", "metric": "bits_per_byte"} for name in "ab")


@pytest.mark.parametrize(
    ("control", "says"),
    [
        ({"lhs": B, "rhs": A}, "only exchanges the sides"),
        ({"lhs": B}, "holds a row to itself"),
        ({"lhs": A}, "is the claim itself"),
    ],
)
def test_a_control_that_breaks_nothing_is_refused(control, says):
    with pytest.raises(ValidationError, match=says):
        claim(controls=[{"name": "n", "why": "w", **control}])


def test_of_a_trend_too():
    points = [{"x": x, "rows": rows} for x, rows in enumerate((A, B))]
    for other, says in [
        ([{"x": 1, "rows": A}, {"x": 0, "rows": B}], "only orders the claim's points anew"),
        (points[::-1], "is the claim itself"),
        ([{"x": 0, "rows": A}, {"x": 1, "rows": A}], "holds one row to itself"),
    ]:
        with pytest.raises(ValidationError, match=says):
            claim(kind="trend", points=points, controls=[{"name": "n", "why": "w", "points": other}])


def only(frame, method, seeds):
    return frame[(frame["method"] != method) | frame["seed"].isin(seeds)]


def test_a_trained_side_with_fewer_than_three_runs_settles_nothing():
    frame = items(a=0.0, b=5.0)
    assert judge_claim(claim(), frame, scale="smoke")["verdict"] == "proxy_agrees"
    for seeds in ([0], [0, 1]):
        found = judge_claim(claim(), only(frame, "a", seeds), scale="smoke")
        assert found["verdict"] == "inconclusive" and "of a trained side" in found["reason"] and found["runs_lhs"] == len(seeds)
        assert found["runs_rhs"] == 3 and found["estimate"] == pytest.approx(-5, abs=0.1)
    fixed = frame.assign(trained=frame["trained"] & (frame["method"] != "a"))
    assert judge_claim(claim(), only(fixed, "a", [0]), scale="smoke")["verdict"] == "proxy_agrees"  # not trained: one run is all there is


def test_what_would_settle_a_claim_is_said_with_runs_where_they_are_in_the_interval():
    frame = items(a=0.0, b=0.001)
    assert "items, or more runs, would settle it" in judge_claim(claim(), frame, scale="smoke")["reason"]
    one = frame[frame["seed"] == 0].assign(trained=False)
    assert "items would settle it" in judge_claim(claim(), one, scale="smoke")["reason"]


def test_a_trained_run_is_never_broadcast():
    frame = items(a=0.0, b=5.0)
    apart = only(only(frame, "a", [0]), "b", [1, 2])
    assert "share no seeds" in judge_claim(claim(), apart, scale="smoke")["reason"]


def test_few_items_and_intervals_without_width_settle_nothing():
    frame = items(a=0.0, b=5.0)
    few = frame[frame["item_id"].astype(int) < 7]
    assert "below 8 there is no verdict" in judge_claim(claim(), few, scale="smoke")["reason"]
    same = frame.assign(score=(frame["method"] == "b") * 1.0)
    found = judge_claim(claim(), same, scale="smoke")
    assert found["verdict"] == "inconclusive" and "without width" in found["reason"]
    apart = same.assign(score=same["score"] * 0.1 + same["item_id"].astype(int) / 7)  # a constant apart, but for rounding
    for frame in (apart, apart[apart["seed"] == 0].assign(trained=False)):
        assert "without width" in judge_claim(claim(), frame, scale="smoke")["reason"]


def test_models_of_different_sizes_pair_by_item():
    frame = items(a=0.0, b=5.0)
    frame["model"] = frame["method"].map({"a": "small", "b": "big"})
    assert judge_claim(claim(), frame, scale="smoke")["verdict"] == "proxy_agrees"


REQUIRED = {"why": "the base model moves less than the gap", "rows": {**B, "method": "c"}}


@pytest.mark.parametrize(
    ("bounds", "met"),
    [
        ({"least": 0.1}, True), ({"least": 0.3}, False), ({"most": 0.3}, True), ({"most": 0.1}, False), ({"least": 0.1, "most": 0.3}, True),
        ({"minus": A, "below_gap": True}, True), ({"minus": {**B, "method": "d"}, "below_gap": True}, False),
    ],
)  # fmt: skip
def test_what_a_claim_requires_is_judged_from_rows(bounds, met):
    frame = items(a=0.0, b=0.5, c=0.2, d=-0.6)
    found = judge_claim(claim(requires=[REQUIRED | bounds]), frame, scale="smoke")
    assert found["verdict"] == ("proxy_agrees" if met else "inconclusive") and (met or REQUIRED["why"] in found["reason"])
    assert judge_claim(claim(requires=[REQUIRED | bounds]), items(a=0.0, b=0.5), scale="smoke")["verdict"] == "not_run"


def test_headline_experiments_are_corrected_for_their_number():
    frame = items(a=0.0, b=0.5, c=0.01)
    three = [claim(id=f"c{n}", tier="headline", rhs={**B, "method": m}) for n, m in enumerate("bbc")]
    judged = judge([*three, claim(id="other")], frame, scale="smoke")
    assert judged["p"].isna().tolist() == [False, False, False, True] and (judged["p"][:2] < 0.001).all()
    assert judged["p_holm"][0] == pytest.approx(3 * judged["p"][0]) and (judged["p_holm"][:3] >= judged["p"][:3]).all()
    settled = judged["verdict"] == "proxy_agrees"
    assert (settled[:3] == (judged["p"][:3] <= 0.025)).all()
    assert np.isnan(holm(np.array([np.nan]))).all()


@pytest.mark.parametrize("broken", [{"margin": {"abs": 0.1}}, {"controls": []}, {"kind": "guess"}, {"colour": "red"}, {"rhs": None}])
def test_incomplete_claims_are_refused(broken):
    with pytest.raises(ValidationError):
        claim(**broken)


def test_errors_name_file_claim_and_field(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [{**claim().model_dump(exclude_none=True), "colour": "red"}]}))
    with pytest.raises(GalleyError, match=r"claims.yaml:\d+: claim 'c': colour"):
        load_claims(path)


def test_the_recipe_s_claims_load_and_each_has_a_control():
    claims = load_claims("recipes/mha2mla/claims.yaml")
    assert {c.id.split(".")[0] for c in claims} >= {"A1", "A2", "A3", "A4", "A5", "A6", "D1", "D2", "D3", "D4", "D5", "N1"}


@pytest.mark.parametrize("fault", ["duplicate", "status", "score", "column"])
def test_broken_items_are_refused(fault):
    frame = items(a=0.0)
    if fault == "duplicate":
        frame = pd.concat([frame, frame.head(1)])
    elif fault == "status":
        frame["status"] = "fine"
    elif fault == "score":
        frame.loc[0, "score"] = float("nan")
    else:
        frame = frame.drop(columns="metric")
    with pytest.raises(GalleyError):
        check_items(frame)
