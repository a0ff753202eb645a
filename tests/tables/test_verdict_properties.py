"""Properties of the verdict rules, over random rows: what must hold whatever the numbers are."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galley.artifact import GalleyError
from galley.tables.claims import AGREES, Claim
from galley.tables.judge import judge
from galley.tables.rows import check_items
from galley.tables.verdicts import LEAST_ITEMS, judge_claim

SIDE = {"benchmark": "heldout", "metric": "bits_per_byte"}
COMMON = {"paper": "p", "scale": "smoke", "model": "m", "unit": "", "weight": 1.0, "status": "ok", "reason": "", "run_id": "r",
          "backend": "torch", "device": "cpu", "setting": "final", "trained": False} | SIDE  # fmt: skip
DISAGREES = {"contradicted", "below_margin", "proxy_reverse", "proxy_below_margin", "proxy_disagrees"}
TURNED = {"proxy_agrees": "proxy_reverse", "proxy_reverse": "proxy_agrees", "inconclusive": "inconclusive"}
PAPER = {"proxy_agrees": "reproduced", "proxy_disagrees": "contradicted", "proxy_reverse": "contradicted",
         "proxy_below_margin": "below_margin", "inconclusive": "inconclusive"}  # fmt: skip

margins = st.floats(0, 0.5).map(lambda m: round(m, 3))
kinds = st.sampled_from(["order", "equivalence", "non_inferiority", "value"])
directions = st.sampled_from(["less", "greater"])
scores = st.integers(0, 2**31).flatmap(
    lambda seed: st.tuples(st.just(seed), st.integers(1, 4), st.integers(1, 40), st.floats(-1, 1), st.floats(0, 1))
)


def side(method, values):
    """One row per seed and item; values is (seeds, items)."""
    return [
        COMMON | {"method": method, "seed": s, "item_id": str(i), "score": float(value)}
        for s, row in enumerate(values)
        for i, value in enumerate(row)
    ]


def experiment(drawn):
    """Two methods whose true difference and noise hypothesis has chosen."""
    seed, n_seeds, n_items, gap, noise = drawn
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(1, n_items)) + rng.normal(0, 0.1, size=(n_seeds, n_items))
    other = base - gap + rng.normal(0, noise, size=(n_seeds, n_items))
    return check_items(pd.DataFrame(side("a", base) + side("b", other)))


def claim(kind="order", margin=0.0, direction="less", **changes):
    a, b = {"method": "a", **SIDE}, {"method": "b", **SIDE}
    return Claim.model_validate(
        {"id": "c", "statement": "s", "source": "Table 1", "evidence": "experiment", "kind": kind, "lhs": a, "rhs": b,
         "direction": direction, "margin": {"abs": margin, "reason": "for the property"}, "scales": ["smoke", "paper"],
         "controls": [{"name": "broken", "why": "another method", "lhs": {"method": "x", **SIDE}}]} | changes
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(scores, kinds, margins, directions)
def test_the_verdict_is_what_the_printed_interval_says(drawn, kind, margin, direction):
    v = judge_claim(claim(kind, margin, direction), experiment(drawn), scale="smoke")
    low, high = (v["ci_low"], v["ci_high"]) if direction == "greater" else (-v["ci_high"], -v["ci_low"])
    if np.isnan(low) or (v["n_items"] < LEAST_ITEMS and not (v["n_items"] == 1 and v["n_seeds"] >= 3)):
        assert v["verdict"] == "inconclusive" and ("one item" in v["reason"] or "there is no verdict" in v["reason"])
        return
    if np.isclose(low, high, rtol=1e-9, atol=1e-12):
        assert v["verdict"] == "inconclusive"
        return
    if kind in ("equivalence", "value"):
        agrees, disagrees = -margin <= low and high <= margin, low > margin or high < -margin
    else:
        bound = margin if kind == "order" else -margin
        agrees, disagrees = low > bound, high < bound
    against = "proxy_disagrees" if kind in ("equivalence", "value") else "proxy_reverse" if high < 0 else "proxy_below_margin"
    assert v["verdict"] == ("proxy_agrees" if agrees else against if disagrees else "inconclusive")
    if low > margin and kind in ("order", "non_inferiority"):
        assert v["verdict"] not in DISAGREES


@settings(max_examples=20, deadline=None)
@given(scores, margins)
def test_a_wider_margin_never_takes_an_equivalence_back(drawn, margin):
    frame = experiment(drawn)
    narrow = judge_claim(claim("equivalence", margin), frame, scale="smoke")["verdict"]
    wide = judge_claim(claim("equivalence", margin + 0.3), frame, scale="smoke")["verdict"]
    assert narrow not in AGREES or wide in AGREES
    assert wide not in DISAGREES or narrow in DISAGREES


@settings(max_examples=20, deadline=None)
@given(scores, directions)
def test_swapping_the_sides_of_an_order_turns_it_round(drawn, direction):
    frame, c = experiment(drawn), claim(direction=direction)
    found = judge_claim(c, frame, scale="smoke")["verdict"]
    exchanged = judge_claim(claim(direction=direction, lhs=c.rhs.model_dump(), rhs=c.lhs.model_dump()), frame, scale="smoke")["verdict"]
    assert exchanged == TURNED[found]
    other = claim(direction="greater" if direction == "less" else "less")
    assert judge_claim(other, frame, scale="smoke")["verdict"] == TURNED[found]


@settings(max_examples=30, deadline=None)
@given(scores, kinds, margins)
def test_a_proxy_never_reproduces_and_the_paper_s_scale_uses_the_same_rule(drawn, kind, margin):
    frame, c = experiment(drawn), claim(kind, margin)
    smoke = judge_claim(c, frame, scale="smoke")["verdict"]
    paper = judge_claim(c, frame, scale="paper")["verdict"]
    assert paper == PAPER[smoke]


@settings(max_examples=30, deadline=None)
@given(scores, kinds, st.sampled_from(["a", "b"]))
def test_an_absent_arm_is_not_run(drawn, kind, gone):
    frame = experiment(drawn)
    v = judge_claim(claim(kind, 0.1), frame[frame["method"] != gone], scale="smoke")
    assert v["verdict"] == "not_run" and gone in v["reason"]
    (row,) = judge([claim(kind, 0.1)], frame[frame["method"] != gone], scale="smoke").to_dict("records")
    assert row["controls_run"] == 0


@settings(max_examples=30, deadline=None)
@given(scores, kinds)
def test_a_control_that_changes_nothing_never_flips_what_holds(drawn, kind):
    frame = experiment(drawn)
    copy = check_items(pd.concat([frame, frame[frame["method"] == "a"].assign(method="x")]))
    (row,) = judge([claim(kind, 0.2)], copy, scale="smoke").to_dict("records")
    assert row["controls_run"] == 1 and row["controls_flipped"] == 0


@settings(max_examples=30, deadline=None)
@given(scores)
def test_what_both_sides_share_cancels(drawn):
    """Paired: a shift of every score of an item, on both sides, moves nothing."""
    frame = experiment(drawn)
    moved = frame.assign(score=frame["score"] + 100.0 * frame["item_id"].astype(int))
    before, after = (judge_claim(claim(), f, scale="smoke") for f in (frame, moved))
    assert after["estimate"] == pytest.approx(before["estimate"], abs=1e-9)
    assert after["ci_low"] == pytest.approx(before["ci_low"], abs=1e-9, nan_ok=True)


def test_an_untrained_side_pairs_with_every_seed():
    rng = np.random.default_rng(0)
    frame = check_items(pd.DataFrame(side("a", rng.normal(0, 0.01, (3, 9))) + side("b", np.ones((1, 9)))))
    v = judge_claim(claim(), frame, scale="smoke")
    assert v["verdict"] == "proxy_agrees" and v["n_seeds"] == 3 and v["estimate"] == pytest.approx(-1, abs=0.02)


def test_sides_without_a_common_seed_or_item_are_not_run():
    frame = check_items(pd.DataFrame(side("a", np.zeros((2, 5))) + side("b", np.ones((2, 5)))))
    seeds = frame.assign(seed=frame["seed"] + 2 * (frame["method"] == "b"))
    assert "share no seeds" in judge_claim(claim(), seeds, scale="smoke")["reason"]
    items = frame.assign(item_id=frame["method"] + frame["item_id"])
    assert "share no items" in judge_claim(claim(), items, scale="smoke")["reason"]


def test_an_item_that_a_seed_lacks_is_left_out_on_both_sides():
    frame = check_items(pd.DataFrame(side("a", np.zeros((3, 6))) + side("b", np.ones((3, 6)) + np.arange(6) / 10)))
    holes = frame[~((frame["method"] == "a") & (frame["seed"] == 1) & (frame["item_id"] == "5"))]
    v = judge_claim(claim(), holes, scale="smoke")
    assert v["verdict"] == "inconclusive" and v["n_items"] == 5 and v["estimate"] == pytest.approx(-1.2)


def test_a_side_with_several_settings_is_refused_by_name():
    frame = pd.DataFrame(side("a", np.zeros((1, 4))) + side("b", np.ones((1, 4))))
    both = check_items(pd.concat([frame, frame.assign(setting="start")], ignore_index=True))
    with pytest.raises(GalleyError, match="final, start: name one"):
        judge_claim(claim(), both, scale="smoke")
