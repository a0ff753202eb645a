"""unittest classes against a program in its own process: the weakest of the checks, since both share one interpreter.

Source: ours; BigCodeBench (arXiv:2406.15877) defines the form: the program and the tests are one module.
"""

from __future__ import annotations

import os
import sys
import unittest
from collections.abc import Callable
from functools import partial
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import guest
from galley.sandbox.inside.supervisor import KINDS, Report, Task, collect, how_it_failed, records, start_hidden, usage

MODULE = "__test__"


class _Result(unittest.TestResult):
    """Sends each result at once: what is sent cannot be taken back."""

    def __init__(self, send: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._send = send

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._send(b"S", test.id().encode())

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._send(b"P", test.id().encode())

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._send(b"K", test.id().encode())

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._fault(test, err)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._fault(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._fault(subtest, err)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._send(b"F", plain.dumps((test.id(), "unexpected success", "")))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._send(b"P", test.id().encode())

    def _fault(self, test: Any, err: Any) -> None:
        name, message, text = guest.describe(err[1])
        self._send(b"F", plain.dumps((str(test.id()), f"{name}: {message}", text)))


def plan(channel: int, code: str, do: dict[str, Any], end: bytes, steps: list[Callable[[], Any]]) -> None:
    """Add the steps: execute the program, then the tests in the same module, run them, send the token."""
    write = os.write

    def send(kind: bytes, payload: bytes) -> None:
        guest.write_all(channel, guest.record(kind, payload), write)

    def start() -> None:
        sys.unraisablehook = partial(guest._unraisable, channel)
        space = guest.fresh_module(MODULE)
        sys.modules["__main__"] = sys.modules[MODULE]
        program = partial(exec, guest.compiled(do_code := code), space)
        assert do_code is code
        steps.extend([program, partial(count_calls, space)])

    def count_calls(space: dict[str, Any]) -> None:
        inner = space.get(do["entry_point"])
        if inner is None:
            raise NameError(f"{do['entry_point']!r} is not defined")
        calls: list[int] = []

        def entry(*arguments: Any, **keywords: Any) -> Any:
            if not calls:
                calls.append(1)
                send(b"C", b"")
            return inner(*arguments, **keywords)

        if callable(inner) and not isinstance(inner, type):
            import functools

            entry = functools.wraps(inner)(entry)
            space[do["entry_point"]] = entry
        steps.extend([partial(exec, guest.compiled(do["tests"], "tests.py"), space), partial(run_tests, space)])

    def run_tests(space: dict[str, Any]) -> None:
        loader = unittest.TestLoader()
        suite = unittest.TestSuite()
        for value in list(space.values()):
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == MODULE:
                suite.addTests(loader.loadTestsFromTestCase(value))
        send(b"N", str(suite.countTestCases()).encode())
        suite.run(_Result(send))
        steps.extend([partial(write, channel, end), partial(os._exit, 0)])

    steps.append(start)


def run(task: Task) -> Report:
    """Run the tests and judge the stream of results."""
    end = guest.record(b"Z", os.urandom(16))
    pid, channel, output = start_hidden(task, lambda c, steps: plan(c, task.job["code"], task.job["do"], end, steps))
    ended = collect(task, pid, channel, output)
    said = records(ended.said)
    kinds = [kind for kind, _ in said]
    failures = [_failure(payload) for kind, payload in said if kind == b"F"]
    tests_run = kinds.count(b"S")
    report: Report = {}
    if ended.code or ended.flooded or not ended.said.endswith(end) or kinds.count(b"Z") != 1:
        report = how_it_failed(ended, said)
    elif failures or kinds.count(b"P") + kinds.count(b"K") != tests_run:
        report = {"verdict": "fail", "message": f"{len(failures)} of {tests_run} tests failed"}
    elif not kinds.count(b"P"):
        report = {"verdict": "fail", "message": "no test ran"}
    elif b"C" not in kinds:
        report = {"verdict": "fail", "message": "no test called the entry point"}
    else:
        report = {"verdict": "pass"}
    report |= {"tests_run": tests_run, "failures": failures, "entry_calls": kinds.count(b"C")}
    return report | usage(ended)


def _failure(payload: bytes) -> tuple[str, str]:
    try:
        name, message, text = plain.decode(payload)
        return str(name)[:200], f"{message}\n{text}"[: guest.TRACEBACK]
    except (plain.NotPlain, ValueError, TypeError):
        return "?", "a malformed report"


KINDS["UnitTests"] = run
