"""The long-lived runner: one per worker, it never runs untrusted code itself, it forks for each program and keeps the limits.

Frames both ways are a length and canonical plain bytes. Those from outside are trusted; what the runner sends out holds words
of programs, so the other side decodes them as untrusted.

Source: ours.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import filter as bpf
from galley.sandbox.inside import jail, linux, supervisor, tester, unit_tests
from galley.sandbox.inside.limits import MEBIBYTE, Layers
from galley.sandbox.inside.watch import Watch

MAX_REPORT = supervisor.MAX_CHANNEL + (8 << 20)
TMP_FILES = 4096  # files and folders that one program may make


class Runner:
    """The state of one runner: its layers, the stored inputs, the temporary folder in use."""

    def __init__(self, link: socket.socket, config: dict[str, Any]) -> None:
        self.link, self.config = link, config
        self.jailed = config["mode"] == "namespaces"
        self.layers = Layers(capabilities=self.jailed)
        self.blobs: dict[str, list[bytes]] = {}
        self.tmp_mb = 0  # size of the mounted temporary folder, 0: none
        self.own_pids = -1
        self.watch = Watch(-1)

    def prepare(self, build: Callable[[], jail.Handles] | None) -> list[str]:
        """Set up what all programs share; returns the names of the active layers."""
        names = [self.config["mode"]]
        if build is not None:
            handles = build()
            linux.prctl(linux.PR_SET_DUMPABLE, 0)
            self.watch, self.own_pids = Watch(handles.proc), handles.pids
            names += ["proc"] if handles.proc >= 0 else []
        os.environ.clear()
        os.environ.update(self.config["env"])
        for name in self.config["preload"]:
            importlib.import_module(name)
        if self.config["mode"] != "unsafe":
            code = bpf.build(linux.MACHINE)
            if code is not None:
                self.layers.seccomp = linux.Seccomp(code)
                names.append("seccomp")
            if linux.landlock_abi():
                names.append("landlock")
        self.layers.base_memory, self.layers.base_data = _own_size(self.watch.proc)
        gc.collect()
        gc.freeze()  # forks share these pages: the collector must not write to them
        return names

    def serve(self) -> None:
        """Answer requests until the other side hangs up."""
        while (request := self.receive()) is not None:
            if "store" in request:
                self.blobs[request["store"]] = request["blobs"]
            elif "forget" in request:
                self.blobs.pop(request["forget"], None)
            else:
                self.send(self.run(request))

    def receive(self) -> dict[str, Any] | None:
        """Read one request; None when the other side has gone."""
        head = _read(self.link, 8)
        return marshal.loads(_read(self.link, struct.unpack("<Q", head)[0])) if head else None

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        data = plain.dumps(message)
        self.link.sendall(struct.pack("<Q", len(data)) + data)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one program in a process tree of its own and return its report with what we saw from outside."""
        began = time.monotonic()
        self._fresh_tmp(job["limits"])
        read, write = os.pipe()
        pid = self._fork()
        if pid == 0:
            try:
                self.link.close()
                os.close(read)
                task = supervisor.Task(job, self.layers, self.blobs.get(job["do"].get("stored", ""), []))
                supervisor.supervise(task, write)
            finally:
                os._exit(1)
        os.close(write)
        reason, data = self.watch.follow(pid, read, self.link, job["limits"], self.layers)
        os.close(read)
        if not self.jailed:
            self.watch.sweep()
        _, status, usage = os.wait4(pid, 0)
        return {
            "id": job["id"],
            "report": data,
            "reason": reason,
            "status": os.waitstatus_to_exitcode(status),
            "wall_s": time.monotonic() - began,
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }

    def _fork(self) -> int:
        if not self.jailed:
            return os.fork()
        linux.unshare(linux.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            linux.setns(self.own_pids, linux.CLONE_NEWPID)
        return pid

    def _fresh_tmp(self, limits: dict[str, Any]) -> None:
        """Give the program an empty temporary folder of bounded size; an empty one is used again."""
        if not self.jailed:
            os.chdir("/")
            shutil.rmtree(self.config["tmp"], ignore_errors=True)
            Path(self.config["tmp"]).mkdir(mode=0o700)
            os.chdir(self.config["tmp"])
            return
        size = 4 * limits["file_mb"]
        if self.tmp_mb == size and not any(Path(jail.TEMPORARY).iterdir()) and not os.listxattr(jail.TEMPORARY):
            Path(jail.TEMPORARY).chmod(0o777)
            return
        os.chdir("/")
        if self.tmp_mb:
            linux.unmount(jail.TEMPORARY)
        options = f"size={size}m,nr_inodes={TMP_FILES},mode=777"
        linux.mount("tmp", jail.TEMPORARY, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
        os.chdir(jail.TEMPORARY)
        self.tmp_mb = size
        if linux.landlock_abi():
            if self.layers.ruleset is not None:
                os.close(self.layers.ruleset)
            self.layers.ruleset = linux.landlock_ruleset([jail.TEMPORARY], [f"/dev/{name}" for name in jail.DEVICES])


def _own_size(proc: int) -> tuple[int, int]:
    """Return this process's address space and private data in bytes."""
    try:
        place = os.open("self/statm", os.O_RDONLY, dir_fd=proc) if proc >= 0 else os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return 512 * MEBIBYTE, 256 * MEBIBYTE
    fields = os.read(place, 200).split()
    os.close(place)
    page = resource.getpagesize()
    return int(fields[0]) * page, int(fields[5]) * page


def _read(link: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        piece = link.recv(min(size, 1 << 20))
        if not piece:
            return b""
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def main(descriptor: int, config: dict[str, Any]) -> None:
    """Enter the jail, say that we are ready, and serve; the launcher's entry."""
    link = socket.socket(fileno=descriptor)
    runner: list[Runner] = []

    def inside(build: Callable[[], jail.Handles] | None = None) -> None:
        try:
            runner.append(Runner(link, config))
            names = runner[0].prepare(build)
            runner[0].send({"ready": True, "layers": names, "python": sys.version.split()[0]})
        except BaseException as error:
            with contextlib.suppress(OSError):
                _refuse(link, error)
            os._exit(1)
        runner[0].serve()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if config["mode"] == "namespaces":
            jail.enter(config["shown"], inside)
        else:
            inside()
    except BaseException as error:
        _refuse(link, error)
        os._exit(1)


def _refuse(link: socket.socket, error: BaseException) -> None:
    data = plain.dumps({"ready": False, "message": f"{error}" if isinstance(error, jail.Refused) else f"{type(error).__name__}: {error}"})
    link.sendall(struct.pack("<Q", len(data)) + data)


assert tester and unit_tests  # they add their kinds to the supervisor's, before the jail hides our source
