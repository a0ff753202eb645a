"""`check(candidate)` apart from the candidate: the trusted test in this process, the program in another.

The candidate is a proxy: arguments go out and results come back as plain data, rebuilt here. The program cannot reach the
test's frames, objects, comparisons or verdict, and an object that equals everything arrives as "not plain data".

One tester serves many programs, since a fork costs more than a test. Each test is a new module with the same random state; a
tester that has grown, whose builtins have changed, or that was still at work when its program's time was over, is replaced.

Source: ours; HumanEval (arXiv:2107.03374) defines check(candidate).
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import marshal
import os
import random
import resource
import select
import signal
import socket
import struct
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import guest
from galley.sandbox.inside.limits import Layers, restrict
from galley.sandbox.inside.report import read_all

MAX_ANSWER = 64 << 20  # bytes
GROWN_KB = 32 << 10  # beyond its size at birth: what it holds would count against the next program


class _ProgramEnded(BaseException):
    """The program's process ended in a call; not an Exception, so that no test takes it for an answer."""


class NotPlain(Exception):
    """A call returned something else than plain data."""


class ProgramError(Exception):
    """A call raised an exception that is not a built-in one."""


class Line:
    """Our end of the channel to the program; `watched` is its process descriptor."""

    def __init__(self, channel: int, watched: int) -> None:
        self.channel, self.calls = channel, 0
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._poll.register(watched, select.POLLIN)

    def ask(self, request: Any) -> tuple[bytes, bytes]:
        """Send a request and wait for the answer. Raises plain.NotPlain for arguments that cannot travel."""
        data = plain.dumps(request)
        try:
            guest.write_all(self.channel, struct.pack("<I", len(data)) + data)
        except OSError:
            raise _ProgramEnded from None
        return self.receive()

    def receive(self) -> tuple[bytes, bytes]:
        """Wait for one message."""
        head = self._read(5)
        (size,) = struct.unpack_from("<I", head, 1)
        if size > MAX_ANSWER:
            raise _ProgramEnded
        return head[:1], self._read(size)

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            ready = dict(self._poll.poll())
            if self.channel not in ready:
                raise _ProgramEnded
            piece = os.read(self.channel, min(size, 1 << 18))
            if not piece:
                raise _ProgramEnded
            parts.append(piece)
            size -= len(piece)
        return b"".join(parts)


class _Proxy:
    """A function of the program, called over the line."""

    def __init__(self, line: Line, name: str) -> None:
        self._line, self.__name__ = line, name

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self._line.calls += 1
        kind, payload = self._line.ask((self.__name__, arguments, keywords))
        if kind == b"v":
            try:
                return plain.decode(payload)
            except plain.NotPlain as error:
                raise NotPlain(str(error)) from None
        if kind == b"r":
            raise _exception(payload)
        raise NotPlain(payload[: guest.MESSAGE].decode("utf-8", "replace") + " is not plain data")


def _exception(payload: bytes) -> Exception:
    """Rebuild a built-in exception by name, so that a test may expect it; nothing else of the program's choosing."""
    try:
        name, message, _ = plain.decode(payload)
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, Exception) and found is not AssertionError:
            return found(str(message))
        return ProgramError(f"{name}: {message}")
    except (plain.NotPlain, ValueError, TypeError):
        return ProgramError("a malformed report")


def _free_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _free_names(constant)


