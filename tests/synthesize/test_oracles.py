import pytest

from galley.sandbox.plain import dumps
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Limits, Outcome
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task, answered, judged, passes, same

LIMITS = Limits(cpu_s=2, wall_s=8, memory_mb=256)
ALIKE = [(1, 1), (1.0, 1 + 1e-8), (1, 1.0), ([1, 2.0], [1, 2]), ({"a": (1,)}, {"a": (1,)}), (float("nan"), float("nan")), (None, None),
         (float("inf"), float("inf")), ({1, 2}, {2, 1})]  # fmt: skip
UNLIKE = [(1, 2), (True, 1), (1, True), ([1], (1,)), ([1], [1, 2]), ("a", b"a"), (1.0, 1.001), (None, 0), ({"a": 1}, {"b": 1}),
          (10**400, 1.5), (float("inf"), 1e300), ({1}, frozenset({1}))]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), ALIKE)
def test_alike(a, b):
    assert same(a, b)


@pytest.mark.parametrize(("a", "b"), UNLIKE)
def test_unlike(a, b):
    assert not same(a, b)


def test_a_missing_answer_is_no_pass():
    want = CallResult("value", dumps(1))
    task = Task("t", "", "f", ((1,), (2,), (3,)), (want, want, want))
    outcome = Outcome("x", "timeout", calls=(want, CallResult("timeout")))
    assert passes(task, outcome) == (True, False, False)


def test_references_answer_in_the_sandbox_and_judge_mutants():
    code = "def half(x):\n    return x / 2\n"
    with Sandbox(limits=LIMITS) as sandbox:
        run = Executor(sandbox)
        (task,) = answered([Task("half", code, "half", ((4,), ("a",), (5,), (0,)))], run=run, limits=LIMITS)
        assert task.inputs == ((4,), (5,), (0,)) and [c.value for c in task.expected] == [2.0, 2.5, 0.0]
        programs = [
            ("same", code.replace("/ 2", "* 0.5")),
            ("int", code.replace("/", "//")),
            ("loop", "def half(x):\n    while x == 5: pass\n    return x / 2\n"),
        ]
        found = {o.id: passes(task, o) for o in run.all(judged(task, programs, limits=LIMITS))}
    assert found == {"same": (True,) * 3, "int": (True, False, True), "loop": (True, False, True)}
