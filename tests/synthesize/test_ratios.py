import itertools

import numpy as np
import pytest

from galley.synthesize.ratios import linearised, pass_chance


def test_the_mean_is_the_pooled_ratio_and_empty_tasks_say_nothing():
    hits, counts = [1, 0, 3, 0], [2, 0, 3, 5]
    scores = linearised(hits, counts)
    assert scores.mean() == pytest.approx(4 / 10) and scores[1] == pytest.approx(4 / 10)
    assert np.isnan(linearised([0, 0], [0, 0])).all()


def test_its_bootstrap_is_the_ratio_s():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 12, 300)
    hits = rng.binomial(counts, rng.uniform(0.1, 0.9, 300))
    scores = linearised(hits, counts)
    draws = rng.integers(0, 300, (3000, 300))
    slow = hits[draws].sum(1) / counts[draws].sum(1)
    assert scores[draws].mean(1).std() == pytest.approx(slow.std(), rel=0.03)


@pytest.mark.parametrize("failing", [0, 1, 3, 6])
@pytest.mark.parametrize("drawn", [0, 1, 2, 4])
def test_the_chance_to_pass_is_the_share_of_all_draws(failing, drawn):
    draws = list(itertools.combinations(range(6), drawn))
    slow = sum(all(test >= failing for test in draw) for draw in draws) / len(draws)
    assert pass_chance(failing, 6, drawn) == pytest.approx(slow)


def test_more_draws_than_tests_take_all():
    assert pass_chance(1, 3, 10) == 0.0 and pass_chance(0, 3, 10) == 1.0
