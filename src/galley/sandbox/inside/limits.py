"""What binds a program's own process: privileges, Landlock, seccomp, descriptors, limits, in that order.

Source: ours; setrlimit(2), capabilities(7), landlock(7), seccomp(2).
"""

from __future__ import annotations

import _signal
import os
import resource
from math import ceil
from typing import Any

from galley.sandbox.inside import linux

OWN_PROCESSES = 5  # launcher, its child, runner, anchor and tester count against the same user
MEBIBYTE = 1 << 20
ARENAS = 4096 * MEBIBYTE  # address space that threads reserve and do not use


class Layers:
    """What the runner has prepared for its programs; None where the kernel lacks it or the user gave it up."""

    def __init__(self, *, capabilities: bool) -> None:
        self.capabilities = capabilities  # whether there are any to give up
        self.seccomp: linux.Seccomp | None = None
        self.ruleset: int | None = None
        self.base_memory = 0  # address space of the runner in bytes: programs are limited on top of it
        self.base_data = 0  # its private writable memory
        self.hard: dict[int, int] = {}  # this process's own hard limits

    def confine(self) -> None:
        """Give up all that can be given up, for good."""
        linux.prctl(linux.PR_SET_DUMPABLE, 0)  # no process of the same user may trace us
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if self.capabilities:
            linux.set_capabilities(0)
        if self.ruleset is not None:
            linux.landlock_restrict(self.ruleset)
        if self.seccomp is not None:
            self.seccomp.install()

    def resources(self, limits: dict[str, Any]) -> list[tuple[int, int]]:
        """Return the kernel's limits for a program's processes: hard ones, which nobody inside can raise."""
        memory = limits["memory_mb"] * MEBIBYTE
        wanted = {
            resource.RLIMIT_CPU: ceil(limits["cpu_s"]),
            resource.RLIMIT_DATA: self.base_data + memory,
            resource.RLIMIT_AS: self.base_memory + memory + ARENAS,
            resource.RLIMIT_FSIZE: limits["file_mb"] * MEBIBYTE,
            resource.RLIMIT_NOFILE: limits["open_files"],
            resource.RLIMIT_NPROC: limits["processes"] + OWN_PROCESSES,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
        }
        if not self.hard:
            self.hard = {kind: resource.getrlimit(kind)[1] for kind in wanted}
        return [(kind, value if self.hard[kind] < 0 else min(value, self.hard[kind])) for kind, value in wanted.items()]


def restrict(resources: list[tuple[int, int]]) -> None:
    """Set the limits of this process and its children."""
    for kind, value in resources:
        resource.setrlimit(kind, (value, value))


def own_descriptors(stdin: int, stdout: int, stderr: int, channel: int) -> int:
    """Keep these four descriptors alone, at 0, 1, 2 and 3; returns 3."""
    high = 200
    moved = [os.dup2(old, high + i) for i, old in enumerate((stdin, stdout, stderr, channel))]
    for new, old in enumerate(moved):
        os.dup2(old, new)
    os.set_inheritable(3, False)
    os.closerange(4, 1 << 20)
    return 3


def default_signals() -> None:
    """Interrupt as a fresh interpreter does: the runner ignores it."""
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
