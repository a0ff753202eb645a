"""The pool: order, bounded memory, faults of programs and of runners."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from galley.artifact import GalleyError
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Check, Limits, Program, Run, UnitTests

GOOD = "def add(a, b=1):\n    return a + b\n"
CHECK = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(a=1) == 2\n"
TESTS = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1), 2)\n"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, limits=Limits(cpu_s=2, wall_s=20)) as live:
        yield live


@pytest.mark.parametrize(
    "do", [Run(), Check(CHECK, "add"), Calls("add", [[1, 2], {"a": 1}]), UnitTests(TESTS, "add")], ids=lambda d: type(d).__name__
)
def test_a_right_program_passes_and_a_wrong_one_does_not(sandbox, do):
    right, wrong = sandbox.run(Program("a", GOOD, do)), sandbox.run(Program("b", "raise KeyError('no')", do))
    assert (right.verdict, right.id) == ("pass", "a")
    assert (wrong.verdict, wrong.exception) == ("error", "KeyError")
    assert "program.py" in wrong.traceback and "galley" not in wrong.traceback


def test_calls_come_back_one_by_one(sandbox):
    code = "import time\ndef f(x):\n    if x == 0: raise KeyError(x)\n    if x == 1: return object()\n    if x == 2:\n        while True: pass\n    return [x]"
    outcome = sandbox.run(Program("x", code, Calls("f", [[0], [1], [2], [3]], call_cpu_s=0.1)))
    assert [c.status for c in outcome.calls] == ["raised", "not_plain", "timeout", "value"]
    assert outcome.calls[0].exception == "KeyError" and outcome.calls[3].value == [3]
    assert outcome.verdict == "error" and outcome.entry_calls == 4


def test_calls_end_after_so_many_that_ran_out_of_time(sandbox):
    code = "def f(x):\n    while x % 2: pass\n    return x"
    outcome = sandbox.run(Program("x", code, Calls("f", [[0], [1], [2], [3], [4]], call_cpu_s=0.1, max_timeouts=2)))
    assert [c.status for c in outcome.calls] == ["value", "timeout", "value", "timeout", "timeout"]
    assert (outcome.verdict, outcome.calls[4].exception) == ("timeout", "NoResult")
    once = sandbox.run(Program("x", code, Calls("f", [[0], [2], [1]], call_cpu_s=0.1, max_timeouts=1)))
    assert [c.status for c in once.calls] == ["value", "value", "timeout"] and once.verdict == "timeout"


def test_calls_cut_short_keep_what_came(sandbox):
    outcome = sandbox.run(Program("x", "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x", Calls("f", [[0], [1], [2], [3]])))
    assert outcome.verdict == "no_result"
    assert [c.exception for c in outcome.calls] in (["", "", "NoResult", "NoResult"], ["NoResult"] * 4)


def test_each_call_gets_its_own_copy(sandbox):
    shared = [1, 2]
    outcome = sandbox.run(Program("x", "def f(x):\n    x.append(0)\n    return x", Calls("f", [[shared], [shared]])))
    assert [c.value for c in outcome.calls] == [[1, 2, 0], [1, 2, 0]] and shared == [1, 2]


def test_a_helper_of_the_program_is_found_by_the_test(sandbox):
    test = "def check(candidate):\n    assert twice(candidate(1)) == 4\n    assert LIMIT == 7"
    assert sandbox.run(Program("x", GOOD + "def twice(x): return 2 * x\nLIMIT = 7", Check(test, "add"))).verdict == "pass"
    own = "def twice(x): return 0\n" + test
    assert sandbox.run(Program("x", GOOD + "def twice(x): return 2 * x\nLIMIT = 7", Check(own, "add"))).verdict == "fail"


def test_expected_exceptions_reach_the_test(sandbox):
    test = "def check(candidate):\n    try: candidate(1)\n    except ValueError as e: assert str(e) == 'no'\n    else: assert False"
    assert sandbox.run(Program("x", "def f(x): raise ValueError('no')", Check(test, "f"))).verdict == "pass"
    assert sandbox.run(Program("x", "def f(x): raise AssertionError('no')", Check(test, "f"))).verdict == "error"


def test_a_test_that_never_calls_is_no_pass(sandbox):
    assert sandbox.run(Program("x", GOOD, Check("def check(candidate): pass", "add"))).verdict == "fail"
    assert sandbox.run(Program("x", GOOD, UnitTests(TESTS.replace("add(1)", "2"), "add"))).verdict == "fail"
    assert sandbox.run(Program("x", GOOD, UnitTests("import unittest", "add"))).verdict == "fail"


def test_order_is_kept_and_the_stream_is_read_as_needed(sandbox):
    taken = []

    def programs():
        for i in itertools.count():
            taken.append(i)
            yield Program(str(i), f"print({i})" if i else "import time; time.sleep(0.5); print(0)")

    stream = sandbox.map(programs())
    found = [next(stream) for _ in range(50)]
    stream.close()
    assert [o.id for o in found] == [str(i) for i in range(50)]
    assert [o.stdouts for o in found] == [(f"{i}\n",) for i in range(50)]
    assert len(taken) <= 50 + 64 * 2 + 4
    unordered = list(sandbox.map([Program(str(i), "import time; time.sleep(0.3)" if i == 0 else "") for i in range(10)], ordered=False))
    assert sorted(o.id for o in unordered) == sorted(str(i) for i in range(10)) and unordered[0].id != "0"


def test_a_runner_that_dies_costs_one_program_and_is_replaced():
    with Sandbox() as sandbox:
        stream = sandbox.map([Program(str(i), "import time; time.sleep(0.2)") for i in range(4)])
        first = next(stream)
        os.kill(sandbox._lanes[0].worker.process.pid, signal.SIGKILL)
        verdicts = [first.verdict, *(o.verdict for o in stream)]
        assert verdicts.count("crash") == 1 and verdicts.count("pass") == 3


def test_many_small_and_few_large_pieces_of_output_arrive_in_order(sandbox):
    small = sandbox.run(Program("x", "for i in range(3000): print(i, flush=True)", Run()))
    assert (small.verdict, small.stdouts[0]) == ("pass", "".join(f"{i}\n" for i in range(3000)))
    large = sandbox.run(Program("x", "def f(n): return str(n) * 300_000", Calls("f", [[n] for n in range(10)])))
    assert [c.value for c in large.calls] == [str(n) * 300_000 for n in range(10)]


def test_a_large_program_and_large_inputs(sandbox):
    big = "x = '" + "a" * (10 << 20) + "'\ndef f(s): return len(s)"
    outcome = sandbox.run(Program("x", big, Calls("f", [["b" * (5 << 20)]]), Limits(cpu_s=10, wall_s=60)))
    assert outcome.calls[0].value == 5 << 20


def test_inputs_are_sent_once_and_results_compare_by_bytes(sandbox):
    inputs = [[i] for i in range(1000)]
    before = [len(lane.worker.stored) for lane in sandbox._lanes]
    outcomes = list(sandbox.map([Program(str(i), "def f(x): return x * x", Calls("f", inputs)) for i in range(6)]))
    assert all([c.raw for c in o.calls] == [plain.dumps(x * x) for (x,) in inputs] for o in outcomes)
    assert all(len(lane.worker.stored) <= n + 1 for n, lane in zip(before, sandbox._lanes, strict=True))


def test_arguments_that_cannot_travel_are_our_error_before_any_run(sandbox):
    with pytest.raises(GalleyError, match="input 1"):
        sandbox.run(Program("x", GOOD, Calls("add", [[1], [object()]])))


def test_unsafe_says_so_in_every_outcome():
    with Sandbox(unsafe=True) as sandbox:
        outcome = sandbox.run(Program("x", GOOD, Calls("add", [[1]])))
        assert outcome.verdict == "pass" and outcome.isolation == "none (--unsafe)"


def test_without_isolation_nothing_runs(monkeypatch):
    monkeypatch.setattr("galley.sandbox.launch.SAFE", ("bwrap",))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GalleyError, match=r"no_sandbox: bwrap.*doctor"):
        Sandbox()


def test_workers_must_be_positive():
    with pytest.raises(GalleyError, match="workers"):
        Sandbox(workers=0)


def test_runners_as_many_as_cores_have_one_each_and_fewer_roam():
    own = os.sched_getaffinity(0)
    with Sandbox(workers=len(own), probe=False) as sandbox:
        cores = [os.sched_getaffinity(pid) for pid in sandbox.runner_pids()]
        assert cores == [{core} for core in sorted(own)] if len(own) > 1 else [own]
        assert sandbox.run(Program("1", "import os\nprint(os.cpu_count() > 0)", Run())).verdict == "pass"
    with Sandbox(probe=False) as sandbox:
        assert os.sched_getaffinity(sandbox.runner_pids()[0]) == own
