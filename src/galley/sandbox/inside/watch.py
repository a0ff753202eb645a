"""The runner's watch over a running program: wall time, output, and memory and CPU time of its whole process tree.

Per-process limits bind in the kernel; a tree of many processes is looked at every 50 ms from the first 50 ms on.

Source: ours; proc(5).
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import Any

from galley.sandbox.inside.tester import Tester
from galley.sandbox.inside.tree import Tree

LOOK_S = 0.05
BUFFER, ROOM = 1 << 18, 1 << 16  # bytes held before they are sent, and what a read must find free
PIECES = 512  # frames and their heads in one message; the kernel takes 1024
TICK = os.sysconf("SC_CLK_TCK")


class Watch:
    """Relays a program's bytes and looks at its processes through a descriptor of /proc, or not at all (-1)."""

    def __init__(self, link: socket.socket, proc: int) -> None:
        self.link, self.proc = link, proc
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._used = 0  # bytes of it that hold a program's words
        self._frames: list[bytes | memoryview] = []  # what is to be sent, in order

    def follow(
        self, tree: Tree, program: int, watched: int, tester: Tester | None, sources: dict[int, bytes], limits: dict[str, Any]
    ) -> dict[str, Any]:
        """Relay until the program (with a tester: its report) ends or a limit is passed; then kill the tree.

        `watched` is the program's process descriptor; `sources` maps descriptors to the letter of their frames, V for a report.
        Returns how it ended: `code` is None when it was us who ended it.
        """
        said = limits["result_mb"] << 20
        room = {b"C": said, b"O": limits["output_kb"] * 1024, b"V": said}
        poll = select.poll()
        for descriptor in sources:
            os.set_blocking(descriptor, False)
            poll.register(descriptor, select.POLLIN)
        if tester is None:
            poll.register(watched, select.POLLIN)
        poll.register(self.link, select.POLLRDHUP)
        now = time.monotonic()
        deadline, look = now + limits["wall_s"], now + LOOK_S
        reason, ended = "", False
        while not (reason or ended):
            for descriptor, _ in poll.poll(max(0.0, min(deadline, look) - now) * 1000 + 1):
                if descriptor == watched:
                    ended = True
                elif descriptor in sources:
                    if not self._relay(descriptor, sources[descriptor], room):
                        poll.unregister(descriptor)
                        ended = ended or sources[descriptor] == b"V"
                else:
                    os._exit(1)  # nobody is left to report to; the kernel ends all that is below us
            now = time.monotonic()
            if min(room.values()) < 0:
                reason = "output"
            elif now >= deadline:
                reason = "wall time"
            elif now >= look:
                reason = self._beyond(limits, 0 if tester is None else tester.pid)
                look = now + LOOK_S
        by_itself = bool(select.select([watched], [], [], 0)[0])
        tree.kill(program)
        if tester is not None and not ended:
            tester.end()  # it is still at work
        _, status, usage = os.wait4(program, 0)
        tree.end()
        for descriptor, letter in sources.items():  # what was written before the end
            while room[letter] >= 0 and self._relay(descriptor, letter, room):
                pass
        if not reason and min(room.values()) < 0:
            reason = "output"
        return {
            "reason": reason,
            "code": os.waitstatus_to_exitcode(status) if by_itself else None,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "memory_mb": usage.ru_maxrss / 1024,
        }

    def _relay(self, descriptor: int, letter: bytes, room: dict[bytes, int]) -> bool:
        """Take what is there, as far as there is room; False when nothing came."""
        if BUFFER - self._used < ROOM or len(self._frames) >= PIECES:
            self.send()
        try:
            count = os.readv(descriptor, [self._view[self._used :]])
        except BlockingIOError:
            return False
        kept = min(count, room[letter])
        room[letter] = room[letter] - count
        if kept > 0:
            self._frames += [letter + struct.pack("<I", kept), self._view[self._used : self._used + kept]]
        self._used += count
        return count > 0

    def send(self, last: bytes = b"") -> None:
        """Send what was taken and a last frame, at once: whoever listens is woken once for a small program. Then wipe the buffer."""
        frames = [*self._frames, last]
        sent = self.link.sendmsg(frames)
        for frame in frames:  # a long message goes in pieces
            if sent < len(frame):
                self.link.sendall(memoryview(frame)[sent:])
            sent = max(0, sent - len(frame))
        self._view[: self._used] = bytes(self._used)
        self._used, self._frames = 0, []

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

    def _beyond(self, limits: dict[str, Any], tester: int) -> str:
        """Say which limit the tree has passed, or nothing; of the tester's time, most is other programs'."""
        memory_kb = cpu_s = 0.0
        own = self._memory(os.getpid())
        for pid in self._processes():
            if pid == os.getpid():
                continue
            memory_kb += max(0.0, self._memory(pid) - own)
            fields = [] if pid == tester else self._file(pid, "stat").rpartition(b")")[2].split()
            cpu_s += sum(int(x) for x in fields[11:15]) / TICK
        if memory_kb > limits["memory_mb"] * 1024:
            return "memory"
        return "CPU time" if cpu_s > limits["cpu_s"] + 0.1 else ""

    def _memory(self, pid: int) -> float:
        """Return anonymous and shared memory in KiB."""
        fields = dict(line.split(b":", 1) for line in self._file(pid, "status").splitlines() if b":" in line)
        return sum(int(fields.get(key, b"0").split()[0]) for key in (b"RssAnon", b"RssShmem"))
