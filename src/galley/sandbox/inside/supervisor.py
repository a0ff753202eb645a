"""Process 1 of a program's own process tree: trusted, it starts the program, judges what it may say, and reports.

When it ends, the kernel kills whatever the program has left behind. It ignores every signal from inside, cannot be traced,
and is the only one who writes to the runner.

Source: ours; HumanEval's check (arXiv:2107.03374) runs here, apart from the program.
"""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import guest
from galley.sandbox.inside.limits import Layers, default_signals, own_descriptors, restrict

MAX_CHANNEL = 64 << 20  # bytes of results that one program may send
Report = dict[str, Any]


@dataclass
class Ended:
    """How the program's process ended and what it said."""

    said: bytes
    stdout: bytes
    code: int  # negative: a signal
    cpu_s: float
    memory_mb: float
    flooded: bool


@dataclass
class Task:
    """One program as the runner hands it over."""

    job: dict[str, Any]
    layers: Layers
    blobs: list[bytes]

    @property
    def limits(self) -> dict[str, Any]:
        """The program's limits."""
        return self.job["limits"]


def supervise(task: Task, out: int) -> None:
    """Run one program to its end and report; never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    try:
        report = KINDS[task.job["kind"]](task)
    except BaseException as error:  # a fault of ours is never a pass
        name, message, text = guest.describe(error)
        report = {"verdict": "no_result", "exception": name, "message": f"sandbox fault: {message}", "traceback": text}
    guest.write_all(out, plain.dumps(report))
    os._exit(0)


def start(task: Task, body: Callable[[int], Any], *, stdin: bytes = b"", two_way: bool = False, capture: bool = False) -> tuple:
    """Fork the program's process, confined, with `body(channel)` in it; returns its id, our channel end and its output."""
    ours, theirs, source, output, sink = _descriptors(stdin, two_way, capture)

    pid = os.fork()
    if pid == 0:
        try:
            body(_become_program(task, source, sink, theirs))
        finally:
            os._exit(1)
    for descriptor in (theirs, source, sink):
        os.close(descriptor)
    return pid, ours, output


def start_hidden(task: Task, plan: Callable[[int, list], None], *, stdin: bytes = b"", capture: bool = False) -> tuple:
    """As `start`, but the steps that `plan` adds run with no Python frame below them."""
    ours, theirs, source, output, sink = _descriptors(stdin, False, capture)
    steps: list[Callable[[], Any]] = [lambda: plan(_become_program(task, source, sink, theirs), steps)]
    pid = guest.fork_hidden(steps)
    for descriptor in (theirs, source, sink):
        os.close(descriptor)
    return pid, ours, output


