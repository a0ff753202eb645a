r"""The RL reward (case-synergy solvability scaling) and what group normalisation leaves of it.

arXiv:2510.14620, section 3.4. [inferred] The exact formula could not be read; this template follows its public description, a
log-scaled function of the solvability s with a smoothing constant and the share of the model's own cases that are right:

    R = 0 without the answer's format, else  1[all tests pass] * (-log(s + eps)) / (-log eps) + lambda * N_tc / N_c

with no second term for fewer than `fewest_cases` distinct own cases. It falls in s, is bounded by 1 + lambda, rises in N_tc / N_c,
and a right program beats a wrong one with right cases as long as lambda < -log(s + eps) / -log eps.

GRPO's advantage is (R - mean) / std over a problem's group; the std is that of a sample (n - 1), as in the libraries that train with
it. A factor c(s) on all rewards of a problem cancels there, so that solvability can act through the case term, through unnormalised
advantages, or through which problems are drawn. TRL adds STD_FLOOR to the std, so that what cancels here cancels there but for
STD_FLOOR / std, and a group of equal rewards needs no rule of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STD_FLOOR = 1e-4  # what TRL adds to the std


@dataclass(frozen=True)
class Cssr:
    """The template's constants [inferred]."""

    eps: float = 0.01
    case_weight: float = 0.05
    fewest_cases: int = 2
    ceiling: float = 0.95  # solvability above it counts as this much, so that a right program is never worth nothing

    def scale(self, s: float) -> float:
        """Return the weight of a right program for a problem of solvability s, within (0, 1]."""
        return math.log(min(s, self.ceiling) + self.eps) / math.log(self.eps)

    def reward(self, *, passed: bool, s: float, right_cases: int = 0, cases: int = 0, formatted: bool = True) -> float:
        """Return a sample's reward; `cases` are the distinct inputs that it checked itself, `right_cases` those with true outputs."""
        if not formatted:
            return 0.0
        share = right_cases / cases if cases >= self.fewest_cases else 0.0
        # The case term may not outweigh being right: it is capped below the weight of a right program.
        weight = min(self.case_weight, 0.9 * self.scale(s))
        return passed * self.scale(s) + weight * share


def group_advantages(rewards: Array) -> Array:
    """Return (R - mean) / std of every group, rewards (groups, samples); a group of equal rewards has no advantage at all."""
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    std = rewards.std(axis=1, ddof=1, keepdims=True)
    equal = np.ptp(rewards, axis=1, keepdims=True) == 0
    return np.where(equal, 0.0, centred / np.where(equal, 1.0, std))


def trl_advantages(rewards: Array) -> Array:
    """Return the advantages of TRL's GRPOTrainer with `scale_rewards="group"`, by its formula: (R - mean) / (std + STD_FLOOR)."""
    return (rewards - rewards.mean(axis=1, keepdims=True)) / (rewards.std(axis=1, ddof=1, keepdims=True) + STD_FLOOR)


def population_advantages(rewards: Array) -> Array:
    """Return advantages by the std of a population (n): a slip that a check against a library must see."""
    return group_advantages(rewards) * np.sqrt(rewards.shape[1] / (rewards.shape[1] - 1))


def centred_advantages(rewards: Array) -> Array:
    """Return R - mean of every group: no normalisation, so that a problem's scale stays."""
    return rewards - rewards.mean(axis=1, keepdims=True)
