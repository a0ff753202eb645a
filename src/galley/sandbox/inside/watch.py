"""The runner's watch over a running program: wall time, and memory and CPU time of its whole process tree.

Per-process limits bind in the kernel; a tree of many processes is looked at every 50 ms from the first 50 ms on.

Source: ours; proc(5).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import Any

from galley.sandbox.inside.limits import Layers

LOOK_S = 0.05
GRACE_S = 1.0  # for the supervisor to report after its program was killed
TICK = os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
MAX_REPORT = 72 << 20


class Watch:
    """Looks at the processes below this one through a descriptor of /proc, or not at all (-1)."""

    def __init__(self, proc: int) -> None:
        self.proc = proc

    def follow(self, supervisor: int, read: int, link: socket.socket, limits: dict[str, Any], layers: Layers) -> tuple[str, bytes]:
        """Read the supervisor's report until it ends; returns why we ended the program, if we did, and the report."""
        parts: list[bytes] = []
        size, reason, began = 0, "", time.monotonic()
        deadline, look = began + limits["wall_s"], began + LOOK_S
        poll = select.poll()
        poll.register(read, select.POLLIN)
        poll.register(link, select.POLLRDHUP)
        while True:
            now = time.monotonic()
            wait = max(0.0, min(deadline, look) - now)
            for descriptor, _ in poll.poll(int(wait * 1000) + 1):
                if descriptor != read:
                    os._exit(1)  # nobody is left to report to; the kernel ends all that is below us
                piece = os.read(read, 1 << 20)
                size += len(piece)
                if not piece or size > MAX_REPORT:
                    return reason, b"".join(parts) if size <= MAX_REPORT else b""
                parts.append(piece)
            now = time.monotonic()
            if now >= deadline:
                if reason:  # the supervisor had its grace
                    os.kill(supervisor, signal.SIGKILL)
                    return reason, b""
                reason = "wall time"
            elif now >= look and not reason:
                reason = self._beyond(limits)
                look = now + LOOK_S
            if reason and now >= look - LOOK_S:
                deadline, look = (now + GRACE_S if reason and deadline - began <= limits["wall_s"] else deadline), now + LOOK_S
                self._kill_all_but(supervisor)

    def _processes(self) -> list[int]:
        if self.proc < 0:
            return []
        return [int(name) for name in os.listdir(self.proc) if name.isdigit()]  # noqa: PTH208 - a descriptor

    def _file(self, pid: int, name: str) -> bytes:
        try:
            place = os.open(f"{pid}/{name}", os.O_RDONLY, dir_fd=self.proc)
        except OSError:
            return b""
        try:
            return os.read(place, 4096)
        except OSError:
            return b""
        finally:
            os.close(place)

    def _beyond(self, limits: dict[str, Any]) -> str:
        """Say which limit the tree has passed, or nothing."""
        memory_kb = cpu_s = 0.0
        own = self._memory(os.getpid())
        for pid in self._processes():
            if pid == os.getpid():
                continue
            memory_kb += max(0.0, self._memory(pid) - own)
            fields = self._file(pid, "stat").rpartition(b")")[2].split()
            cpu_s += sum(int(x) for x in fields[11:15]) / TICK
        if memory_kb > limits["memory_mb"] * 1024:
            return "memory"
        return "CPU time" if cpu_s > limits["cpu_s"] + 0.1 else ""

    def _memory(self, pid: int) -> float:
        """Return anonymous and shared memory in KiB."""
        fields = dict(line.split(b":", 1) for line in self._file(pid, "status").splitlines() if b":" in line)
        return sum(int(fields.get(key, b"0").split()[0]) for key in (b"RssAnon", b"RssShmem"))

    def _kill_all_but(self, supervisor: int) -> None:
        others = [pid for pid in self._processes() if pid not in (os.getpid(), supervisor)]
        for pid in others or [supervisor]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def sweep(self) -> None:
        """Without a process tree of its own: kill what the program left (see `unsafe`)."""
