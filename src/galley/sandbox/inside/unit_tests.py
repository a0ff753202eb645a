"""unittest classes against a program in its own process: the weakest of the checks, since both share one interpreter.

What is done about that: results are sent as they come and cannot be taken back; no Python frame leads from the program to the
harness; unittest's classes, and the test classes while a test runs, are immutable; unittest's functions, the builtins and the
modules that the tests import must be the same objects after the program as before it; what the entry point returns must not
bring its own comparisons; `guard` kills a program that reaches for frames, the collector or raw memory. What is left:
docs/sandbox.md. Standard library only: programs can reach this module's globals.

Source: ours; BigCodeBench (arXiv:2406.15877) defines the form: the program and the tests are one module.
"""

from __future__ import annotations

import builtins
import dis
import functools
import importlib
import marshal
import os
import sys
import unittest
from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from galley.sandbox.inside import guard
from galley.sandbox.inside.report import describe, record, write_all

MODULE = "__test__"
COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__", "__instancecheck__")
IMPORT_NAME = dis.opmap["IMPORT_NAME"]
LOOKED_AT = 1000  # items of a returned value whose classes are looked at
MOCK = f"{os.sep}unittest{os.sep}mock.py"
Send = Callable[[bytes, bytes], None]
Freeze = Callable[[type, bool], None]
Job = dict[str, Any]
VERSION = guard.dict_version()


class _Result(unittest.TestResult):
    """Sends each result at once: what is sent cannot be taken back."""

    def __init__(self, send: Send, freeze: Freeze, check: Callable[[], None]) -> None:
        super().__init__()
        self._send, self._freeze, self._check = send, freeze, check

    def startTest(self, test: unittest.TestCase) -> None:
        self._check()
        super().startTest(test)
        self._send(b"S", test.id().encode())
        self._freeze(type(test), True)

    def stopTest(self, test: unittest.TestCase) -> None:
        self._freeze(type(test), False)
        super().stopTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._check()
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
        self._send(b"F", marshal.dumps((test.id(), "unexpected success", ""), 2))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._check()
        self._send(b"P", test.id().encode())

    def _fault(self, test: Any, err: Any) -> None:
        name, message, text = describe(err[1])
        self._send(b"F", marshal.dumps((str(test.id()), f"{name}: {message}", text), 2))


class _Kept:
    """A module's functions and classes as they are now."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.table = module, vars(module)
        self.values = [(name, value) for name, value in self.table.items() if callable(value)]
        self.version = VERSION(self.table) if VERSION else -1

    def replaced(self) -> str | None:
        """Name one that is another object now."""
        if VERSION and VERSION(self.table) == self.version:
            return None
        return next((name for name, value in self.values if self.table.get(name, self) is not value), None)


class _Stock:
    """What is shared by all programs: unittest's modules and functions as they are before any program runs."""

    unittest: tuple[ModuleType, ...] = ()
    functions: frozenset[Any] = frozenset()
    kept: dict[ModuleType, _Kept] = {}  # noqa: RUF012 - replaced as a whole


def take_stock() -> list[type]:
    """Note the modules of unittest that are imported by now; returns the classes that are to be made immutable.

    unittest.mock is imported for tests that speak of it only: with asyncio behind it, it doubles what a program costs.
    """
    modules = tuple(module for name, module in sorted(sys.modules.items()) if name.split(".")[0] == "unittest")
    _Stock.unittest, _Stock.functions = modules, guard.functions_of(*modules, guard, sys.modules[__name__])
    _Stock.kept = {module: _Kept(module) for module in [*modules, builtins]}
    return [v for m in modules for v in vars(m).values() if isinstance(v, type) and v.__module__ == m.__name__] + [_Result]


