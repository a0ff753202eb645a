import pytest

from galley.sandbox.types import Outcome
from galley.synthesize.repair import Failure, candidates, feedback

CODE = "def pairs(items):\n    out = []\n    for a in items:\n        out.append((a, a + 1))\n    return out\n"


def failure(code, *, failures=(), exception="", message="", entry="pairs"):
    outcome = Outcome("x", "fail", exception=exception, message=message, failures=tuple(failures), tests_run=1)
    return Failure("x", code, "", entry, outcome)


def first(found, n=3):
    return [edit.kind for edit, _ in zip(candidates(found), range(n), strict=False)]


def test_given_and_expected_values_choose_the_transform():
    said = failure(CODE, failures=[("test_000", "AssertionError: [(1, 2)] != ((1, 2),)\n")])
    edit = next(candidates(said))
    assert edit.kind == "transform tuple(x)" and "return tuple(out)" in edit.code


def test_all_shown_pairs_must_agree():
    both = [("test_000", "AssertionError: 3 != 4\n"), ("test_001", "AssertionError: 5 != 4\n")]
    assert not any(kind.startswith("transform") for kind in first(failure("def pairs(x):\n    return x\n", failures=both), 99))


@pytest.mark.parametrize(("name", "line"), [("math", "import math"), ("Counter", "from collections import Counter")])
def test_missing_names_are_imported(name, line):
    said = failure(f"def pairs(x):\n    return {name}(x)\n", exception="NameError", message=f"name '{name}' is not defined")
    edit = next(candidates(said))
    assert edit.kind == "import" and edit.code.startswith(line)


def test_a_function_of_another_name_takes_the_entry_point_s():
    said = failure("def couples(x):\n    return couples(x - 1) if x else 0\n", exception="NameError", message="name 'pairs' is not defined")
    edit = next(candidates(said))
    assert edit.kind == "rename" and "def pairs(x)" in edit.code and "couples" not in edit.code


def test_lines_of_the_traceback_come_first():
    trace = 'Traceback:\n  File "program.py", line 3, in pairs\nTypeError: bad\n'
    said = failure("def pairs(a, b):\n    n = 1\n    c = a < b\n    return c + 2\n", failures=[("test_000", trace)])
    assert next(candidates(said)).line == 3


def test_no_candidate_is_the_program_and_none_comes_twice():
    said = failure(CODE, failures=[("test_000", "AssertionError: [1] != [2]\n")])
    codes = [edit.code for edit in candidates(said)]
    assert len(codes) == len(set(codes)) > 5 and CODE not in codes


def test_feedback_is_bounded_and_says_something():
    long = Outcome("x", "fail", failures=(("test_000", "x" * 10_000), ("test_001", "y" * 10_000)))
    assert len(feedback(long, limit=500)) <= 500 and feedback(long).startswith("test_000")
    assert "timeout" in feedback(Outcome("x", "timeout"))
