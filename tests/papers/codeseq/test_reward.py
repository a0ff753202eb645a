import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from galley.papers.codeseq.checks import reward_rows, violations
from galley.papers.codeseq.policy import shaping_rows, softmax, train_policy
from galley.papers.codeseq.reward import Cssr, centred_advantages, group_advantages
from galley.papers.codeseq.solvability import for_rl, solvability, standard_error, tag

S = st.floats(0, 1)
CASES = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda t: (min(t), max(t)))


@given(S, S, CASES)
def test_the_reward_falls_in_solvability_and_is_bounded(a, b, cases):
    r = Cssr()
    low, high = sorted((a, b))
    (right, n) = cases
    hard, easy = (r.reward(passed=True, s=s, right_cases=right, cases=n) for s in (low, high))
    assert 0 <= easy <= hard + 1e-12 and hard <= 1 + r.case_weight
    assert r.reward(passed=False, s=a, right_cases=n, cases=n) < r.reward(passed=True, s=a)
    assert r.reward(passed=True, s=a, formatted=False) == 0
    assert r.reward(passed=False, s=a) == 0 == r.reward(passed=False, s=a, right_cases=1, cases=1)


@given(S, st.integers(2, 9), st.integers(0, 8))
def test_more_right_cases_are_worth_more(s, n, right):
    right = min(right, n - 1)
    r = Cssr()
    assert r.reward(passed=True, s=s, right_cases=right + 1, cases=n) > r.reward(passed=True, s=s, right_cases=right, cases=n)


def test_the_check_of_properties_sees_broken_rewards():
    rows = {(r["method"], r["setting"]): r["score"] for r in reward_rows()}
    assert not any(score for (method, _), score in rows.items() if method == "cssr")
    assert sum(score > 0 for (method, _), score in rows.items() if method != "cssr") >= 4
    plain = violations(lambda *, passed, formatted=True, **_: float(passed and formatted), bound=1.0, fewest=2)
    assert plain["falls in solvability"] and plain["rises in right cases"] and not plain["right beats wrong"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=32), st.floats(0.01, 100))
def test_a_factor_cancels_under_group_normalisation(rewards, factor):
    x = np.round(np.array([rewards]), 3)
    assert np.allclose(group_advantages(factor * x), group_advantages(x), atol=1e-6)
    assert np.allclose(centred_advantages(factor * x), factor * centred_advantages(x))


def test_equal_rewards_have_no_advantage():
    for value in (0.0, 1.0, 0.1):
        assert not group_advantages(np.full((3, 32), value)).any()
    a = group_advantages(np.array([[0.0, 1.0, 1.0]]))
    assert abs(a.mean()) < 1e-12 and abs(a.std() - 1) < 1e-12


def test_solvability():
    draws = [False] * 3 + [True] * 5
    assert solvability(draws) == 5 / 8 and tag(draws) == "pass@8" and tag(draws[3:]) == "pass@1"
    assert tag([False] * 32) == "none" and tag([False] * 31 + [True]) == "pass@32"
    assert max(standard_error(k / 32, 32) for k in range(33)) == standard_error(0.5, 32) < 0.0884
    rng = np.random.default_rng(0)
    assert abs(rng.binomial(32, 0.3, 20_000).std() / 32 - standard_error(0.3, 32)) < 1e-3
    assert [for_rl(s) for s in (0.0, 0.1, 0.46, 0.5, 1.0)] == [False, True, True, False, False]


def test_the_policy_learns_and_scaling_acts_only_without_normalisation():
    s = np.array([0.05, 0.2, 0.7])
    assert np.allclose(train_policy(s, reward="scaled", normalise=True, seed=0), train_policy(s, reward="plain", normalise=True, seed=0))
    assert not np.allclose(
        train_policy(s, reward="scaled", normalise=False, seed=0), train_policy(s, reward="plain", normalise=False, seed=0)
    )
    assert (train_policy(s, reward="plain", normalise=True, seed=0) > s).all()
    assert np.allclose(softmax(np.log(np.array([[0.2, 0.3, 0.5]]))), [[0.2, 0.3, 0.5]])
    shares = [r["score"] for r in shaping_rows() if r["method"] == "plain:centred" and r["metric"] == "mass_share" and r["seed"] == 0]
    assert abs(sum(shares) - 1) < 1e-9
