"""The program's own process: it is confined, runs the untrusted source, and writes what came out on its channel.

Everything here runs in the same process as the untrusted code, so nothing that it writes is believed without thought: values
are data to be judged outside, and the one message that means "came to its end" carries a token. The code that holds the token
is on no Python frame while the program runs: a thread whose bottom is C (`deque(map(call, steps))`) forks the process and walks the
steps, so that frames lead a program to itself alone, and audit hooks (`guard`) end it when it reaches for the collector,
raw memory or tracing.

Source: ours.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import linecache
import marshal
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import guard
from galley.sandbox.inside.limits import Layers, default_signals, own_descriptors, restrict
from galley.sandbox.inside.report import MESSAGE, describe, fail, name_of, record, unraisable, write_all

FLUSH_BYTES, FLUSH_S = 1 << 16, 0.2
FILE = "program.py"
FREEZE = guard.freezer()
UNIT_TESTS, MOCK = "galley.sandbox.inside.unit_tests", "unittest.mock"
_SOURCE = Path(__file__).with_name("unit_tests.py")
_CODE = compile(_SOURCE.read_text(), str(_SOURCE), "exec")  # read before the jail hides it
_LATER: dict[str, Any] = {}
Steps = list[Callable[[], Any]]
Blobs = dict[str, list[bytes]]


def fresh_module(name: str) -> dict[str, Any]:
    """Return the namespace of a new, registered module."""
    module = ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=FILE)
    sys.modules[name] = module
    return module.__dict__


def compiled(source: str, name: str = FILE) -> Any:
    """Compile a source; tracebacks and `inspect` will find its lines."""
    lines = source.splitlines(keepends=True)
    linecache.cache[name] = (len(source), None, lines, name)
    return compile(source, name, "exec", dont_inherit=True)


def load(code: str, name: str) -> dict[str, Any]:
    """Execute the source as a module of this name and return its namespace."""
    space = fresh_module(name)
    exec(compiled(code), space)
    return space


def run_calls(channel: int, code: str, entry_point: str, blobs: list[bytes], *, call_cpu_s: float | None, max_timeouts: int | None) -> None:
    """Call the entry point on each input, until too many ran out of time; a record per call, written in large pieces."""
    try:
        function = load(code, "program")[entry_point]
    except BaseException as error:
        fail(channel, error)
    loads, clock = marshal.loads, time.monotonic  # `blobs` are ours: plain data that the trusted side encoded
    strict = "numpy" in sys.modules  # marshal would write an array's raw memory
    out, size, flushed = [], 0, clock()
    current = _alarm(call_cpu_s) if call_cpu_s else [0]
    left = len(blobs) if max_timeouts is None else max_timeouts
    for i in range(len(blobs)):
        arguments = loads(blobs[i])
        current[0] = i + 1
        try:
            value = function(**arguments) if type(arguments) is dict else function(*arguments)
            current[0] = 0
            part = call_record(value, strict=strict)
        except _CallTimeout:
            part = record(b"t", b"")
            left -= 1
        except BaseException as error:
            current[0] = 0
            part = record(b"r", marshal.dumps(name_of(error), 2))
        current[0] = 0
        out.append(part)
        size += len(part)
        if not left:
            break
        if size > FLUSH_BYTES or clock() - flushed > FLUSH_S:
            write_all(channel, b"".join(out))
            out, size, flushed = [], 0, clock()
    write_all(channel, b"".join(out))
    os._exit(0)


def call_record(value: Any, *, strict: bool = False) -> bytes:
    """Frame a returned value, or say that it is not plain data."""
    try:
        data = marshal.dumps(plain.normalise(value), 2) if strict else plain.dumps(value)
    except (plain.NotPlain, ValueError, RecursionError):
        return record(b"n", type(value).__name__.encode()[:MESSAGE])
    return b"v" + struct.pack("<I", len(data)) + data


class _CallTimeout(BaseException):
    pass


def _alarm(seconds: float) -> list[int]:
    """Interrupt a call that is seen running at three ticks of half its limit: no cost per call."""
    current, seen = [0], [0, 0]

    def tick(_number: int, _frame: Any) -> None:
        seen[1] = seen[1] + 1 if current[0] and current[0] == seen[0] else 0
        seen[0] = current[0]
        if seen[1] >= 2:
            seen[1] = 0
            current[0] = 0
            raise _CallTimeout

    signal.signal(signal.SIGPROF, tick)
    signal.setitimer(signal.ITIMER_PROF, seconds / 2, seconds / 2)
    return current


def serve_calls(channel: int, code: str) -> None:
    """Answer the tester's requests until it hangs up: calls of the program's functions by name, on plain data."""
    try:
        space = load(code, "program")
    except BaseException as error:
        fail(channel, error)
    loads = marshal.loads  # requests come from the trusted tester
    write_all(channel, record(b"l", b""))
    for request in frames(channel):
        name, arguments, keywords = loads(request)
        if name is None:
            answer = record(b"v", marshal.dumps(_names(space, arguments), 2))
        else:
            try:
                answer = call_record(space[name](*arguments, **keywords), strict="numpy" in sys.modules)
            except BaseException as error:
                answer = record(b"r", marshal.dumps(describe(error), 2))
        write_all(channel, answer)
    os._exit(0)


def _names(space: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """Say which names the program defines: True for something to call, a 1-tuple for a plain value."""
    found: dict[str, Any] = {}
    for name in wanted:
        if name in space and callable(space[name]):
            found[name] = True
        elif name in space and call_record(space[name])[:1] == b"v":
            found[name] = (space[name],)
    return found


def frames(channel: int) -> Iterator[bytes]:
    """Yield length-prefixed requests until the other side closes."""
    with open(channel, "rb", buffering=1 << 16, closefd=False) as stream:
        while head := stream.read(4):
            yield stream.read(struct.unpack("<I", head)[0])


def run_stdin(channel: int, code: str) -> None:
    """Run the source as a script; a normal end includes sys.exit(0), the hooks at exit and the last flush."""
    try:
        try:
            load(code, "__main__")
        except SystemExit as stop:
            if stop.code not in (None, 0):
                raise
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # type: ignore[attr-defined]
        if "atexit" in sys.modules:
            sys.modules["atexit"]._run_exitfuncs()
        sys.stdout.flush()
    except BaseException as error:
        fail(channel, error)
    write_all(channel, record(b"Z", b""))
    os._exit(0)


def import_unit_tests(*, mock: bool) -> None:
    """Import unittest (and its `mock`) and our side of it into the runner when first needed: they make every later fork dearer."""
    if UNIT_TESTS in _LATER and (not mock or MOCK in sys.modules):
        return
    if UNIT_TESTS not in _LATER:
        sys.modules[UNIT_TESTS] = _LATER[UNIT_TESTS] = ModuleType(UNIT_TESTS)
        exec(_CODE, vars(_LATER[UNIT_TESTS]))
    if mock:
        importlib.import_module(MOCK)
    for kind in _LATER[UNIT_TESTS].take_stock():
        FREEZE(kind, True)
    gc.collect()
    gc.freeze()


def hidden_modules() -> list[str]:
    """Name our modules, which no program should find, and ctypes, which the guard should see it import."""
    return [name for name in sys.modules if name.split(".")[0] in ("galley", "ctypes", "_ctypes")]


def become_program(layers: Layers, resources: list[tuple[int, int]], hidden: list[str], source: int, sink: int, theirs: int) -> int:
    """Confine this process, take `hidden` modules from it; returns its channel."""
    try:
        os.setsid()
        layers.confine()
        null = os.open(os.devnull, os.O_WRONLY)
        theirs = own_descriptors(source, sink, null, theirs)
        default_signals()
        restrict(resources)
        for name in hidden:
            sys.modules.pop(name, None)
        random.seed(0)  # every program draws the same numbers, whatever ran before
        gc.enable()
    except BaseException as error:
        fail(theirs, RuntimeError(f"sandbox fault before the program began: {error}"))
    sys.unraisablehook = partial(unraisable, theirs)
    return theirs


def plan_script(channel: int, job: dict[str, Any], _blobs: Blobs, steps: Steps) -> None:
    """Plan: execute the source as __main__, flush, send the token, end."""
    end = partial(os.write, channel, record(b"Z", job["token"]))
    program = partial(exec, compiled(job["code"]), fresh_module("__main__"))
    guard.arm(channel)
    steps.extend([program, sys.stdout.flush, end, partial(os._exit, 0)])


def plan_unit_tests(channel: int, job: dict[str, Any], _blobs: Blobs, steps: Steps) -> None:
    """Plan: see unit_tests.py."""
    _LATER[UNIT_TESTS].plan(channel, job, compiled, fresh_module("__test__"), steps, FREEZE)


def plan_calls(channel: int, job: dict[str, Any], blobs: Blobs, _steps: Steps) -> None:
    """Plan: one call per stored input."""
    do = job["do"]
    inputs = blobs[do["stored"]]
    run_calls(channel, job["code"], do["entry_point"], inputs, call_cpu_s=do["call_cpu_s"], max_timeouts=do["max_timeouts"])


def plan_server(channel: int, job: dict[str, Any], _blobs: Blobs, _steps: Steps) -> None:
    """Plan: serve the tester."""
    serve_calls(channel, job["code"])


def plan_stdin(channel: int, job: dict[str, Any], _blobs: Blobs, _steps: Steps) -> None:
    """Plan: one script on standard input."""
    run_stdin(channel, job["code"])
