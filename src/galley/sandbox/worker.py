"""One runner seen from outside: start it, send it programs, read its answers as untrusted plain data.

Source: ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from galley.artifact import GalleyError
from galley.sandbox import launch, plain
from galley.sandbox.inside import jail

START_S = 60.0  # imports of `preload` included
END_S = 2.0  # for a runner to end by itself


class Worker:
    """A live runner. `descriptor` is ready to read when an answer is there."""

    def __init__(self, *, preload: Sequence[str] = (), hash_seed: int = 0, mode: str = "namespaces", core: int | None = None) -> None:
        """Start a runner, on one core only if one is named, and wait until it is ready."""
        ours, theirs = socket.socketpair()
        self._tmp = tempfile.mkdtemp(prefix="galley-unsafe-") if mode == "unsafe" else ""
        tmp = self._tmp or (jail.TEMPORARY if mode == "bwrap" else jail.temporary(launch.shown_folders()))
        env = launch.environment(tmp, hash_seed)
        command = launch.command(mode, descriptor=theirs.fileno(), tmp=tmp, preload=preload, env=env)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("GALLEY_SANDBOX_DEBUG") else subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=env,
            cwd="/",
        )
        if core is not None:
            os.sched_setaffinity(self.process.pid, {core})  # what it forks inherits this
        theirs.close()
        self.link = ours
        self.stored: dict[str, int] = {}
        self._in, self._out = bytearray(), bytearray()
        ready = self._wait_until_ready()
        if ready["message"]:
            self.kill()
            raise GalleyError(f"no_sandbox: {ready['message']}")
        self.layers: list[str] = ready["layers"]
        self.link.setblocking(False)

    def _wait_until_ready(self) -> dict[str, Any]:
        self.link.settimeout(START_S)
        frames: list[tuple[bytes, bytes]] = []
        try:
            while not frames:
                if not self._fill():
                    return {"message": "the runner ended before it was ready"}
                frames = self._frames()
        except TimeoutError:
            return {"message": f"the runner was not ready after {START_S:.0f} s"}
        return plain.decode(frames[0][1])

    @property
    def descriptor(self) -> int:
        """The descriptor to watch."""
        return self.link.fileno()

    @property
    def writing(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._out)

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message and send what goes without waiting."""
        data = plain.dumps(message)
        self._out += struct.pack("<Q", len(data)) + data
        self.flush()

    def flush(self) -> None:
        """Send what goes without waiting."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._out:
                sent = self.link.send(memoryview(self._out)[: 1 << 20])
                del self._out[:sent]

    def receive(self) -> list[tuple[bytes, bytes]] | None:
        """Return the frames that are complete; None when the runner has gone."""
        try:
            alive = self._fill()
        except BlockingIOError:
            return []
        found = self._frames()
        return found if alive or found else None

    def _fill(self) -> bool:
        try:
            piece = self.link.recv(1 << 16)  # more would be mapped and unmapped each time
        except ConnectionResetError:
            return False
        self._in += piece
        return bool(piece)

    def _frames(self) -> list[tuple[bytes, bytes]]:
        found, at = [], 0
        while len(self._in) - at >= 5:
            (size,) = struct.unpack_from("<I", self._in, at + 1)
            if len(self._in) - at < 5 + size:
                break
            found.append((bytes(self._in[at : at + 1]), bytes(self._in[at + 5 : at + 5 + size])))
            at += 5 + size
        del self._in[:at]
        return found

    def kill(self) -> None:
        """End the runner and all that is below it."""
        self.link.close()  # the runner ends when nobody listens
        try:
            self.process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._tmp:
            shutil.rmtree(self._tmp, ignore_errors=True)
