"""Integer programs of five families: the smallest data on which induction from examples can be learnt and told from memory.

A program is an expression in n = 0, 1, 2, ... whose first values are shown and whose later values judge an answer. No two
programs of the grid agree on all judged values. A proposed expression is read by a small interpreter for integer arithmetic,
never executed; its slow twin is Python's own `eval` on expressions of the grid.

Source: ours; the sizes (487 programs, 7 shown and 14 judged values, 60 held out) are of a pilot for arXiv:2510.14620 and arXiv:2407.12504.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from galley.artifact import GalleyError
from galley.stats import derangement

Family = Literal["linear", "quadratic", "geometric", "periodic", "triangular"]
FAMILIES: tuple[Family, ...] = ("linear", "quadratic", "geometric", "periodic", "triangular")
SHOWN, JUDGED = 7, 14
ALPHABET = "0123456789-+*/%()n,=?:;!\n"  # all that prompts, answers and feedback are written with
LARGEST = 10**40  # of a value; beyond it an expression has no value


@dataclass(frozen=True)
class IntegerProgram:
    """One program: its family, its expression in n, and its first JUDGED values, of which SHOWN are shown."""

    family: Family
    expression: str
    values: tuple[int, ...]

    @property
    def shown(self) -> tuple[int, ...]:
        """Return the values that a prompt may show."""
        return self.values[:SHOWN]


@dataclass(frozen=True)
class Split:
    """Programs for training, held-out parameter combinations of the same families, and one family never trained on."""

    train: tuple[IntegerProgram, ...]
    combinations: tuple[IntegerProgram, ...]
    family: tuple[IntegerProgram, ...]


def all_programs() -> list[IntegerProgram]:
    """Return the grid's 487 programs, in the order of the families."""
    grid: dict[Family, list[str]] = {
        "linear": [f"{a}*n{b:+d}" for a in range(1, 12) for b in range(-5, 6)],
        "quadratic": [f"{a}*n*n{b:+d}*n{c:+d}" for a in range(1, 5) for b in range(-2, 4) for c in range(-2, 4)],
        "geometric": [f"{a}*{b}**n{c:+d}" for a in range(1, 5) for b in range(2, 5) for c in range(-2, 4)],
        "periodic": [f"{a}*(n%{m}){b:+d}" for m in range(2, 6) for a in range(1, 6) for b in range(5)],
        # Even multiples of a triangular number are quadratic programs, so only odd ones are here.
        "triangular": [f"{a}*(n*(n+1)//2){b:+d}" for a in range(1, 10, 2) for b in range(-4, 6)],
    }
    programs = []
    for family in FAMILIES:
        for expression in grid[family]:
            values = evaluate(expression, JUDGED)
            assert values is not None
            programs.append(IntegerProgram(family, expression, values))
    return programs


def split_programs(programs: Sequence[IntegerProgram], *, held_out: int, family: Family | None, seed: int) -> Split:
    """Hold out one family whole (None: no family) and `held_out` programs drawn from the others; GalleyError when none would be left."""
    if family is not None and family not in FAMILIES:
        raise GalleyError(f"held-out family is {family!r}; families: {', '.join(FAMILIES)}")
    rest = [p for p in programs if p.family != family]
    if not 0 <= held_out < len(rest):
        raise GalleyError(f"held_out is {held_out}, but there are {len(rest)} programs outside the held-out family; hold out fewer")
    chosen = set(np.random.default_rng(seed).permutation(len(rest))[:held_out].tolist())
    return Split(
        train=tuple(p for i, p in enumerate(rest) if i not in chosen),
        combinations=tuple(p for i, p in enumerate(rest) if i in chosen),
        family=tuple(p for p in programs if p.family == family),
    )


def shuffle_values(programs: Sequence[IntegerProgram], *, seed: int) -> list[IntegerProgram]:
    """Return the programs with the values of another one each: the control in which values say nothing about the expression."""
    other = derangement(len(programs), seed=seed)
    return [IntegerProgram(p.family, p.expression, programs[j].values) for p, j in zip(programs, other, strict=True)]


def write_prompt(values: Sequence[int], *, shown: int = SHOWN) -> str:
    """Return the prompt that shows the first values: `1,3,5,7,9,11,13=`."""
    return ",".join(map(str, values[:shown])) + "="


def is_correct(expression: str, values: Sequence[int]) -> bool:
    """Return whether an expression gives all the values, shown and hidden; whatever cannot be evaluated is wrong."""
    return evaluate(expression, len(values)) == tuple(values)


_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}


def evaluate(expression: str, count: int) -> tuple[int, ...] | None:
    """Return the values at n = 0 .. count-1 of an integer expression in n, or None when it is not one or a value is out of bounds.

    Integers, n, + - * // % **, signs and brackets are read; exponents lie in 0..64, magnitudes below 10**40.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body if len(expression) <= 200 else None
        return None if tree is None else tuple(_value(tree, n) for n in range(count))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST, n: int) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        value = node.value
    elif isinstance(node, ast.Name) and node.id == "n":
        value = n
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, n)
        value = -value if isinstance(node.op, ast.USub) else value
    elif isinstance(node, ast.BinOp):
        left, right = _value(node.left, n), _value(node.right, n)
        if isinstance(node.op, ast.Pow):
            if not 0 <= right <= 64:
                raise ValueError("exponent out of bounds")
            value = left**right
        elif type(node.op) in _OPERATORS:
            value = _OPERATORS[type(node.op)](left, right)
        else:
            raise ValueError("unknown operator")
    else:
        raise ValueError("not integer arithmetic")
    if abs(value) >= LARGEST:
        raise ValueError("value out of bounds")
    return value
