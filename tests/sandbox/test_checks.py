"""`Check`: one tester serves many programs, and nothing of one test is left for the next."""

import shutil

import pytest

from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Check, Limits, Program

GOOD = "def add(a, b):\n    return a + b\n"
SAME = "def check(candidate):\n    import os\n    candidate(1, 2)\n    assert False, str(os.getpid())\n"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(limits=Limits(cpu_s=2, wall_s=20)) as live:
        yield live


def who_tests(sandbox):
    """Return the tester's process id, as a test sees it."""
    outcome = sandbox.run(Program("x", GOOD, Check(SAME, "add")))
    assert outcome.verdict == "fail"
    return outcome.message


def verdict(sandbox, test, *, wall_s=20):
    return sandbox.run(Program("x", GOOD, Check(test, "add"), Limits(cpu_s=2, wall_s=wall_s))).verdict


def test_one_tester_serves_many_programs(sandbox):
    assert len({who_tests(sandbox) for _ in range(5)}) == 1


def test_names_and_random_numbers_of_a_test_are_its_own(sandbox):
    draw = "import random\nkept = 1\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    assert False, str(random.random())\n"
    first, second = (sandbox.run(Program("x", GOOD, Check(draw, "add"))).message for _ in range(2))
    assert first == second and first.startswith("0.")
    assert verdict(sandbox, "def check(candidate):\n    assert candidate(1, 2) == 3\n    kept\n") == "error"


def test_a_test_that_changes_builtins_changes_them_for_itself_only(sandbox):
    before = who_tests(sandbox)
    assert (
        verdict(sandbox, "import builtins\ndef check(candidate):\n    builtins.sum = len\n    assert candidate(sum([5]), 1) == 2\n")
        == "pass"
    )
    assert verdict(sandbox, "def check(candidate):\n    assert candidate(sum([5]), 1) == 6\n") == "pass"
    assert who_tests(sandbox) != before


def test_a_tester_that_has_grown_or_died_is_replaced(sandbox):
    before = who_tests(sandbox)
    assert (
        verdict(sandbox, "def check(candidate):\n    kept = bytearray(100 << 20)\n    kept[:] = b'x' * len(kept)\n    candidate(1, 2)\n")
        == "pass"
    )
    after = who_tests(sandbox)
    assert after != before
    assert verdict(sandbox, "import os\ndef check(candidate):\n    candidate(1, 2)\n    os._exit(0)\n") == "no_result"
    assert verdict(sandbox, "def check(candidate):\n    assert candidate(1, 2) == 3\n") == "pass"


def test_programs_in_flight_behind_a_tester_that_goes_are_judged_all_the_same(sandbox):
    spoil = "import builtins\ndef check(candidate):\n    builtins.kept = candidate(1, 2)\n    assert builtins.kept == 3\n"
    outcomes = sandbox.map([Program(str(n), GOOD, Check(spoil, "add")) for n in range(40)])
    assert [o.verdict for o in outcomes] == ["pass"] * 40


def test_a_test_that_never_ends_is_ended_and_the_next_one_runs(sandbox):
    before = who_tests(sandbox)
    assert verdict(sandbox, "def check(candidate):\n    candidate(1, 2)\n    while True: pass\n", wall_s=2) == "timeout"
    assert verdict(sandbox, "def check(candidate):\n    assert candidate(1, 2) == 3\n") == "pass"
    assert who_tests(sandbox) != before


def test_programs_may_have_other_limits_than_the_last(sandbox):
    hungry = "def add(a, b):\n    kept = bytearray(300 << 20)\n    return a + b\n"
    test = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    few, many = Limits(memory_mb=64), Limits(memory_mb=1024)
    found = [sandbox.run(Program("x", hungry, Check(test, "add"), limits)).verdict for limits in (few, many, few, many)]
    assert [v == "pass" for v in found] == [False, True, False, True]


@pytest.mark.parametrize("kind", ["bwrap", "unsafe"])
def test_where_a_program_s_end_takes_the_tester_with_it_the_next_program_has_another(kind, monkeypatch):
    if kind == "bwrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setattr("galley.sandbox.launch.SAFE", ("bwrap",))
    with Sandbox(limits=Limits(cpu_s=1, wall_s=3), unsafe=kind == "unsafe") as live:
        right, wrong = (
            "def check(candidate):\n    assert candidate(1, 2) == 3\n",
            "def check(candidate):\n    assert candidate(1, 2) == 4\n",
        )
        assert [verdict(live, test) for test in (right, wrong) * 5] == ["pass", "fail"] * 5
        assert verdict(live, "def check(candidate):\n    candidate(1, 2)\n    while True: pass\n", wall_s=2) == "timeout"
        assert verdict(live, right) == "pass"
