"""Estimators and intervals: weighted means, paired differences over items and runs, rates and their differences.

Source: ours; each interval is a published one: Student's t with Satterthwaite's degrees of freedom for two crossed random factors (items
and runs), the percentile and the studentised bootstrap (Efron and Tibshirani, 1993), Wilson's for a rate (from statsmodels) and
Newcombe's for the difference of two paired rates (1998, part II, method 10). docs/statistics.md has their measured coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from galley.artifact import GalleyError

Array = NDArray[np.float64]
DRAWS = 4000
FEW = 30  # items: fewer, and the percentile bootstrap is too narrow
RUNS = 3  # runs, from which what another run would change is in the interval


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and how the interval was made."""

    value: float
    low: float
    high: float
    method: str
    n_items: int
    n_seeds: int
    level: float = 0.95


def wilson(hits: float, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Return Wilson's interval of a rate; hits may be an average over runs."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=alpha, method="wilson")
    return float(low), float(high)


def weighted_mean(scores: Array, weights: Array, *, seed: int, alpha: float = 0.05, rate: bool = False) -> Estimate:
    """Estimate sum(w s)/sum(w), each averaged over runs first; scores (runs, items), weights (items,).

    `rate`: the scores are hits and misses, for which ten misses in ten are no certainty: an interval is never narrower than Wilson's.
    """
    scores, weights = np.asarray(scores, float), np.asarray(weights, float)
    found = _interval(scores, weights, seed=seed, alpha=alpha)
    if not rate or not _hits(scores, weights):
        return found
    n = scores.shape[1]
    return _rate(found, wilson(found.value * n, n, alpha=alpha), "Wilson", runs=len(scores))


def paired_difference(a: Array, b: Array, weights: Array, *, seed: int, alpha: float = 0.05, rate: bool = False) -> Estimate:
    """Estimate the weighted mean of a - b, paired on the same run and item; a and b are (runs, items).

    A side that has one run pairs with every run of the other: whether it may is the caller's to say. `rate`: both are hits and misses;
    an interval is never narrower than Newcombe's.
    """
    a, b, weights = np.asarray(a, float), np.asarray(b, float), np.asarray(weights, float)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"pairing needs the same items: {a.shape[1]} against {b.shape[1]}")
    if a.shape[0] != b.shape[0]:
        a, b = np.broadcast_arrays(a, b)
    found = _interval(a - b, weights, seed=seed, alpha=alpha)
    if not rate or not (_hits(a, weights) and _hits(b, weights)):
        return found
    return _rate(found, newcombe(a, b, alpha=alpha), "Newcombe", runs=len(a))


def newcombe(a: Array, b: Array, *, alpha: float = 0.05) -> tuple[float, float]:
    """Return Newcombe's interval of the difference of two paired rates, of hits and misses (runs, items), averaged over runs."""
    n = a.shape[1]
    both, first, second = (float(cell.mean(axis=0).sum()) for cell in (a * b, a * (1 - b), (1 - a) * b))
    neither = n - both - first - second
    p, q = (both + first) / n, (both + second) / n
    (p_low, p_high), (q_low, q_high) = wilson(p * n, n, alpha=alpha), wilson(q * n, n, alpha=alpha)
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    cross = both * neither - first * second
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    phi = cross / math.sqrt(product) if product > 0 else 0.0
    down, up = p - p_low, q_high - q
    below = math.sqrt(max(0.0, down**2 - 2 * phi * down * up + up**2))
    down, up = p_high - p, q - q_low
    above = math.sqrt(max(0.0, up**2 - 2 * phi * up * down + down**2))
    return p - q - below, p - q + above


def _hits(scores: Array, weights: Array) -> bool:
    return bool(np.isin(scores, (0, 1)).all() and np.ptp(weights) == 0)


def _rate(found: Estimate, interval: tuple[float, float], name: str, *, runs: int) -> Estimate:
    """Return an estimate with the named interval of a rate; of several runs, whichever reaches farther on each side."""
    if runs < RUNS or math.isnan(found.low):
        return replace(found, low=interval[0], high=interval[1], method=f"{name}, {_count(runs)}")
    return replace(found, low=min(found.low, interval[0]), high=max(found.high, interval[1]), method=f"{found.method}, {name} at least")


def _count(runs: int) -> str:
    return {1: "one run", 2: "two runs"}.get(runs, f"{runs} runs")


