"""Oracles: tasks with a reference program, inputs and the reference's own answers, and what a candidate gives on each input.

The reference runs in the sandbox like any other program. Two values are the same when they are of like kind and equal; floats
within 1e-6 (or the task's own tolerance), as evalplus compares (arXiv:2305.01210). Values come back as plain data and are compared on the
trusted side, so that no object of the candidate's can say that it is equal.

Source: arXiv:2305.01210 (differential testing against a reference); the rest is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from galley.sandbox.types import CallResult, Calls, Limits, Outcome, Program
from galley.synthesize.executor import Executor


@dataclass(frozen=True)
class Task:
    """A reference program, its entry point and inputs (argument lists); `expected` is the reference's answer to each."""

    id: str
    code: str
    entry_point: str
    inputs: tuple[tuple[Any, ...], ...]
    expected: tuple[CallResult, ...] = ()
    atol: float = 0.0


def answered(tasks: Sequence[Task], *, run: Executor, limits: Limits, least: int = 1) -> list[Task]:
    """Return the tasks with the reference's answers; inputs that it does not answer with plain data go, and tasks left with too few."""
    outcomes = run.all([Program(f"reference:{t.id}", t.code, Calls(t.entry_point, t.inputs), limits) for t in tasks])
    kept = []
    for task, outcome in zip(tasks, outcomes, strict=True):
        pairs = [(x, c) for x, c in zip(task.inputs, outcome.calls, strict=False) if c.status == "value"]
        if len(pairs) >= least:
            kept.append(replace(task, inputs=tuple(x for x, _ in pairs), expected=tuple(v for _, v in pairs)))
    return kept


def judged(task: Task, programs: Iterable[tuple[str, str]], *, limits: Limits) -> list[Program]:
    """Return the sandbox programs that call each (id, code) on all of the task's inputs."""
    return [Program(name, code, Calls(task.entry_point, task.inputs, limits.cpu_s / 8), limits) for name, code in programs]


def passes(task: Task, outcome: Outcome) -> tuple[bool, ...]:
    """Return for each input whether the candidate gave the reference's answer; an input without an answer is not passed."""
    given = [
        c.status == "value" and (c.raw == want.raw or same(c.value, want.value, atol=task.atol))
        for c, want in zip(outcome.calls, task.expected, strict=False)
    ]
    return (*given, *[False] * (len(task.inputs) - len(given)))


def same(value: Any, want: Any, *, atol: float = 0.0) -> bool:
    """Return whether two plain values are the same: numbers by value, floats within a tolerance, containers of one type by items."""
    if isinstance(want, bool) or isinstance(value, bool) or want is None or value is None:
        return type(value) is type(want) and value == want
    if isinstance(want, float | complex) or isinstance(value, float | complex):
        return isinstance(value, int | float | complex) and isinstance(want, int | float | complex) and _near(value, want, atol or 1e-6)
    if type(value) is not type(want):
        return False
    if isinstance(want, list | tuple):
        return len(value) == len(want) and all(same(a, b, atol=atol) for a, b in zip(value, want, strict=True))
    if isinstance(want, dict):
        return value.keys() == want.keys() and all(same(value[k], want[k], atol=atol) for k in want)
    return bool(value == want)


def _near(a: complex, b: complex, atol: float) -> bool:
    if a == b or (a != a and b != b):
        return True
    try:
        gap = abs(a - b)
    except OverflowError:  # an integer beyond the floats
        return False
    return math.isfinite(gap) and gap <= atol + 1e-7 * abs(b)
