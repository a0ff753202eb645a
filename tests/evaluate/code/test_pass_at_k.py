from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.artifact import GalleyError
from galley.evaluate.code.pass_at_k import any_of_first_k, estimate, pass_at_k

ncK = st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))


@given(ncK)
def test_it_is_the_mean_over_all_draws_of_k(nck):
    n, c, k = nck
    samples = [i < c for i in range(n)]
    draws = [any(draw) for draw in combinations(samples, k)]
    assert pass_at_k(n, c, k) == pytest.approx(np.mean(draws), abs=1e-12)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_its_ends_and_order(nc):
    n, c = nc
    values = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert values[0] == pytest.approx(c / n) and values[-1] == float(c > 0)
    assert all(a <= b + 1e-12 for a, b in pairwise(values))
    assert all(pass_at_k(n, c, k) <= pass_at_k(n, min(c + 1, n), k) + 1e-12 for k in {1, n})


def test_it_equals_evalplus_s():
    from evalplus.eval import estimate_pass_at_k

    n, c = [10, 20, 100], [0, 3, 42]
    for k in (1, 10):
        assert [pass_at_k(a, b, k) for a, b in zip(n, c, strict=True)] == pytest.approx(list(estimate_pass_at_k(n, c, k)))


def test_it_is_unbiased_and_the_plug_in_is_not():
    rng, p, n, k = np.random.default_rng(0), 0.2, 10, 5
    counts = rng.binomial(n, p, size=20_000)
    true = 1 - (1 - p) ** k
    assert np.mean([pass_at_k(n, int(c), k) for c in counts]) == pytest.approx(true, abs=0.01)
    assert np.mean(1 - (1 - counts / n) ** k) < true - 0.02


@pytest.mark.parametrize(("n", "c", "k", "said"), [(3, 1, 4, "k is 4"), (3, 4, 1, "4 correct"), (0, 0, 1, "k is 1")])
def test_what_cannot_be_estimated_is_refused(n, c, k, said):
    with pytest.raises(GalleyError, match=said):
        pass_at_k(n, c, k)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(1), 0
    for trial in range(60):
        p = rng.beta(1, 2, size=80)  # the tasks' own chances: mean 1/3
        passed = {f"t{i:03}": list(rng.random(5) < chance) for i, chance in enumerate(p)}
        e = estimate(passed, 1, seed=trial)
        covered += e.low <= 1 / 3 <= e.high
    assert 52 <= covered <= 60 and e.n_items == 80


def test_any_of_the_first_k_depends_on_the_order():
    assert any_of_first_k([False, True], 1) == 0.0 and any_of_first_k([True, False], 1) == 1.0
    assert pass_at_k(2, 1, 1) == 0.5
    with pytest.raises(GalleyError):
        any_of_first_k([True], 2)
