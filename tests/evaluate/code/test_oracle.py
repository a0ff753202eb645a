"""Our comparison against evalplus's own process, which compares live objects; one call of theirs for many pairs of values."""

import os

import pytest

from galley.data.code_benchmarks import PlusTask
from galley.evaluate.code.oracle import AS_SETS, NOT_NONE, Audit, agreements, reference_value


def values():
    """Values of every type, new objects in each call: a NaN in a list equals itself only where it is the same object."""
    return [
        1, 0, True, False, None, 1.0, 1.0000005, 1.00001, 0.0, 1e-7, -1, 10**30, 10**400, 1e300, "a", "", "1", (), [], [1], (1,),
        [1.0], [1.0000005], (1.0, 2.0), [1.0, 2.0], [1.0, "a"], [1, 2.0], {1}, {1: 2}, {"a": [1]}, [[1.0]], [[1.0000005]],
        float("inf"), float("nan"), [float("nan")], 1j, b"a", frozenset({1}), [1, 1], [None],
    ]  # fmt: skip


PROGRAM = """
import sys
sys.set_int_max_str_digits(0)
outs = [{outs}]
at = -1
def {name}(*a):
    global at
    at += 1
    return outs[at]
"""


def theirs(dataset, entry_point, outs, inputs, expected, atol=0.0):
    """What evalplus says of a program that returns `outs` one after the other."""
    from evalplus.eval import untrusted_check

    listed = ", ".join(repr(o).replace("inf", "float('inf')").replace("nan", "float('nan')") for o in outs)
    code = PROGRAM.format(outs=listed, name=entry_point)
    return [bool(d) for d in untrusted_check(dataset, code, inputs, entry_point, expected, atol, [0.01] * len(inputs))[1]]


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.delenv("EVALPLUS_TIMEOUT_PER_TASK", raising=False)
    monkeypatch.setitem(os.environ, "EVALPLUS_MAX_MEMORY_BYTES", str(8 << 30))


def task(name, entry_point, atol=0.0):
    return PlusTask(name, "", entry_point, "", (), (), atol)


@pytest.mark.parametrize("atol", [0.0, 1e-4])
def test_every_pair_of_values_is_judged_as_evalplus_judges_it(atol):
    expected = [value for value in values() for _ in values()]
    outs = [value for _ in values() for value in values()]
    inputs = [[0]] * len(outs)
    ours = agreements(task("HumanEval/0", "f", atol), inputs, outs, expected, audit=Audit(sticky_tolerance=True))
    assert ours == theirs("humaneval", "f", outs, inputs, expected, atol)
    assert 0.02 < sum(ours) / len(ours) < 0.2  # some agree, most do not


def test_the_tolerance_of_one_input_is_not_the_next_one_s():
    inputs, outs, expected = [[0], [0]], [1.0000005, 10**9 + 1], [1.0, 10**9]
    plain = task("HumanEval/0", "f")
    assert agreements(plain, inputs, outs, expected) == [True, False]
    assert agreements(plain, inputs[::-1], outs[::-1], expected[::-1]) == [False, True]
    audited = agreements(plain, inputs, outs, expected, audit=Audit(sticky_tolerance=True))
    assert audited == theirs("humaneval", "f", outs, inputs, expected) == [True, True]


SPECIAL = [
    ("Mbpp/2", AS_SETS[0], [[0]] * 5, [(1, 2), [2, 1, 1], [3], 5, [[1]]], [(2, 1)] * 5),
    ("Mbpp/434", NOT_NONE[1], [[0]] * 6, [None, True, False, "x", 0, None], [True, True, True, True, True, False]),
    ("Mbpp/164", "are_equivalent", [[1, 2]] * 3, [True, False, None], [True] * 3),
    ("Mbpp/295", "sum_div", [[1]] * 3, [1, 0, 2], [1] * 3),
    ("Mbpp/581", "surface_Area", [[3, 4]] * 4, [33, 35, 34, None], [33] * 4),
    ("Mbpp/558", "digit_distance_nums", [[1, 23]] * 4, [4, 2, 5, None], [2] * 4),
]


@pytest.mark.parametrize(("name", "entry_point", "inputs", "outs", "expected"), SPECIAL, ids=lambda v: v if isinstance(v, str) else "")
def test_special_oracles(name, entry_point, inputs, outs, expected):
    ours = agreements(task(name, entry_point), inputs, outs, expected)
    assert ours == theirs("mbpp", entry_point, outs, inputs, expected)
    assert True in ours
    if entry_point != "are_equivalent":
        assert False in ours and agreements(task("HumanEval/0", entry_point), inputs, outs, expected) != ours  # MBPP's only


def test_the_lists_of_special_tasks_are_evalplus_s():
    from evalplus.eval import _special_oracle as library

    assert list(AS_SETS) == library.MBPP_OUTPUT_SET_EQ_TASKS and list(NOT_NONE) == library.MBPP_OUTPUT_NOT_NONE_TASKS
    assert (
        reference_value(task("Mbpp/434", NOT_NONE[1]), "a match") is True and reference_value(task("Mbpp/434", NOT_NONE[1]), None) is False
    )
    assert reference_value(task("Mbpp/9", "other"), "x") == "x"


def test_any_root_will_do_and_evalplus_never_passes_it():
    from evalplus.eval import untrusted_check

    find_zero = task("HumanEval/32", "find_zero", 1e-4)
    inputs = [[[-6.0, 11.0, -6.0, 1.0]]] * 4  # roots 1, 2, 3
    assert agreements(find_zero, inputs, [1.0, 3.00001, 1.5, None], [2.0] * 4) == [True, True, False, False]
    assert agreements(find_zero, inputs[:1], [1.0], [1.0], audit=Audit(find_zero_never=True)) == [False]
    status, _ = untrusted_check("humaneval", "def find_zero(xs):\n    return 1.0\n", inputs[:1], "find_zero", [1.0], 1e-4, [0.01])
    assert status == "fail"
