import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from galley.artifact import GalleyError
from galley.tables.check import check_file
from galley.tables.claims import Claim, load_claims
from galley.tables.rows import check_items
from galley.tables.verdicts import judge, judge_claim

ROWS = {"benchmark": "heldout", "metric": "bits_per_byte", "setting": "final"}


def items(**means):
    """Rows of 3 seeds x 30 items per method; a method's mean may be nan for a row that was not run."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1.0, size=30)
    rows = []
    for method, mean in means.items():
        for seed in range(3):
            for i in range(30):
                score = mean + noise[i] + rng.normal(0, 0.02)
                rows.append({"method": method.replace("_", ":"), "seed": seed, "item_id": str(i), "score": score})
    common = {"paper": "p", "scale": "smoke", "model": "m", "unit": "", "weight": 1.0, "status": "ok", "reason": "", "run_id": "r",
              "backend": "torch", "device": "cpu"}  # fmt: skip
    return check_items(pd.DataFrame(rows).assign(**common, **ROWS))


def claim(**changes):
    side = {"benchmark": "heldout", "metric": "bits_per_byte"}
    base = {
        "id": "c", "statement": "a is less than b", "source": "Table 1", "kind": "order", "lhs": {"method": "a", **side},
        "rhs": {"method": "b", **side}, "margin": {"abs": 0.0, "reason": "an order has no margin"}, "scales": ["smoke"],
        "controls": [{"name": "swapped", "why": "exchanged", "lhs": {"method": "b", **side}, "rhs": {"method": "a", **side}}],
    }  # fmt: skip
    return Claim.model_validate(base | changes)


@pytest.mark.parametrize(
    ("kind", "margin", "b", "verdict"),
    [
        ("order", 0.0, 0.1, "proxy_agrees"),
        ("order", 0.0, -0.1, "proxy_disagrees"),
        ("order", 0.0, 0.0, "inconclusive"),
        ("order", 0.2, 0.1, "proxy_disagrees"),
        ("equivalence", 0.05, 0.0, "proxy_agrees"),
        ("equivalence", 0.05, 0.3, "proxy_disagrees"),
        ("non_inferiority", 0.05, -0.02, "proxy_agrees"),
        ("non_inferiority", 0.05, -0.2, "proxy_disagrees"),
    ],
)
def test_verdicts_follow_the_interval(kind, margin, b, verdict):
    c = claim(kind=kind, margin={"abs": margin, "reason": "for the test only"})
    assert judge_claim(c, items(a=0.0, b=b), scale="smoke")["verdict"] == verdict


def test_a_proxy_is_never_reproduced_and_an_exact_claim_is():
    frame = items(a=0.0, b=0.5)
    assert judge_claim(claim(), frame, scale="smoke")["verdict"] == "proxy_agrees"
    assert judge_claim(claim(exact=True), frame, scale="smoke")["verdict"] == "reproduced"
    assert judge_claim(claim(scales=["paper"]), frame, scale="paper")["verdict"] == "reproduced"


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
    c = claim(kind="structural", expected={"op": op, "value": value, "atol": atol}, exact=True)
    assert (judge_claim(c, frame, scale="smoke")["verdict"] == "reproduced") == holds


def test_structural_is_decided_by_the_worst_row():
    frame = items(a=0.0)
    frame["score"] = 0.0
    frame.loc[7, "score"] = 2.0
    c = claim(kind="structural", expected={"op": "le", "value": 1.0}, exact=True)
    assert judge_claim(c, frame, scale="smoke")["verdict"] == "contradicted"


def test_trend_and_its_reversal():
    frame = items(a=0.0, b=0.2, c=0.4)
    points = [{"x": x, "rows": {"method": m, "benchmark": "heldout", "metric": "bits_per_byte"}} for x, m in enumerate("abc")]
    flat = [{"name": "flat", "why": "the same everywhere", "points": [{**point, "rows": points[0]["rows"]} for point in points]}]
    up = claim(kind="trend", points=points, controls=flat, direction="greater")
    assert judge_claim(up, frame, scale="smoke")["verdict"] == "proxy_agrees"
    assert judge_claim(claim(kind="trend", points=points, controls=flat), frame, scale="smoke")["verdict"] == "proxy_disagrees"


def test_check_reports_regressions_and_dead_controls(tmp_path):
    good = claim(expect={"smoke": ["proxy_agrees"]})
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [good.model_dump(exclude_none=True)]}))

    def problems(frame, c=good):
        judge([c], frame, scale="smoke").to_csv(tmp_path / "claims.csv", index=False)
        return check_file(tmp_path / "claims.csv", tmp_path / "claims.yaml", "smoke").problems

    assert problems(items(a=0.0, b=0.5)) == []
    assert problems(items(a=0.0, b=0.0)) == []  # inconclusive is an outcome, not a failure
    assert "expected proxy_agrees" in problems(items(a=0.5, b=0.0))[0]
    same = {"method": "a", "benchmark": "heldout", "metric": "bits_per_byte"}
    dead = claim(controls=[{"name": "nothing", "why": "changes nothing", "lhs": same}])
    assert "did not flip" in problems(items(a=0.0, b=0.5), dead)[0]


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
