"""Inputs for a function: calls in its docstring, probes of typical types, type-aware mutants; a language model at paper scale.

arXiv:2407.12504, section 3.2: only inputs are written, outputs are computed. The paper's writer is an LLM (writer.py). Deviation: at
smaller scales inputs come from the function's own doctests, else from a pool of typical values whose types the function accepts, and
both are extended by type-aware mutation as in EvalPlus (arXiv:2305.01210, Table 1). Doctests are read, never executed. Own code.
"""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Sequence
from typing import Any

from galley.data.functions import Function
from galley.papers.case2code.values import fits, render

Inputs = dict[str, Any]
INTS, FLOATS, STRINGS = [0, 1, 2, 3, 7, 10, 12, 100, -4], [0.5, 2.0, -1.25, 10.0], ["abc", "Hello World", "level", "12", "a,b;c", "0110"]
LISTS: list[list[Any]] = [[1, 2, 3], [5, 1, 4, 1], [-2, 0, 9, 3, 3], [7]]
WORDS: list[list[Any]] = [["a", "b"], ["dog", "cat", "dog"], ["x"]]
GRIDS: list[Any] = [[[1, 2], [3, 4]], [[0, 1, 0], [1, 1, 0], [0, 0, 1]], [[5]]]
PAIRS: list[Any] = [[(1, 2), (3, 4)], [(0, 1), (1, 2), (2, 0)]]
MAPS: list[Any] = [{"a": 1, "b": 2}, {"x": 0}, {1: [2], 2: [1, 3], 3: []}]
POOL: dict[str, list[Any]] = {
    "int": INTS,
    "str": STRINGS,
    "ints": LISTS,
    "float": FLOATS,
    "words": WORDS,
    "grid": GRIDS,
    "pairs": PAIRS,
    "map": MAPS,
}
MIXES: dict[int, list[tuple[str, ...]]] = {  # type signatures that are tried, by the number of arguments
    1: [(name,) for name in POOL],
    2: [("int", "int"), ("str", "str"), ("ints", "int"), ("ints", "ints"), ("str", "int"), ("float", "float"), ("map", "int"),
        ("int", "str"), ("map", "str"), ("grid", "grid"), ("words", "str"), ("int", "ints"), ("words", "words"), ("str", "words")],
    3: [("int",) * 3, ("str",) * 3, ("ints", "int", "int"), ("float",) * 3, ("str", "int", "int"), ("ints",) * 3, ("map", "int", "int"),
        ("str", "str", "int"), ("words", "str", "str")],
    4: [("int",) * 4, ("ints", "int", "int", "int"), ("str",) * 4, ("float",) * 4],
}  # fmt: skip
PER_MIX = 6


def signature(source: str) -> tuple[list[str], int] | None:
    """Return argument names and how many of them are required; None for signatures that keyword calls cannot serve."""
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    a = node.args
    if a.posonlyargs or a.vararg or a.kwarg or any(d is None for d in a.kw_defaults):
        return None
    names = [arg.arg for arg in a.args]
    return names, len(names) - len(a.defaults)


def doctest_inputs(function: Function, names: Sequence[str]) -> list[Inputs]:
    """Return the arguments of the function's calls in its docstring, those that are literals, without repeats."""
    found: dict[str, Inputs] = {}
    for text in function.doctests:
        try:
            calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
            for call in calls:
                if call.func.id == function.name and len(call.args) <= len(names):  # type: ignore[attr-defined]
                    given = {name: ast.literal_eval(arg) for name, arg in zip(names, call.args, strict=False)}
                    given |= {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None and k.arg in names}
                    if all(fits(value) for value in given.values()):
                        found.setdefault(key_of(given), given)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
    return list(found.values())


def probes(names: Sequence[str], required: int) -> list[tuple[str, Inputs]]:
    """Return typical inputs with their type signature: the same for all functions with as many required arguments."""
    count = max(1, required)
    if count > len(names) or count not in MIXES:
        return []
    made = []
    for mix in MIXES[count]:
        columns = [POOL[kind] for kind in mix]
        for i in range(PER_MIX if count > 1 else len(columns[0])):  # arguments step through their pools at different paces
            given = {name: column[(i * (j + 1) + j) % len(column)] for j, (name, column) in enumerate(zip(names, columns, strict=False))}
            made.append((",".join(mix), given))
    return made


def key_of(given: Inputs) -> str:
    """Return a text that is equal for equal inputs."""
    return ", ".join(f"{name}={render(value)}" for name, value in given.items())


def mutants(seeds: Sequence[Inputs], *, count: int, rng: random.Random) -> list[Inputs]:
    """Return the seeds and mutants of them, `count` in all where so many can be found, without repeats."""
    pool = {key_of(given): given for given in itertools.islice(seeds, count)}
    for _ in range(20 * count):
        if len(pool) >= count or not pool:
            break
        parent = rng.choice(list(pool.values()))
        name = rng.choice(list(parent))
        child = {**parent, name: mutate(parent[name], rng)}
        if all(fits(value) for value in child.values()):
            pool.setdefault(key_of(child), child)
    return list(pool.values())


def mutate(value: Any, rng: random.Random) -> Any:
    """Return a changed value of the same type, as EvalPlus does: numbers move, containers lose, repeat or change an item."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 2, -3, rng.randint(-abs(value) - 5, abs(value) + 5)])
    if isinstance(value, float):
        return round(value + rng.choice([-1.0, 1.0, 0.5, rng.uniform(-abs(value) - 1, abs(value) + 1)]), 3)
    if isinstance(value, str):
        return "".join(_sequence(list(value), rng, letters=value))
    if isinstance(value, list):
        return _sequence(value, rng)
    if isinstance(value, tuple):
        return tuple(mutate(item, rng) if i == rng.randrange(len(value)) else item for i, item in enumerate(value)) if value else value
    if isinstance(value, set | frozenset):
        return type(value)(_sequence(sorted(value, key=render), rng)) or value
    if isinstance(value, dict):
        return _mapping(value, rng)
    return value


def _sequence(items: list[Any], rng: random.Random, *, letters: str | None = None) -> list[Any]:
    """Remove, repeat, swap or change an item; strings change a letter for one of theirs or a common one."""
    if not items:
        return [rng.choice("ab1")] if letters is not None else [rng.randint(0, 9)]
    at, move = rng.randrange(len(items)), rng.choice(["remove", "repeat", "swap", "change", "change"])
    if move == "remove" and len(items) > 1:
        return items[:at] + items[at + 1 :]
    if move == "repeat":
        return items[: at + 1] + items[at:]
    if move == "swap" and len(items) > 1:
        other = rng.randrange(len(items))
        moved = list(items)
        moved[at], moved[other] = moved[other], moved[at]
        return moved
    new = rng.choice((letters or "") + "abcxyz019 ") if letters is not None else mutate(items[at], rng)
    return [*items[:at], new, *items[at + 1 :]]


def _mapping(value: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    if not value:
        return value
    key = rng.choice(sorted(value, key=render))
    if rng.random() < 0.3 and len(value) > 1:
        return {k: v for k, v in value.items() if k != key}
    return {**value, key: mutate(value[key], rng)}