def _descriptors(stdin: bytes, two_way: bool, capture: bool) -> tuple[int, int, int, int | None, int]:
    if two_way:
        import socket

        pair = socket.socketpair()
        ours, theirs = (end.detach() for end in pair)
    else:
        ours, theirs = os.pipe()
    source = os.open(os.devnull, os.O_RDONLY)
    if stdin:
        os.close(source)
        source = os.memfd_create("stdin")
        guest.write_all(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
    output, sink = os.pipe() if capture else (None, os.open(os.devnull, os.O_WRONLY))
    return ours, theirs, source, output, sink


def _become_program(task: Task, source: int, sink: int, theirs: int) -> int:
    try:
        os.setsid()
        task.layers.confine()
        null = os.open(os.devnull, os.O_WRONLY)
        theirs = own_descriptors(source, sink, null, theirs)
        default_signals()
        restrict(task.limits, task.layers)
    except BaseException as error:
        guest.fail(theirs, RuntimeError(f"sandbox fault before the program began: {error}"))
    return theirs


def collect(task: Task, pid: int, channel: int, output: int | None) -> Ended:
    """Read what the program says and prints, within bounds, until its process ends."""
    watch = os.pidfd_open(pid)
    poll = select.poll()
    parts: dict[int, list[bytes]] = {channel: []}
    room = {channel: MAX_CHANNEL}
    if output is not None:
        parts[output], room[output] = [], task.limits["output_kb"] * 1024
    for descriptor in (watch, *parts):
        poll.register(descriptor, select.POLLIN)
    flooded = ended = False
    while not ended:
        ready = dict(poll.poll())
        ended = watch in ready
        for descriptor in parts:
            if descriptor in ready or ended:
                flooded |= _drain(descriptor, parts[descriptor], room, poll, ended)
        if flooded and not ended:
            os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    said, stdout = b"".join(parts[channel]), b"".join(parts[output]) if output is not None else b""
    for descriptor in (watch, *parts):
        os.close(descriptor)
    cpu_s = usage.ru_utime + usage.ru_stime
    return Ended(said, stdout, os.waitstatus_to_exitcode(status), cpu_s, usage.ru_maxrss / 1024, flooded)


def _drain(descriptor: int, parts: list[bytes], room: dict[int, int], poll: select.poll, ended: bool) -> bool:
    """Read what is there; True when more came than there is room for."""
    os.set_blocking(descriptor, False)
    while True:
        try:
            piece = os.read(descriptor, 1 << 18)
        except BlockingIOError:
            return False
        if not piece:
            if not ended:
                poll.unregister(descriptor)
            return False
        parts.append(piece[: room[descriptor]])
        room[descriptor] -= len(piece)
        if room[descriptor] < 0:
            room[descriptor] = 0
            return True
        if not ended:
            return False


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split what a program said into messages; a broken tail is left out."""
    found, at = [], 0
    while at + 5 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 1)
        if at + 5 + size > len(data):
            break
        found.append((data[at : at + 1], data[at + 5 : at + 5 + size]))
        at += 5 + size
    return found


def how_it_failed(ended: Ended, said: list[tuple[bytes, bytes]]) -> Report:
    """Return verdict, exception, message and traceback of a program that did not come to its end."""
    if ended.flooded:
        return {"verdict": "flood", "message": "more output than the limit"}
    for kind, payload in said:
        if kind == b"E":
            return _from_exception(payload)
    if ended.code < 0:
        return {"verdict": "crash", "message": f"killed by {signal.Signals(-ended.code).name}"}
    return {"verdict": "no_result", "message": f"the process ended before its end was reached (exit status {ended.code})"}


def _from_exception(payload: bytes) -> Report:
    try:
        name, message, text = (str(part)[: guest.TRACEBACK] for part in plain.decode(payload))
    except (plain.NotPlain, ValueError, TypeError):
        return {"verdict": "error", "message": "a malformed report"}
    verdict = {"AssertionError": "fail", "MemoryError": "memory"}.get(name, "error")
    return {"verdict": verdict, "exception": name, "message": message, "traceback": text}


def usage(ended: Ended) -> Report:
    """Return the resources used."""
    return {"cpu_s": ended.cpu_s, "memory_mb": ended.memory_mb, "code": ended.code}


def _run(task: Task) -> Report:
    token = os.urandom(16)
    end = guest.record(b"Z", token)
    do = task.job["do"]
    pid, channel, output = start_hidden(
        task, lambda c, steps: guest.run_script(c, task.job["code"], end, steps), stdin=do["stdin"].encode(), capture=True
    )
    ended = collect(task, pid, channel, output)
    said = records(ended.said)
    passed = ended.said == end and ended.code == 0 and not ended.flooded
    report: Report = {"verdict": "pass"} if passed else how_it_failed(ended, said)
    return report | usage(ended) | {"stdouts": [ended.stdout.decode("utf-8", "replace")]}


def _stdin(task: Task) -> Report:
    report: Report = {"verdict": "pass"}
    stdouts: list[str] = []
    total = {"cpu_s": 0.0, "memory_mb": 0.0, "code": 0}
    for text in task.job["do"]["inputs"]:
        body = lambda channel: guest.run_stdin(channel, task.job["code"])  # noqa: E731
        ended = collect(task, *start(task, body, stdin=text.encode(), capture=True))
        stdouts.append(ended.stdout.decode("utf-8", "replace"))
        total["cpu_s"] += ended.cpu_s
        total["memory_mb"] = max(total["memory_mb"], ended.memory_mb)
        said = records(ended.said)
        if ended.code or ended.flooded or [kind for kind, _ in said] != [b"Z"]:
            report = report if report["verdict"] != "pass" else how_it_failed(ended, said) | {"code": ended.code}
            total["code"] = ended.code
    return total | report | {"stdouts": stdouts}


def _calls(task: Task) -> Report:
    do = task.job["do"]
    body = lambda channel: guest.run_calls(channel, task.job["code"], do["entry_point"], task.blobs, 0, do["call_cpu_s"])  # noqa: E731
    ended = collect(task, *start(task, body))
    said = records(ended.said) if ended.code or ended.flooded or ended.said[:1] == b"E" else None
    report: Report = {"verdict": "pass"}  # the trusted side outside counts and judges the values
    if said is not None:
        report = how_it_failed(ended, said)
    return report | usage(ended) | {"said": ended.said}


KINDS: dict[str, Callable[[Task], Report]] = {
    "Run": _run,
    "Stdin": _stdin,
    "Calls": _calls,
}  # tester.py and unit_tests.py add theirs
