"""The GTG test (general term generation): held-out problems, many samples each, the average chance of a sample to be right.

arXiv:2510.14620, section 4: 200 problems, 32 samples each at temperature 1; the score is the mean over problems of right samples
over 32, times 100, which is the unbiased pass@1 and does not depend on the samples' order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from galley.evaluate.code.pass_at_k import pass_at_k
from galley.papers.codeseq.judge import Judge
from galley.papers.codeseq.problems import Problem
from galley.papers.codeseq.reflect import roll_out
from galley.papers.codeseq.solvers import Solver

PROBLEMS, SAMPLES = 200, 32


def run_gtg(
    problems: Iterable[Problem], solver: Solver, judge: Judge, *, samples: int = SAMPLES, seed: int
) -> Iterator[tuple[str, list[bool]]]:
    """Yield each problem's id and which of its samples passed all tests."""
    for problem, passed in roll_out(problems, solver, judge, seed=seed, rollouts=samples):
        yield problem.id, passed


def recent(origin: str) -> bool:
    """Say whether a sequence is of the benchmark's contemporary half: classics have been in every model's training text."""
    return origin.startswith("contemporary")


def gtg_score(passed: Mapping[str, Sequence[bool]]) -> float:
    """Return the score in percent: the mean over problems of right samples over all samples."""
    return 100 * float(np.mean([sum(samples) / len(samples) for samples in passed.values()]))


def unbiased_pass_at_1(passed: Mapping[str, Sequence[bool]]) -> float:
    """Return the mean unbiased pass@1 in percent: the score's slow twin."""
    return 100 * float(np.mean([pass_at_k(len(samples), sum(samples), 1) for samples in passed.values()]))


def first_sample(passed: Mapping[str, Sequence[bool]]) -> float:
    """Return the share of problems whose first sample is right, in percent: a score that depends on the order."""
    return 100 * float(np.mean([samples[0] for samples in passed.values()]))
