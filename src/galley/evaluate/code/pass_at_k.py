"""pass@k: the chance that at least one of k samples of a task passes, unbiased, with an interval over tasks.

Source: Chen et al., arXiv:2107.03374, equation 1 and figure 3: pass@k = E[1 - C(n-c, k) / C(n, k)] over tasks, for n samples of
which c pass, computed as 1 - prod over i = n-c+1..n of (1 - k/i). The interval is ours: percentile bootstrap over tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from galley.artifact import GalleyError
from galley.stats import Estimate, weighted_mean


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate for one task: n samples, c of them correct; GalleyError when n < k."""
    if not 0 <= c <= n:
        raise GalleyError(f"{c} correct samples of {n}; it must be 0 to {n}")
    if not 1 <= k <= n:
        raise GalleyError(f"k is {k} with {n} samples; pass@k needs 1 <= k <= n, so draw more samples or report a smaller k")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def estimate(passed: Mapping[str, Sequence[bool]], k: int, *, seed: int = 0) -> Estimate:
    """Estimate pass@k over tasks with a 95 % interval; `passed` has each task's samples, all tasks weigh the same."""
    if not passed:
        raise GalleyError("pass@k of no tasks; the samples file has no task of this benchmark")
    scores = np.array([[pass_at_k(len(samples), sum(samples), k) for _, samples in sorted(passed.items())]])
    return weighted_mean(scores, np.ones(scores.shape[1]), seed=seed)


def any_of_first_k(passed: Sequence[bool], k: int) -> float:
    """Return 1 if one of the first k samples passes: another statistic, which depends on the order of the samples."""
    if not 1 <= k <= len(passed):
        raise GalleyError(f"k is {k} with {len(passed)} samples; it needs 1 <= k <= n")
    return float(any(passed[:k]))
