import numpy as np
import pytest

from galley import stats
from galley.stats import items_needed, paired_difference, slope, weighted_mean, wilson


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


def test_crossed_bootstrap_covers_when_seeds_vary(fewer_draws):
    rng = np.random.default_rng(1)
    covered = wrong = 0
    for draw in range(200):
        scores = rng.normal(0, 1, size=(12, 1)) + rng.normal(0, 0.2, size=(12, 40))
        e = weighted_mean(scores, np.ones(40), seed=draw)
        covered += e.low <= 0 <= e.high
        items_only = weighted_mean(scores.mean(axis=0, keepdims=True), np.ones(40), seed=draw)
        wrong += items_only.low <= 0 <= items_only.high
    assert covered / 200 >= 0.85
    assert wrong / 200 < 0.5  # leaving the seeds out is seen: its intervals are far too narrow


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
    assert e.value == 1.5 and "one training run" in e.method
    assert "seeds" in weighted_mean(np.ones((3, 5)), np.ones(5), seed=0).method


def test_slope_of_a_line_is_exact():
    series = np.arange(3)[:, None, None] * 2.0 + np.random.default_rng(4).normal(size=(1, 3, 20))
    e = slope(np.array([0.0, 1.0, 2.0]), series, np.ones(20), seed=0)
    assert e.value == pytest.approx(2.0) and e.low == pytest.approx(2.0)


def test_unequal_items_are_refused():
    with pytest.raises(ValueError, match="same items"):
        paired_difference(np.ones((1, 3)), np.ones((1, 4)), np.ones(3), seed=0)


def test_wilson_and_items_needed():
    low, high = wilson(16, 30)
    assert (round(low, 2), round(high, 2)) == (0.36, 0.70)
    e = weighted_mean(np.random.default_rng(5).normal(0.1, 1, size=(1, 100)), np.ones(100), seed=0)
    assert items_needed(e, threshold=0.0) > 100
