"""How often a solver solves a problem, from 32 rollouts, and what that makes of the problem.

arXiv:2510.14620, section 3.4: s(p) = right rollouts / 32; a problem is tagged by the index of its first success (pass@1, pass@8,
pass@32, none); problems for RL are those below a cut, which reviewers quote as 0.46. A problem that is always or never
solved gives a group no advantage, so it is no RL data either.
"""

from __future__ import annotations

from collections.abc import Sequence

ROLLOUTS, CUT = 32, 0.46


def solvability(passed: Sequence[bool]) -> float:
    """Return the share of rollouts that solved the problem."""
    return sum(passed) / len(passed)


def tag(passed: Sequence[bool]) -> str:
    """Return pass@1, pass@8, pass@32 or none by the index of the first success."""
    first = next((i for i, ok in enumerate(passed, start=1) if ok), None)
    return "none" if first is None else next((f"pass@{k}" for k in (1, 8, 32) if first <= k), "none")


def for_rl(s: float, *, cut: float = CUT) -> bool:
    """Say whether a problem is RL data: solved at times, but not above the cut."""
    return 0 < s <= cut
