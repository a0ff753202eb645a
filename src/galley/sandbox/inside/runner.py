"""The long-lived runner: one per worker; it forks for each program, keeps the limits and relays what the program says.

It never runs untrusted code, never interprets a program's bytes, and keeps none: they go through one buffer, wiped after
each program, so that a program finds nothing of another in the memory it was forked from. It imports little: half of what a
trivial program costs is the copying of its pages.

Frames in are a length and plain data, trusted. Frames out are a letter, a length and bytes: C what the program said on its
channel, O its output, V the tester's report, E how it ended, R ready.

Source: ours.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from galley.sandbox import plain
from galley.sandbox.inside import filter as bpf
from galley.sandbox.inside import guest, jail, linux
from galley.sandbox.inside.limits import MEBIBYTE, Layers
from galley.sandbox.inside.report import read_all
from galley.sandbox.inside.tester import Tester
from galley.sandbox.inside.tree import Tree
from galley.sandbox.inside.watch import Watch

TMP_FILES = 4096  # files and folders that one program may make
PLANS: dict[str, Callable[..., None]] = {
    "Run": guest.plan_script,
    "Stdin": guest.plan_stdin,
    "Calls": guest.plan_calls,
    "Check": guest.plan_server,
    "UnitTests": guest.plan_unit_tests,
}


class Runner:
    """The state of one runner: its layers, the stored inputs, the temporary folder in use."""

    def __init__(self, link: socket.socket, config: dict[str, Any]) -> None:
        self.link, self.config = link, config
        self.jailed = config["mode"] == "namespaces"
        self.layers = Layers(capabilities=self.jailed)
        self.blobs: dict[str, list[bytes]] = {}
        self.tmp_mb = 0  # size of the mounted temporary folder, 0: none
        self.tmp_empty: os.stat_result | None = None  # as it was when it was mounted
        self.watch = Watch(link, -1)
        self.tester = Tester()
        self.hidden: list[str] = []

    def prepare(self, build: Callable[[], int] | None) -> list[str]:
        """Set up what all programs share; returns the names of the active layers."""
        names = [self.config["mode"]]
        if build is not None:
            self.watch.proc = build()
            names += ["proc"] if self.watch.proc >= 0 else []
        else:
            linux.prctl(linux.PR_SET_SUBREAPER, 1)
        if self.config["mode"] == "bwrap":
            self.watch.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
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
        self.hidden = [*guest.hidden_modules(), guest.UNIT_TESTS]
        self.layers.base_memory, self.layers.base_data = _own_size(self.watch.proc)
        compile("", "", "exec")  # the first one in a process makes types, for a millisecond
        gc.collect()
        gc.disable()
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
                for stdin in request["do"].get("inputs", [request["do"].get("stdin", "")]):
                    self.run(request, stdin.encode("utf-8", "surrogateescape"))

    def receive(self) -> dict[str, Any] | None:
        """Read one request; None when the other side has gone."""
        head = read_all(self.link, 8)
        return marshal.loads(read_all(self.link, struct.unpack("<Q", head)[0])) if head else None

    def run(self, job: dict[str, Any], stdin: bytes) -> None:
        """Run one program in a process tree of its own, relay what it says, and tell how it ended."""
        began, limits, kind = time.monotonic(), job["limits"], job["kind"]
        self._fresh_tmp(limits)
        resources = self.layers.resources(limits)
        if kind == "UnitTests":
            guest.import_unit_tests(mock="mock" in job["do"]["tests"] or "mock" in job["code"])
        captured = kind in ("Run", "Stdin")
        sources: dict[int, bytes] = {}
        if kind == "Check":
            to_program, theirs = (end.detach() for end in socket.socketpair())
        else:
            to_program, theirs = os.pipe()
            sources[to_program] = b"C"
        output, sink = os.pipe() if captured else (-1, os.open(os.devnull, os.O_WRONLY))
        source = _input(stdin)
        if captured:
            sources[output] = b"O"
        steps: list[Callable[[], Any]] = []
        become = lambda: guest.become_program(self.layers, resources, self.hidden, source, sink, theirs)  # noqa: E731
        steps.append(lambda: PLANS[kind](become(), job, self.blobs, steps))
        gc.collect(0)
        gc.freeze()  # what the program's collector need not look at, and so not copy
        tree = Tree(namespaces=self.jailed, alone=self.config["mode"] == "bwrap")
        program = tree.fork(steps)
        for descriptor in (theirs, source, sink):
            os.close(descriptor)
        watched = os.pidfd_open(program)
        if kind == "Check":
            sources[self.tester.begin(job["do"], self.layers, resources, to_program, watched)] = b"V"
        ended = self.watch.follow(tree, program, watched, self.tester if kind == "Check" else None, sources, limits)
        for descriptor in (to_program, watched, *(d for d in sources if d != to_program)):
            os.close(descriptor)
        self.watch.send(guest.record(b"E", marshal.dumps(ended | {"wall_s": time.monotonic() - began}, 2)))

    def send(self, kind: bytes, payload: bytes) -> None:
        """Send one frame."""
        self.link.sendall(guest.record(kind, payload))

    def _fresh_tmp(self, limits: dict[str, Any]) -> None:
        """Give the program an empty temporary folder of bounded size; an empty one is used again."""
        place = Path(self.config["tmp"])
        if not self.jailed:
            import shutil

            os.chdir("/")
            for item in place.iterdir():
                shutil.rmtree(item, ignore_errors=True) if item.is_dir() and not item.is_symlink() else item.unlink()
            os.chdir(place)
            if self.layers.seccomp is not None and self.layers.ruleset is None:
                self._landlock()
            return
        size = 4 * limits["file_mb"]
        options = f"size={size}m,nr_inodes={TMP_FILES},mode=777"
        if self.config["tmp"] != jail.TEMPORARY and jail.fresh_shared_tmp(self.config["shown"], options) and self.tmp_mb:
            self._landlock()  # the rules name folders as they are mounted now
        if self.tmp_mb == size and self._untouched(self.config["tmp"]):
            return
        os.chdir("/")
        if self.tmp_mb:
            linux.unmount(str(place))
        linux.mount("tmp", str(place), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
        os.chdir(place)
        self.tmp_mb, self.tmp_empty = size, place.stat()
        self._landlock()

    def _untouched(self, tmp: str) -> bool:
        """Return whether the folder has no entry (a tmpfs counts them in its size), no other mode and no attribute."""
        now, empty = os.stat(tmp), self.tmp_empty  # noqa: PTH116 - for every program
        return empty is not None and (now.st_size, now.st_mode) == (empty.st_size, empty.st_mode) and not os.listxattr(tmp)

    def _landlock(self) -> None:
        if linux.landlock_abi():
            if self.layers.ruleset is not None:
                os.close(self.layers.ruleset)
            self.layers.ruleset = linux.landlock_ruleset(
                list({self.config["tmp"], jail.TEMPORARY}), [f"/dev/{name}" for name in jail.DEVICES]
            )


def _input(stdin: bytes) -> int:
    if not stdin:
        return os.open(os.devnull, os.O_RDONLY)
    source = os.memfd_create("stdin")
    guest.write_all(source, stdin)
    os.lseek(source, 0, os.SEEK_SET)
    return source


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


def main(descriptor: int, config: dict[str, Any]) -> None:
    """Enter the jail, say that we are ready, and serve; the launcher's entry."""
    link = socket.socket(fileno=descriptor)

    def inside(build: Callable[[], int] | None = None) -> None:
        try:
            runner = Runner(link, config)
            layers = runner.prepare(build)
            runner.send(b"R", plain.dumps({"layers": layers, "message": ""}))
            runner.serve()
        except BaseException as error:
            _refuse(link, error)
            os._exit(1)

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
    """Say why this runner cannot go on."""
    text = str(error) if isinstance(error, jail.Refused) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):
        link.sendall(guest.record(b"R", plain.dumps({"layers": [], "message": text or "unknown"})))
