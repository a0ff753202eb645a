"""Learning-rate schedules.

arXiv:2502.14837, section 4.1: linear warm-up, constant, then lr (1 - sqrt((s - s0)/n)) down to zero.
"""

from __future__ import annotations

import math


def warmup_stable_decay(step: int, *, steps: int, warmup: int, decay: int) -> float:
    """Return the factor on the learning rate at `step` (from 0) of `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    start = steps - decay
    if step >= start and decay:
        return 1 - math.sqrt((step - start) / decay)
    return 1.0
