"""Estimators and intervals: weighted means, paired differences over items and seeds, slopes.

Source: ours; the bootstrap is the percentile one (Efron and Tibshirani, 1993), Wilson's interval is from
statsmodels. Items and seeds are two random factors: with three seeds or more both are resampled,
crossed; with fewer, only items are, and the method's name says `one training run` or `two`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galley.artifact import GalleyError

Array = NDArray[np.float64]
DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval at 1 - alpha, and how the interval was made."""

    value: float
    low: float
    high: float
    method: str
    n_items: int
    n_seeds: int


def wilson(hits: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Return Wilson's interval of a rate."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=alpha, method="wilson")
    return float(low), float(high)


def weighted_mean(scores: Array, weights: Array, *, seed: int, alpha: float = 0.05) -> Estimate:
    """Estimate sum(w s)/sum(w), each averaged over seeds first; scores (seeds, items), weights (items,)."""
    return _bootstrap(np.asarray(scores, float), np.asarray(weights, float), seed=seed, alpha=alpha)


def paired_difference(a: Array, b: Array, weights: Array, *, seed: int, alpha: float = 0.05) -> Estimate:
    """Estimate the weighted mean of a - b, paired on the same seed and item; a and b are (seeds, items)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"pairing needs the same items: {a.shape[1]} against {b.shape[1]}")
    if a.shape[0] != b.shape[0]:  # an untrained side has one run: it pairs with every seed
        a, b = np.broadcast_arrays(a, b)
    return _bootstrap(a - b, np.asarray(weights, float), seed=seed, alpha=alpha)


def slope(x: Array, series: Array, weights: Array, *, seed: int, alpha: float = 0.05) -> Estimate:
    """Estimate the least-squares slope over x of weighted means; series is (x, seeds, items), paired throughout."""
    x = np.asarray(x, float)
    centred = (x - x.mean()) / np.square(x - x.mean()).sum()
    # A slope is linear in the means, hence a weighted mean of per-item slopes: the same bootstrap serves.
    return _bootstrap(np.tensordot(centred, np.asarray(series, float), axes=1), np.asarray(weights, float), seed=seed, alpha=alpha)


def _bootstrap(values: Array, weights: Array, *, seed: int, alpha: float) -> Estimate:
    """Percentile bootstrap of the weighted mean of values (seeds, items), items crossed with seeds."""
    n_seeds, n_items = values.shape
    rng = np.random.default_rng(seed)
    point = float((values.mean(axis=0) * weights).sum() / weights.sum())
    runs = {1: "one training run", 2: "two training runs"}.get(n_seeds)
    if n_items == 1 and n_seeds < 3:
        return Estimate(point, math.nan, math.nan, "no interval: one item", n_items, n_seeds)
    items = rng.multinomial(n_items, np.full(n_items, 1 / n_items), size=DRAWS) * weights  # (draws, items)
    items /= items.sum(axis=1, keepdims=True)
    if n_seeds >= 3:
        seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=DRAWS) / n_seeds
        draws = np.einsum("ds,si,di->d", seeds, values, items, optimize=True)
        method = "bootstrap items x seeds"
    else:
        draws = items @ values.mean(axis=0)
        method = f"bootstrap items, {runs}"
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return Estimate(point, float(low), float(high), method, n_items, n_seeds)


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
