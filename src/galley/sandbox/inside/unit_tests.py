"""unittest classes against a program in its own process: the weakest of the checks, since both share one interpreter.

Source: ours; BigCodeBench (arXiv:2406.15877) defines the form: the program and the tests are one module.
"""

from __future__ import annotations

import functools
import os
import sys
import unittest
from collections.abc import Callable
from functools import partial
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import guard, guest
from galley.sandbox.inside.guest import Blobs, Steps

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


def plan(channel: int, job: dict[str, Any], _blobs: Blobs, steps: Steps) -> None:
    """Plan: execute the program, then the tests in the same module, run them, send the token, end."""
    do, write = job["do"], os.write
    end = partial(write, channel, guest.record(b"Z", job["token"]))

    def send(kind: bytes, payload: bytes) -> None:
        guest.write_all(channel, guest.record(kind, payload), write)

    space = guest.fresh_module(MODULE)
    sys.modules["__main__"] = sys.modules[MODULE]

    def count_calls() -> None:
        _count_calls(space, do["entry_point"], send)
        steps.extend([partial(exec, guest.compiled(do["tests"], "tests.py"), space), run_tests])

    def run_tests() -> None:
        loader, suite = unittest.TestLoader(), unittest.TestSuite()
        for value in list(space.values()):
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == MODULE:
                suite.addTests(loader.loadTestsFromTestCase(value))
        send(b"N", str(suite.countTestCases()).encode())
        suite.run(_Result(send))
        steps.extend([end, partial(os._exit, 0)])

    guard.arm(channel)
    steps.extend([partial(exec, guest.compiled(job["code"]), space), count_calls])


def _count_calls(space: dict[str, Any], name: str, send: Callable[[bytes, bytes], None]) -> None:
    """Put a wrapper that tells of the first call in the entry point's place; a class stays as it is and counts as called."""
    inner = space.get(name)
    if not callable(inner):
        raise NameError(f"{name!r} is not defined")
    if isinstance(inner, type):
        send(b"C", b"")
        return
    told: list[bool] = []

    @functools.wraps(inner)
    def entry(*arguments: Any, **keywords: Any) -> Any:
        if not told:
            told.append(True)
            send(b"C", b"")
        return inner(*arguments, **keywords)

    space[name] = entry
