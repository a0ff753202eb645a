"""Inputs for functions that say nothing of their types: signatures of plain types are tried, the one that answers most is kept.

Each function is called in the sandbox with a few inputs of every signature (all combinations of seven plain types up to two
parameters, a sample beyond). The signature with the most answers that are not None, and among those the most different ones, gives the
task its inputs. What comes out is a function with inputs that it really answers, and the answers.

Source: ours; trying types and keeping what does not raise is how arXiv:2407.12504 filters its generated inputs too.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

from galley.sandbox.types import Calls, Limits, Outcome, Program
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task, answered

WORDS = (
    "",
    "a",
    "abc",
    "Hello World",
    "x=1, y=2",
    "racecar",
    "  pad ",
    "12",
    "3.5",
    "a/b/c.txt",
    "A-B_C",
    "key: value",
    "<b>",
    "line\nline",
)
MAKERS: dict[str, Callable[[random.Random], Any]] = {
    "int": lambda rng: rng.choice((rng.randint(-3, 9), rng.randint(0, 40), rng.randint(-200, 2000))),
    "str": lambda rng: rng.choice((rng.choice(WORDS), "".join(rng.choice("abcXY 12.-_") for _ in range(rng.randint(1, 12))))),
    "float": lambda rng: round(rng.uniform(-3, 10), 2),
    "list[int]": lambda rng: [rng.randint(-5, 20) for _ in range(rng.randint(0, 7))],
    "list[str]": lambda rng: [rng.choice(WORDS) for _ in range(rng.randint(0, 5))],
    "bytes": lambda rng: bytes(rng.randint(32, 122) for _ in range(rng.randint(0, 12))),
    "dict": lambda rng: {rng.choice("abcde"): rng.randint(0, 9) for _ in range(rng.randint(0, 4))},
}
PROBES, SIGNATURES = 3, 60


def typed_tasks(
    functions: Iterable[tuple[str, str, str]], *, inputs: int, least: int, run: Executor, limits: Limits, seed: int
) -> list[Task]:
    """Return tasks of the (id, code, entry point) whose references answer at least `least` of `inputs` inputs, not all alike."""
    tried = [(name, code, entry, trials) for name, code, entry in functions if (trials := probes(code, entry, seed=seed))]
    flat = [[x for _, group in trials for x in group] for *_, trials in tried]
    programs = [Program(f"probe:{t[0]}", t[1], Calls(t[2], xs), limits) for t, xs in zip(tried, flat, strict=True)]
    tasks = []
    for (name, code, entry, trials), outcome in zip(tried, run.all(programs), strict=True):
        best = _best(trials, outcome)
        if best is not None:
            rng = random.Random(f"{seed} {name}")
            drawn = {repr(x): x for x in (tuple(MAKERS[kind](rng) for kind in best) for _ in range(3 * inputs))}
            tasks.append(Task(name, code, entry, tuple(list(drawn.values())[:inputs])))
    found = answered(tasks, run=run, limits=limits, least=least)
    return [task for task in found if len({c.raw for c in task.expected}) > 1]


def probes(code: str, entry_point: str, *, seed: int) -> list[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Return signatures with a few inputs each, for the parameters that have no default (the first one at least)."""
    node = next((n for n in ast.parse(code).body if isinstance(n, ast.FunctionDef) and n.name == entry_point), None)
    if node is None or any(default is None for default in node.args.kw_defaults):
        return []
    n = max(1, len(node.args.posonlyargs) + len(node.args.args) - len(node.args.defaults))
    every = list(product(MAKERS, repeat=n)) if n <= 2 else _sampled(n, seed=seed)
    rng = random.Random(f"{seed} {code}")
    return [(kinds, [tuple(MAKERS[kind](rng) for kind in kinds) for _ in range(PROBES)]) for kinds in every]


def _sampled(n: int, *, seed: int) -> list[tuple[str, ...]]:
    if n > 4:
        return []
    rng = random.Random(f"{seed} {n}")
    return list(dict.fromkeys([*((kind,) * n for kind in MAKERS), *(tuple(rng.choices(list(MAKERS), k=n)) for _ in range(SIGNATURES))]))


def _best(trials: Sequence[tuple[tuple[str, ...], list[Any]]], outcome: Outcome) -> tuple[str, ...] | None:
    """Return the signature with the most answers that are not None, then the most different ones; None when none answers."""
    scores, at = [], 0
    for number, (_, group) in enumerate(trials):
        raws = [c.raw for c in outcome.calls[at : at + len(group)] if c.status == "value" and c.value is not None]
        scores.append((len(raws), len(set(raws)), -number))
        at += len(group)
    top = max(scores, default=(0, 0, 0))
    return trials[-top[2]][0] if top[0] else None