def _interval(values: Array, weights: Array, *, seed: int, alpha: float) -> Estimate:
    """Return the weighted mean of values (runs, items) and its interval.

    From three runs, t over both factors; of one or two, over items alone, which the method's name says: the percentile bootstrap of
    thirty items or more, else t or the studentised bootstrap, whichever reaches farther.
    """
    runs, n = values.shape
    share = weights / weights.sum()
    each = values.mean(axis=0)
    point = float(each @ share)
    found = Estimate(point, math.nan, math.nan, "no interval: one item", n, runs, 1 - alpha)
    if runs >= RUNS:
        low, high = _two_way(values, share, point, alpha=alpha)
        return replace(found, low=low, high=high, method=f"t over items and {_count(runs)}")
    if n == 1:
        return found
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) * share  # (draws, items)
    draws /= draws.sum(axis=1, keepdims=True)
    if n >= FEW:
        low, high = np.quantile(draws @ each, [alpha / 2, 1 - alpha / 2])
        return replace(found, low=float(low), high=float(high), method=f"bootstrap of items, {_count(runs)}")
    error = _error(each, share, point)
    reach = _t(1 - alpha / 2, _effective(share) - 1)
    low, high = point - reach * error, point + reach * error
    studentised = _studentised(each, draws, point, error, alpha=alpha)
    if studentised is not None:
        low, high = min(low, studentised[0]), max(high, studentised[1])
    return replace(found, low=low, high=high, method=f"t or studentised over items, {_count(runs)}")


def _error(each: Array, share: Array, point: float) -> float:
    """Return the standard error of a weighted mean, linearised as a ratio's."""
    n = len(each)
    return math.sqrt(float(np.square(share * (each - point)).sum()) * n / (n - 1))


def _effective(share: Array) -> float:
    """Return how many items of equal weight know as much (Kish)."""
    return max(1.0 + 1e-6, float(1 / np.square(share).sum()))


def _t(quantile: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(quantile, max(freedom, 1.0)))


def _two_way(values: Array, share: Array, point: float, *, alpha: float) -> tuple[float, float]:
    """Return t's interval of a mean over runs crossed with items, each a random factor (Satterthwaite's degrees of freedom)."""
    runs, n = values.shape
    per_run, each = values @ share, values.mean(axis=0)
    by_run = float(per_run.var(ddof=1)) / runs
    by_item = _error(each, share, point) ** 2 if n > 1 else 0.0
    rest = values - per_run[:, None] - each[None, :] + point  # what neither explains is in both of them, and counts once
    both = float(np.square(rest * share).sum()) * n / ((runs - 1) * runs * max(n - 1, 1)) if n > 1 else 0.0
    variance = max(by_run + by_item - both, by_run, by_item)
    parts = by_run**2 / (runs - 1) + by_item**2 / max(_effective(share) - 1, 1.0)
    freedom = variance**2 / parts if parts else float(runs - 1)
    reach = _t(1 - alpha / 2, max(freedom, 1.0)) * math.sqrt(variance)
    return point - reach, point + reach


def _studentised(each: Array, draws: Array, point: float, error: float, *, alpha: float) -> tuple[float, float] | None:
    """Return the studentised bootstrap's interval; None where draws have no spread of their own to be measured by."""
    if not error:
        return None
    n = len(each)
    means = draws @ each
    errors = np.sqrt(np.square(draws * (each - means[:, None])).sum(axis=1) * n / (n - 1))
    sound = errors > error * 1e-9
    if sound.mean() < 0.9:  # of so few items many draws are of one alone
        return None
    low, high = np.quantile((means - point)[sound] / errors[sound], [alpha / 2, 1 - alpha / 2])
    return point - float(high) * error, point - float(low) * error


def items_needed(estimate: Estimate, *, threshold: float) -> int | None:
    """Return about how many items would settle on which side of `threshold` the value is; None if no number would."""
    gap = abs(estimate.value - threshold)
    half = (estimate.high - estimate.low) / 2
    if not gap or not math.isfinite(half):
        return None
    return max(estimate.n_items + 1, math.ceil(estimate.n_items * (half / gap) ** 2))


def derangement(n: int, *, seed: int) -> list[int]:
    """Return a seeded permutation of range(n) that leaves nothing in its place: one cycle through a random order; n >= 2."""
    if n < 2:
        raise GalleyError(f"{n} item has no other item to exchange with; give at least two")
    order = np.random.default_rng(seed).permutation(n).tolist()
    follow = dict(zip(order, order[1:] + order[:1], strict=True))
    return [follow[i] for i in range(n)]