class Tester:
    """The runner's hold on the process that tests; it is begun when it is first needed, or needed again."""

    def __init__(self) -> None:
        self.pid = self._process = 0  # number and descriptor
        self._link: socket.socket | None = None
        self._resources: list[tuple[int, int]] = []

    def begin(self, do: dict[str, Any], layers: Layers, resources: list[tuple[int, int]], channel: int, watched: int) -> int:
        """Have a program tested that answers on `channel`; returns where the report will be: one message, then the end."""
        if self.pid and resources != self._resources:  # a limit cannot be raised again
            self.end()
        report, write = os.pipe()
        message = marshal.dumps(do)
        for _ in range(2):  # an idle one may have ended
            if not self.pid:
                self._start(layers, resources)
            assert self._link is not None
            try:
                socket.send_fds(self._link, [struct.pack("<Q", len(message))], [channel, watched, write])
                self._link.sendall(message)
                break
            except OSError:
                self.end()
        os.close(write)
        return report

    def _start(self, layers: Layers, resources: list[tuple[int, int]]) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid:
            theirs.close()
            self.pid, self._process, self._link, self._resources = pid, os.pidfd_open(pid), ours, resources
            return
        try:
            layers.confine()  # the test is trusted, and still needs nothing else
            link = socket.socket(fileno=os.dup2(theirs.detach(), 3, inheritable=False))
            os.closerange(4, 1 << 20)  # above all the other end of each report
            restrict([(kind, value) for kind, value in resources if kind != resource.RLIMIT_CPU])  # wall time bounds each test
            gc.enable()
            _serve(link)
        finally:
            os._exit(0)

    def end(self) -> None:
        """Kill it, if it is there."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # outside a namespace of ours, it dies with a program
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
                os.waitid(os.P_PIDFD, self._process, os.WEXITED)
            os.close(self._process)
        if self._link is not None:
            self._link.close()
        self.pid, self._process, self._link = 0, 0, None


def _serve(link: socket.socket) -> None:
    """Test programs until the runner hangs up, or this process is no longer as it was."""
    born_kb, names = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, dict(vars(builtins))
    while True:
        head, descriptors, _, _ = socket.recv_fds(link, 8, 3)
        if not head:
            return
        channel, watched, report = descriptors
        message = read_all(link, struct.unpack("<Q", head)[0])
        random.seed(0)
        said = _test(marshal.loads(message), channel, watched)
        spoilt = vars(builtins) != names or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > born_kb + GROWN_KB
        if spoilt:
            link.close()  # before the report, after which the runner may ask for the next
        guest.write_all(report, said)
        if spoilt:
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _test(do: dict[str, Any], channel: int, watched: int) -> bytes:
    """Ask the program over `channel`; return the report."""
    line = Line(channel, watched)
    try:
        try:
            kind, payload = line.receive()
            found = _judge(line, do) if kind == b"l" else {"ended": False, "said": kind + payload}
        except _ProgramEnded:
            found = {"ended": True}
        return plain.dumps(found | {"entry_calls": line.calls})
    except BaseException as error:  # a fault of ours is never a pass
        name, message, text = guest.describe(error)
        fault = {"verdict": "no_result", "exception": name, "message": f"sandbox fault: {message}", "traceback": text, "entry_calls": 0}
        return plain.dumps(fault)


def _judge(line: Line, do: dict[str, Any]) -> dict[str, Any]:
    """Run the test: it passes when check(candidate) returns."""
    module = ModuleType("check")
    space = module.__dict__
    try:
        code = guest.compiled(do["test"], "check.py")
        wanted = sorted({name for name in _free_names(code) if not hasattr(builtins, name)} | {do["entry_point"]})
        known = plain.decode(line.ask((None, wanted, {}))[1])
        for name, value in known.items():
            space[name] = _Proxy(line, name) if value is True else value[0]
        if known.get(do["entry_point"]) is not True:
            return {"verdict": "error", "exception": "NameError", "message": f"{do['entry_point']!r} is not defined"}
        candidate = space[do["entry_point"]]
        exec(code, space)
        space["check"](candidate)
    except _ProgramEnded:
        raise
    except BaseException as error:
        name, message, text = guest.describe(error)
        return {
            "verdict": "fail" if name in ("AssertionError", "NotPlain") else "error",
            "exception": name,
            "message": message,
            "traceback": text,
        }
    if line.calls == 0:
        return {"verdict": "fail", "message": "the test did not call the candidate"}
    return {"verdict": "pass"}
