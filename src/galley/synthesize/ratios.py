"""Ratios over tasks as item scores: precision of what a filter keeps, paired over tasks although each keeps another number.

A pooled ratio R = sum(hits) / sum(counts) is no mean of per-task ratios: tasks that keep nothing have none. Its Taylor
linearisation z_i = R + (hits_i - R counts_i) / mean(counts) has the mean R exactly, and the bootstrap of its mean is that of the ratio to
first order (Särndal, Swensson and Wretman, 1992, section 5.5). A task that keeps nothing scores R: it says nothing about R.

Source: ours; the hypergeometric chance is textbook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def linearised(hits: Sequence[float], counts: Sequence[float]) -> NDArray[np.float64]:
    """Return one score a task whose mean is sum(hits) / sum(counts); all NaN when nothing was counted."""
    h, n = np.asarray(hits, float), np.asarray(counts, float)
    if n.sum() == 0:
        return np.full(len(n), np.nan)
    ratio = h.sum() / n.sum()
    return ratio + (h - ratio * n) / n.mean()


def pass_chance(failing: int, total: int, drawn: int) -> float:
    """Return the chance that a program which fails `failing` of `total` tests passes `drawn` of them, taken without replacement.

    Fewer tests than `drawn` are all taken.
    """
    drawn = min(drawn, total)
    return math.comb(total - failing, drawn) / math.comb(total, drawn)
