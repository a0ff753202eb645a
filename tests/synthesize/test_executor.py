import pytest

from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program, Run, UnitTests
from galley.synthesize.executor import Executor, key_of
from galley.synthesize.journal import Journal
from galley.synthesize.suites import suite

LIMITS = Limits(cpu_s=2, wall_s=20, memory_mb=256)
CODE = "def f(x):\n    return (x, {1: [x]}, None)\n"
TESTS = suite(["self.assertEqual(f(1)[0], 2)"])


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(limits=LIMITS) as sandbox:
        yield sandbox


def test_equal_programs_run_once_and_come_back_under_their_own_names(sandbox):
    run = Executor(sandbox)
    a, b, c = run.all([Program("a", CODE, Calls("f", [[1]])), Program("b", CODE, Calls("f", [[2]])), Program("c", CODE, Calls("f", [[1]]))])
    assert (a.id, b.id, c.id) == ("a", "b", "c") and run.executed == 2 and a.calls == c.calls != b.calls


def test_a_second_life_recalls_what_had_ended(sandbox, tmp_path):
    programs = [Program("a", CODE, Calls("f", [[1], ["x"]])), Program("b", CODE, UnitTests(TESTS, "f"))]
    with Journal(tmp_path / "j") as journal:
        first = Executor(sandbox, journal=journal)
        outcomes = first.all(programs)
    with Journal(tmp_path / "j") as journal:
        second = Executor(sandbox, journal=journal)
        assert second.all([*programs, Program("c", CODE)])[:2] == outcomes and second.executed == 1
        assert [call.value for call in second.all(programs)[0].calls] == [(1, {1: [1]}, None), ("x", {1: ["x"]}, None)]
        second.forget()
        assert len(journal) == 0
    assert first.executed == 2 and first.isolation


def test_the_key_is_of_code_tests_and_limits():
    keys = [key_of(p) for p in (Program("a", CODE), Program("b", CODE), Program("a", CODE, Run("x")), Program("a", CODE, limits=LIMITS),
                                Program("a", CODE, Calls("f", [[1]])), Program("a", CODE, Calls("f", [[True]])))]  # fmt: skip
    assert keys[0] == keys[1] and len(set(keys)) == 5
