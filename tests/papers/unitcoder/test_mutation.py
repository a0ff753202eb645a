import numpy as np
import pytest

from galley.papers.unitcoder.mutation import DRAWS, curve_rows, halves
from galley.papers.unitcoder.report import mixed_up, unasserted


def precision(rows, method, k):
    scores = [r["score"] for r in rows if (r["method"], r["metric"], r["setting"]) == (method, "precision", f"k={k}")]
    return sum(scores) / len(scores)


def test_shown_and_hidden_inputs_are_apart_and_are_all():
    shown, hidden = halves(21, name="t", seed=0)
    assert sorted((*shown, *hidden)) == list(range(21)) and len(shown) == 10
    assert halves(21, name="t", seed=0) == (shown, hidden) != halves(21, name="t", seed=1)


def test_precision_may_fall_with_more_tests():
    """Other inputs than the tests judge: a program that passes every test may be wrong, and one that fails them right."""
    shown, hidden = halves(40, name="t", seed=0)
    vectors = {("t", "fits the tests"): [i in shown for i in range(40)], ("t", "right elsewhere"): [i in hidden for i in range(40)]}
    rows = curve_rows(vectors, name="corpus", seed=0)
    assert precision(rows, "mutants", 0) == 0.5 and precision(rows, "mutants", 10) == 0
    assert [precision(rows, "mutants", k) for k in DRAWS] == sorted((precision(rows, "mutants", k) for k in DRAWS), reverse=True)


def test_a_mixed_up_runner_keeps_the_share_of_right_ones():
    rng = np.random.default_rng(0)
    vectors = {(f"t{n // 10}", str(n)): [bool(ok)] * 20 for n, ok in enumerate(rng.random(600) < 0.2)}
    rows = curve_rows(vectors, name="corpus", seed=0)
    base = sum(v[0] for v in vectors.values()) / 600
    assert precision(rows, "mutants", 1) == 1 and precision(rows, "control:mixed_up", 10) == pytest.approx(base, abs=0.07)
    kept = {r["setting"]: r["score"] for r in rows if r["metric"] == "count"}
    assert kept["kept_programs,k=0"] == 600 and kept["kept_programs,k=1"] == pytest.approx(600 * base)


def test_a_mixed_up_runner_moves_every_verdict():
    found = {name: name for name in "abcdef"}
    mixed = mixed_up(found, seed=3)
    assert sorted(mixed.values()) == sorted(found) and all(mixed[name] != name for name in found) and mixed_up({"a": 1}, seed=0) == {"a": 1}


def test_tests_without_assertions_call_what_they_called():
    assert unasserted(["self.assertEqual(f(1), 2)", "assert f(2) > 1", "import math\nself.assertEqual(math.sqrt(f(3)), 1)", "f(4)"]) == [
        "(f(1), 2)", "f(2) > 1", "import math\n(math.sqrt(f(3)), 1)", "f(4)",
    ]  # fmt: skip