def plan(
    channel: int, job: dict[str, Any], compiled: Callable[..., CodeType], space: dict[str, Any], steps: list[Any], freeze: Any
) -> None:
    """Plan: execute the program, then the tests in the same module, run them, send the token, end."""
    do, write = job["do"], os.write
    end = partial(write, channel, record(b"Z", job["token"]))
    sys.modules["__main__"] = sys.modules[MODULE]

    def send(kind: bytes, payload: bytes) -> None:
        write_all(channel, record(kind, payload), write)

    def tampered(what: str) -> None:
        send(b"X", what.encode()[:200])

    tests = _compiled(compiled, do["tests"], send)
    used = _imported(tests) if tests else {}
    check_unittest, check_all = _snapshot(_Stock.unittest, tampered), _snapshot([builtins, *used.values()], tampered)
    check_names = _names_in(sys.modules, ["unittest", "unittest.case", "unittest.mock", *used], tampered)

    def between() -> None:
        check_all()
        check_unittest()
        check_names()
        _shadows(space, tests, tampered)
        _wrap(space, do["entry_point"], send, tampered)
        steps.extend([partial(exec, tests, space), run_tests])

    def run_tests() -> None:
        loader, suite = unittest.TestLoader(), unittest.TestSuite()
        for value in list(space.values()):
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == MODULE:
                suite.addTests(loader.loadTestsFromTestCase(value))
        send(b"N", str(suite.countTestCases()).encode())
        suite.run(_Result(send, freeze, check_unittest))
        steps.extend([check_unittest, check_all, check_names, end, partial(os._exit, 0)])

    program = compiled(job["code"])
    guard.arm(channel, guarded=_Stock.functions, frames=True, allowed=frozenset(do["allow"]))
    steps.extend([partial(exec, program, space), between])


def _compiled(compiled: Callable[..., CodeType], source: str, send: Send) -> CodeType:
    try:
        return compiled(source, "tests.py")
    except SyntaxError as error:
        send(b"F", marshal.dumps(("tests", f"the tests do not compile: {error}", ""), 2))
        os._exit(0)


def _imported(code: CodeType) -> dict[str, ModuleType]:
    """Import, before the program can, the modules that the tests name; returns those that exist."""
    found: dict[str, ModuleType] = {}
    for name in _names_imported(code):
        try:
            found[name] = importlib.import_module(name)
        except Exception:
            continue
    return found


def _names_imported(code: CodeType) -> set[str]:
    """Return the modules that a code object's own import statements name; `dis.get_instructions` takes a fifth of a small test's time."""
    found, high = set(), 0
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument |= high
        high = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation == IMPORT_NAME:
            found.add(code.co_names[argument])
    return found


def _snapshot(modules: Iterable[ModuleType], tampered: Callable[[str], None]) -> Callable[[], None]:
    """Return a check that these modules' functions and classes are the same objects as now."""
    others = [module for module in modules if module is not sys and module.__name__ != MODULE]
    kept = [_Stock.kept.get(module) or _Kept(module) for module in others]

    def check() -> None:
        for one in kept:
            if (name := one.replaced()) is not None:
                tampered(f"{one.module.__name__}.{name} was replaced")
                return

    return check


def _names_in(modules: dict[str, ModuleType], names: list[str], tampered: Callable[[str], None]) -> Callable[[], None]:
    kept = [(name, modules.get(name)) for name in names if name in modules]

    def check() -> None:
        for name, module in kept:
            if modules.get(name) is not module:
                tampered(f"module {name} was replaced")

    return check


def _shadows(space: dict[str, Any], tests: CodeType, tampered: Callable[[str], None]) -> None:
    """Refuse a program that redefines a builtin which the tests use: they would use the program's."""
    used: set[str] = set()
    codes = [tests]
    while codes:
        code = codes.pop()
        used.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    for name in used & set(space):
        if name in vars(builtins) and space[name] is not vars(builtins)[name] and isinstance(space[name], FunctionType | type):
            tampered(f"the program redefines {name}, which the tests use")


def _wrap(space: dict[str, Any], name: str, send: Send, tampered: Callable[[str], None]) -> None:
    """Put a wrapper in the entry point's place: tells of the first call, looks at what comes back. A class stays as it is."""
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
        value = inner(*arguments, **keywords)
        if (found := _own_comparison(value)) is not None:
            tampered(f"the returned {found} brings its own comparison")
        return value

    space[name] = entry


def _own_comparison(value: Any) -> str | None:
    """Name a class in a returned value whose comparisons are the program's own."""
    left, seen = [value], 0
    while left and seen < LOOKED_AT:
        item = left.pop()
        kind = type(item)
        seen += 1
        if kind in (list, tuple, set, frozenset):
            left.extend(item)
        elif kind is dict:
            left.extend(item.values())
        else:
            for base in type.mro(kind)[:-1]:
                for name in COMPARISONS:
                    method = type.__dict__["__dict__"].__get__(base).get(name)
                    if type(method) is FunctionType and not _is_library_s(method.__code__):
                        return type.__dict__["__name__"].__get__(kind)
    return None


def _is_library_s(code: CodeType) -> bool:
    """Return whether a comparison is a library's; that of mock.ANY, which agrees with everything, counts as the program's."""
    return code.co_filename.startswith(guard.LIBRARY) and not (code.co_qualname.startswith("_ANY.") and code.co_filename.endswith(MOCK))
