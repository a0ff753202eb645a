"""One runner seen from outside: start it, send it programs, read its answers as untrusted plain data.

Source: ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.sandbox import plain
from galley.sandbox.inside import jail

START_S = 60.0  # imports of `preload` included
_BOOT = """
import json, sys, types
root, descriptor, config = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
for name, path in (("galley", root), ("galley.sandbox", root + "/sandbox")):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path]
from galley.sandbox.inside.runner import main
main(descriptor, config)
"""
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Worker:
    """A live runner. `descriptor` is ready to read when an answer is there."""

    def __init__(self, *, preload: Sequence[str] = (), hash_seed: int = 0, mode: str = "namespaces") -> None:
        ours, theirs = socket.socketpair()
        self._tmp = tempfile.mkdtemp(prefix="galley-unsafe-") if mode == "unsafe" else ""
        environment = ENVIRONMENT | {"PYTHONHASHSEED": str(hash_seed)}
        config = {
            "mode": mode,
            "shown": jail.shown_folders(),
            "preload": list(preload),
            "env": environment | ({"HOME": self._tmp, "TMPDIR": self._tmp} if self._tmp else {}),
            "tmp": f"{self._tmp}/work",
        }
        root = str(Path(__file__).parents[1])
        command = [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT, root, str(theirs.fileno()), json.dumps(config)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd="/",
        )
        theirs.close()
        self.link = ours
        self.stored: dict[str, int] = {}
        self._in, self._out = bytearray(), bytearray()
        try:
            self.link.settimeout(START_S)
            while (ready := self._message()) is None:
                if not self._fill():
                    raise GalleyError("no_sandbox: the runner ended before it was ready")
        except TimeoutError:
            self.kill()
            raise GalleyError(f"no_sandbox: the runner was not ready after {START_S:.0f} s") from None
        if not ready["ready"]:
            self.kill()
            raise GalleyError(f"no_sandbox: {ready['message']}")
        self.layers: list[str] = ready["layers"]
        self.link.setblocking(False)

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

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the answers that are complete; None when the runner has gone."""
        try:
            alive = self._fill()
        except BlockingIOError:
            return []
        found = []
        while (message := self._message()) is not None:
            found.append(message)
        return found if alive or found else None

    def _fill(self) -> bool:
        try:
            piece = self.link.recv(1 << 20)
        except ConnectionResetError:
            return False
        self._in += piece
        return bool(piece)

    def _message(self) -> dict[str, Any] | None:
        if len(self._in) < 8:
            return None
        (size,) = struct.unpack_from("<Q", self._in)
        if len(self._in) < 8 + size:
            return None
        data = bytes(self._in[8 : 8 + size])
        del self._in[: 8 + size]
        return plain.decode(data)

    def kill(self) -> None:
        """End the runner and all that is below it."""
        self.link.close()  # the runner ends when nobody listens
        self.process.kill()
        self.process.wait()
        if self._tmp:
            import shutil

            shutil.rmtree(self._tmp, ignore_errors=True)


assert os.name == "posix"
