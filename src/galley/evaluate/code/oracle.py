"""EvalPlus's comparison of a program's outputs with the reference's, on plain data.

Source: Liu et al., arXiv:2305.01210, and the evalplus library 0.3.1, whose verdicts this equals but for its defects, which
`Audit` switches on. A program's output was rebuilt as plain data outside its reach, so an object that calls itself equal to
everything is no output here. Special oracles: HumanEval/32 takes any root; a dozen MBPP+ tasks take sets, alternatives or not-None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from galley.data.code_benchmarks import PlusTask

FLOAT_ATOL, RTOL = 1e-6, 1e-7
NOT_NONE = ("check_str", "text_match_three", "text_starta_endb")  # their outputs are matches: only None or not counts
AS_SETS = (
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum", "intersection_array",
    "find_dissimilar", "Diff",
)  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """Known defects of evalplus 0.3.1, off by default: once a float was expected, every later input of the task is compared with a
    tolerance; HumanEval/32 never passes, because its oracle forgets to count."""

    sticky_tolerance: bool = False
    find_zero_never: bool = False


def agreements(task: PlusTask, inputs: Sequence[Sequence[Any]], outputs: Sequence[Any], expected: Sequence[Any], *,
               audit: Audit = Audit()) -> list[bool]:  # fmt: skip
    """Return for each input whether the program's output will do; `outputs` and `expected` are in the order of `inputs`."""
    mbpp, atol, found = task.id.startswith("Mbpp"), task.atol, []
    for arguments, out, exp in zip(inputs, outputs, expected, strict=True):
        near = atol
        if near == 0 and _floats(exp):
            near = FLOAT_ATOL
            if audit.sticky_tolerance:
                atol = near
        try:
            found.append(_will_do(task, arguments, out, exp, atol=near, mbpp=mbpp, audit=audit))
        except Exception:  # what cannot be compared does not agree: no length, no order, too deep, too big for a float
            found.append(False)
    return found


def _will_do(task: PlusTask, arguments: Sequence[Any], out: Any, exp: Any, *, atol: float, mbpp: bool, audit: Audit) -> bool:
    if task.id == "HumanEval/32":
        return not audit.find_zero_never and abs(_poly(arguments[0], out)) <= task.atol
    if mbpp and task.entry_point in AS_SETS:
        same = set(out) == set(exp)
    elif mbpp and task.entry_point in NOT_NONE:
        same = (out if isinstance(out, bool) else out is not None) == exp
    else:
        same = out == exp or (mbpp and _also(task.entry_point, arguments, out, atol=task.atol))
    if same or atol == 0:
        return bool(same)
    if type(out) is not type(exp) or (isinstance(exp, list | tuple) and len(out) != len(exp)):
        return False
    return bool(np.allclose(out, exp, rtol=RTOL, atol=atol))


def reference_value(task: PlusTask, value: Any) -> Any:
    """Return what is expected when the reference returned `value`: the value, or for tasks of matches whether there is one."""
    return value is not None if task.id.startswith("Mbpp") and task.entry_point in NOT_NONE else value


def _also(name: str, arguments: Sequence[Any], out: Any, *, atol: float) -> bool:
    """Return whether an MBPP+ task takes this output as an alternative to the reference's."""
    if name == "are_equivalent":  # Mbpp/164: the task is ambiguous
        return True
    if name == "sum_div":  # Mbpp/295: a number without proper divisors
        return out == 0
    if name == "surface_Area":  # Mbpp/581: the height may be the pyramid's own, not the slant one
        edge, height = arguments
        slant = math.sqrt((edge / 2) ** 2 + height**2)
        return abs(out - round(edge**2 + 2 * edge * slant)) <= atol
    if name == "digit_distance_nums":  # Mbpp/558: numbers of different length, filled up with zeros
        a, b = (str(number) for number in arguments)
        width = max(len(a), len(b))
        return out == sum(abs(int(x) - int(y)) for x, y in zip(a.zfill(width), b.zfill(width), strict=True))
    return False


def _poly(coefficients: Sequence[float], x: float) -> float:
    return sum(c * math.pow(x, power) for power, c in enumerate(coefficients))


def _floats(value: Any) -> bool:
    """Return whether a value is a float, or a list or tuple of floats only."""
    return isinstance(value, float) or (isinstance(value, list | tuple) and bool(value) and all(isinstance(v, float) for v in value))
