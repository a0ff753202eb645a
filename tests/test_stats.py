from pathlib import Path

import numpy as np
import pytest

from galley import stats
from galley.stats import items_needed, newcombe, paired_difference, weighted_mean, wilson


@pytest.fixture
def fewer_draws(monkeypatch):
    """For tests of hundreds of intervals: a quarter of the draws moves an end by a fiftieth of its interval."""
    monkeypatch.setattr(stats, "DRAWS", 1000)


def test_bootstrap_covers_the_true_mean(fewer_draws):
    rng = np.random.default_rng(0)
    covered = 0
    for draw in range(300):
        e = weighted_mean(rng.exponential(1.0, size=(1, 60)), np.ones(60), seed=draw)
        covered += e.low <= 1.0 <= e.high
    assert 0.88 <= covered / 300 <= 0.99


def test_runs_that_differ_are_in_the_interval():
    rng = np.random.default_rng(1)
    covered = wrong = 0
    for draw in range(300):
        scores = rng.normal(0, 1, size=(3, 1)) + rng.normal(0, 0.2, size=(3, 40))
        e = weighted_mean(scores, np.ones(40), seed=draw)
        covered += e.low <= 0 <= e.high
        items_only = weighted_mean(scores.mean(axis=0, keepdims=True), np.ones(40), seed=draw)
        wrong += items_only.low <= 0 <= items_only.high
    assert covered / 300 >= 0.92
    assert wrong / 300 < 0.3  # leaving the runs out is seen: its intervals are far too narrow


def test_of_one_item_runs_alone_make_the_interval():
    from scipy.stats import ttest_1samp

    scores = np.array([[1.0], [2.0], [4.0]])
    e = weighted_mean(scores, np.ones(1), seed=0)
    assert (e.low, e.high) == pytest.approx(tuple(ttest_1samp(scores[:, 0], 0).confidence_interval()))


@pytest.mark.parametrize("n", [4, 12])
def test_of_few_items_the_interval_is_at_least_student_s(n):
    from scipy.stats import ttest_1samp

    for draw in range(20):
        x = np.random.default_rng(draw).lognormal(size=(1, n))
        e = weighted_mean(x, np.ones(n), seed=draw)
        student = ttest_1samp(x[0], 0).confidence_interval()
        assert e.low <= student.low + 1e-9 and e.high >= student.high - 1e-9


def test_without_spread_between_runs_two_factors_are_as_one():
    x = np.random.default_rng(2).normal(size=(1, 25))
    three = weighted_mean(np.repeat(x, 3, axis=0), np.ones(25), seed=0)
    from scipy.stats import ttest_1samp

    assert (three.low, three.high) == pytest.approx(tuple(ttest_1samp(x[0], 0).confidence_interval()))


SHAPES = {
    "normal": lambda rng, n: rng.normal(0, 1, n), "uniform": lambda rng, n: rng.uniform(-1, 1, n),
    "t with 3 degrees": lambda rng, n: rng.standard_t(3, n), "lognormal": lambda rng, n: rng.lognormal(0, 1, n) - np.exp(0.5),
    "a tenth large": lambda rng, n: np.where(rng.random(n) < 0.1, rng.normal(10, 1, n), rng.normal(0, 0.1, n)) - 1.0,
}  # fmt: skip
COVERED = {  # at a nominal 95 %, one run, 1,000 experiments each, as docs/statistics.md prints it; the error of a number is 0.01
    "normal": (0.97, 0.95, 0.95, 0.94, 0.94), "uniform": (0.97, 0.95, 0.96, 0.95, 0.94), "t with 3 degrees": (0.98, 0.95, 0.95, 0.95, 0.92),
    "lognormal": (0.90, 0.87, 0.90, 0.90, 0.91), "a tenth large": (0.40, 0.55, 0.71, 0.91, 0.94),
}  # fmt: skip
SIZES = (4, 8, 12, 24, 60)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_is_what_the_page_prints(shape, fewer_draws):
    for n, printed in zip(SIZES, COVERED[shape], strict=True):
        rng, covered = np.random.default_rng(n), 0
        for draw in range(1000):
            e = weighted_mean(SHAPES[shape](rng, (1, n)), np.ones(n), seed=draw)
            covered += e.low <= 0 <= e.high
        assert covered / 1000 == pytest.approx(printed, abs=0.03), n
    page = (Path(__file__).parents[1] / "docs/statistics.md").read_text(encoding="utf-8")
    assert f"| {shape} | " + " | ".join(f"{share:.2f}" for share in COVERED[shape]) + " |" in page


