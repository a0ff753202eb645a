"""A process tree of its own for each program, and the one fork that starts it.

An anchor is process 1 of a new pid namespace: it waits for signals in C, shares our memory and costs no page of its own. The
program is forked into that namespace as an ordinary process; whatever it leaves behind dies with the anchor.

Source: ours; pid_namespaces(7), clone(2), setns(2).
"""

from __future__ import annotations

import _thread
import collections
import contextlib
import ctypes
import operator
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from galley.sandbox.inside import linux

CLONE_VM = 0x100
STACK = 1 << 16
_stack = ctypes.create_string_buffer(STACK)  # one anchor at a time
_pause = ctypes.cast(linux.libc.pause, ctypes.c_void_p)
_top = ctypes.c_void_p((ctypes.addressof(_stack) + STACK) & ~0xF)
_flags = ctypes.c_int(CLONE_VM | linux.CLONE_NEWPID | int(signal.SIGCHLD))


class Tree:
    """The processes of one program; `end` kills every one of them."""

    def __init__(self, *, namespaces: bool, alone: bool = False) -> None:
        """`alone`: the runner and its programs share a pid namespace with nobody else (bubblewrap)."""
        self.anchor = self._descriptor = -1
        self.alone = alone
        if namespaces:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the anchor keeps this: orphans leave no zombies
            self.anchor = linux.checked(linux.libc.clone(_pause, _top, _flags, None), "a process tree")
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._descriptor = os.pidfd_open(self.anchor)

    def fork(self, steps: list[Callable[[], Any]]) -> int:
        """Fork a process that walks these steps with no Python frame below them; returns its id.

        The thread that forks has a C function at its bottom, so frames lead the program to itself alone. A step may append
        steps. An exception ends the walk and goes to `sys.unraisablehook`; SystemExit ends it silently; then the process ends.
        Only the thread enters the new namespace, and it ends here.
        """
        born: list[int] = []
        done = _thread.allocate_lock()
        done.acquire()

        def fork() -> None:
            try:
                if self._descriptor >= 0:  # entering takes the right to trace the anchor, given while no program lives
                    linux.prctl(linux.PR_SET_DUMPABLE, 1)
                    linux.setns(self._descriptor, linux.CLONE_NEWPID)
                    linux.prctl(linux.PR_SET_DUMPABLE, 0)
                pid = os.fork()
            except OSError:
                pid = -1
            if pid:
                born.append(pid)
                done.release()
                raise SystemExit

        steps.insert(0, fork)
        _thread.start_new_thread(collections.deque, (map(operator.call, steps), 0))
        done.acquire()
        return linux.checked(born[0], "fork")

    def kill(self, program: int) -> None:
        """Kill the whole tree, or what can be named of it."""
        if self.anchor > 0:
            os.kill(self.anchor, signal.SIGKILL)
            return
        for kill, target in ((os.kill, -1),) if self.alone else ((os.killpg, program), (os.kill, program)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(target, signal.SIGKILL)

    def end(self) -> None:
        """See the tree gone, after the program itself was reaped."""
        if self.anchor > 0:
            os.waitpid(self.anchor, 0)
            os.close(self._descriptor)
            return
        while children := _children():  # we adopt orphans (PR_SET_CHILD_SUBREAPER)
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _children() -> list[int]:
    place = Path(f"/proc/self/task/{_thread.get_native_id()}/children")
    return [int(pid) for pid in place.read_text().split()] if place.exists() else []
