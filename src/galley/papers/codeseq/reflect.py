"""Solve, verify, reflect: a program that fails is answered with its first failed case, for a few rounds.

arXiv:2510.14620, section 3.3. A trajectory (solution, failed case, reflection, correction) becomes one training sample, so that a
model learns to make and check cases itself. The paper's round limit is not known; here it is a setting. All problems of a chunk go
through a round together, so that the sandbox is kept busy, and a chunk is all that is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from galley.papers.codeseq.judge import Job, Judge
from galley.papers.codeseq.problems import Problem
from galley.papers.codeseq.prompts import problem_text
from galley.papers.codeseq.solvability import ROLLOUTS
from galley.papers.codeseq.solvers import Attempt, Solver
from galley.stats import derangement


@dataclass(frozen=True)
class Trajectory:
    """The attempts at a problem in order; the last one passed every test when `solved`."""

    attempts: tuple[Attempt, ...]
    solved: bool


def solve_all(
    problems: Iterable[Problem], solver: Solver, judge: Judge, *, rounds: int, seed: int, chunk: int = 64
) -> Iterator[tuple[Problem, Trajectory]]:
    """Yield each problem's trajectory of at most 1 + `rounds` attempts, in order."""
    problems = iter(problems)
    while part := list(islice(problems, chunk)):
        tried: list[list[Attempt]] = [[] for _ in part]
        solved = [False] * len(part)
        for _ in range(1 + rounds):
            open_ = [i for i in range(len(part)) if not solved[i] and not (tried[i] and tried[i][-1].code is None)]
            for i, (attempt,) in zip(open_, solver.propose([(part[i], tried[i]) for i in open_], n=1, seed=seed), strict=True):
                tried[i].append(attempt)
            ran = [i for i in open_ if tried[i][-1].code is not None]
            jobs = [Job(tried[i][-1].code or "", part[i].tests) for i in ran]
            for i, judged in zip(ran, judge.judge(jobs), strict=True):
                solved[i] = judged.passed
                if judged.failure is not None:
                    case = (judged.failure.given, judged.failure.expected)
                    tried[i][-1] = replace(tried[i][-1], failed=case, got=judged.failure.got)
        for problem, attempts, done in zip(part, tried, solved, strict=True):
            yield problem, Trajectory(tuple(attempts), done)


def roll_out(
    problems: Iterable[Problem], solver: Solver, judge: Judge, *, seed: int, rollouts: int = ROLLOUTS, chunk: int = 64
) -> Iterator[tuple[Problem, list[bool]]]:
    """Yield for each problem which of its rollouts, without feedback, passed every test."""
    problems = iter(problems)
    while part := list(islice(problems, chunk)):
        proposals = solver.propose([(problem, ()) for problem in part], n=rollouts, seed=seed)
        jobs = [Job(a.code, p.tests) for p, attempts in zip(part, proposals, strict=True) for a in attempts if a.code is not None]
        verdicts = judge.judge(jobs)
        for problem, attempts in zip(part, proposals, strict=True):
            yield problem, [a.code is not None and next(verdicts).passed for a in attempts]


def with_other_cases(solved: Sequence[tuple[Problem, Trajectory]], solver: Solver, judge: Judge, *, seed: int) -> list[bool]:
    """Return which problems were solved at once, or are in a second attempt that is told the failed case of another problem."""
    right = [trajectory.solved and len(trajectory.attempts) == 1 for _, trajectory in solved]
    first = {i: t.attempts[0] for i, (_, t) in enumerate(solved) if not right[i] and t.attempts[0].failed is not None}
    ids = list(first)
    if len(ids) < 2:
        return right
    asked: dict[int, Attempt] = {}
    for i, j in zip(ids, derangement(len(ids), seed=seed), strict=True):
        case = first[ids[j]].failed
        if case is not None and case[0] not in {given for given, _ in solved[i][0].examples}:  # it would contradict one: nothing fits both
            asked[i] = replace(first[i], failed=case, got=first[ids[j]].got)
    proposals = solver.propose([(solved[i][0], [attempt]) for i, attempt in asked.items()], n=1, seed=seed)
    tried = [(i, attempt.code) for i, (attempt,) in zip(asked, proposals, strict=True) if attempt.code is not None]
    for (i, _), judged in zip(tried, judge.judge([Job(code, solved[i][0].tests) for i, code in tried]), strict=True):
        right[i] = judged.passed
    return right


def sft_sample(problem: Problem, trajectory: Trajectory, *, reflections: bool) -> dict[str, str] | None:
    """Return a solved problem as prompt and answer; with `reflections` the answer holds the failed attempts, their cases and corrections.

    None when it was not solved.
    """
    if not trajectory.solved:
        return None
    kept: Sequence[Attempt] = trajectory.attempts if reflections else trajectory.attempts[-1:]
    parts = []
    for attempt in kept:
        parts.append(attempt.text)
        if attempt.failed is not None:
            given, expected = attempt.failed
            parts.append(f"Check: for input {given} this prints {attempt.got}, but {expected} is right. So the program must change.")
    return {"id": problem.id, "prompt": problem_text(problem), "answer": "\n\n".join(parts)}