def hits(p, n, rng, like=None, follow=0.0):
    u = rng.random(n) if like is None else np.where(rng.random(n) < follow, like, rng.random(n))
    return u, (u < p)[None] * 1.0


def test_newcombe_covers_and_knows_pairing():
    for p, q, follow in ((0.5, 0.5, 0.0), (0.9, 0.8, 0.5), (0.05, 0.02, 0.3)):
        rng, covered = np.random.default_rng(3), 0
        for _ in range(400):
            u, a = hits(p, 24, rng)
            low, high = newcombe(a, hits(q, 24, rng, like=u, follow=follow)[1])
            covered += low <= p - q <= high
        assert covered / 400 >= 0.92
    a, b = np.tile([1.0, 1.0, 0.0, 0.0], 5)[None], np.tile([1.0, 0.0, 1.0, 0.0], 5)[None]  # not related at all
    from statsmodels.stats.proportion import confint_proportions_2indep

    assert newcombe(a, b) == pytest.approx(confint_proportions_2indep(10, 20, 10, 20, method="newcomb", compare="diff"))
    same = newcombe(a, a)
    assert same[0] < 0 < same[1] and same[1] - same[0] < 0.6 * (newcombe(a, b)[1] - newcombe(a, b)[0])


def test_a_rate_s_interval_is_never_without_width():
    ones = np.ones((1, 10))
    assert weighted_mean(ones, np.ones(10), seed=0, rate=True).low < 0.8
    e = paired_difference(ones, ones, np.ones(10), seed=0, rate=True)
    assert e.low < 0 < e.high and e.method == "Newcombe, one run"
    three = paired_difference(np.ones((3, 10)), np.ones((3, 10)), np.ones(10), seed=0, rate=True)
    assert three.low < 0 < three.high and "Newcombe at least" in three.method
    assert weighted_mean(np.full((1, 10), 0.5), np.ones(10), seed=0, rate=True).low == pytest.approx(0.5)  # no hits and misses


def test_bootstrap_interval_is_the_closed_form_for_a_mean():
    x = np.random.default_rng(2).normal(size=(1, 400))
    e = weighted_mean(x, np.ones(400), seed=0)
    assert (e.high - e.low) / (2 * 1.96) == pytest.approx(x.std(ddof=1) / 20, rel=0.08)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(3)
    base = rng.normal(0, 5, size=(1, 80))
    a, b = base + 0.3 + rng.normal(0, 0.1, size=base.shape), base
    paired = paired_difference(a, b, np.ones(80), seed=0)
    assert paired.low > 0.2 and paired.high < 0.4


def test_weights_and_seed_labels():
    e = weighted_mean(np.array([[1.0, 3.0]]), np.array([3.0, 1.0]), seed=0)
    assert e.value == 1.5 and "one run" in e.method
    assert weighted_mean(np.ones((3, 5)), np.ones(5), seed=0).method == "t over items and 3 runs"


def test_unequal_items_are_refused():
    with pytest.raises(ValueError, match="same items"):
        paired_difference(np.ones((1, 3)), np.ones((1, 4)), np.ones(3), seed=0)


def test_wilson_and_items_needed():
    low, high = wilson(16, 30)
    assert (round(low, 2), round(high, 2)) == (0.36, 0.70)
    e = weighted_mean(np.random.default_rng(5).normal(0.1, 1, size=(1, 100)), np.ones(100), seed=0)
    assert items_needed(e, threshold=0.0) > 100
