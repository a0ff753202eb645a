"""Is a program really cut off? A probe that tries, from inside, what must not work, against canaries set up outside.

The quick part runs whenever a sandbox starts (a few milliseconds); `galley sandbox doctor` runs all of it and says what to do.

Source: ours.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galley.sandbox.inside import linux
from galley.sandbox.types import Calls, Limits, Program, Run

if TYPE_CHECKING:
    from galley.sandbox.pool import Sandbox

_SMALL = Limits(cpu_s=0.3, wall_s=5.0, memory_mb=64, processes=8)
_TRIES = """
import os, socket
def network(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
def route():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("192.0.2.1", 9)) == 0
def read(path):
    return os.access(path, os.F_OK) and bool(open(path).read())
def write(path):
    try:
        os.makedirs(path, exist_ok=True)
        open(os.path.join(path, "x"), "w").close()
        return True
    except OSError:
        return False
def environment(name):
    return name in os.environ
def memory(size):
    try:
        return len(bytearray(size)) == size
    except MemoryError:
        return False
def processes(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
def privileges():
    try:
        os.setuid(0)
        return True
    except OSError:
        return os.getuid() == 0
def attempt(name, arguments):
    try:
        return globals()[name](*arguments)
    except OSError:
        return False
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: `held` when it did not work."""

    name: str
    held: bool
    detail: str = ""


@contextlib.contextmanager
def _canaries() -> Iterator[list[tuple[str, list[Any]]]]:
    """Set up what a program must not reach; yields the attempts."""
    key = "GALLEY_SANDBOX_CANARY"
    with tempfile.TemporaryDirectory(prefix="galley-probe-") as folder, socket.create_server(("127.0.0.1", 0)) as server:
        (Path(folder) / "secret").write_text("canary")
        os.environ[key] = "canary"
        try:
            yield [
                ("network", [server.getsockname()[1]]),
                ("route", []),
                ("read", [f"{folder}/secret"]),
                ("write", [f"{folder}/written"]),
                ("environment", [key]),
                ("memory", [_SMALL.memory_mb * 16 << 20]),
                ("processes", [os.getpid()]),
                ("privileges", []),
            ]
        finally:
            del os.environ[key]


def quick(sandbox: Sandbox) -> list[Finding]:
    """Try everything that takes no time, in one program."""
    with _canaries() as attempts:
        outcome = sandbox.run(Program("probe", _TRIES, Calls("attempt", [list(attempt) for attempt in attempts]), _SMALL))
        written = Path(dict(attempts)["write"][0]).exists()  # inside, the same path may be writable: what counts is outside
        held = {"write": outcome.verdict == "pass" and not written}
        calls = zip(attempts, outcome.calls, strict=True)
        return [Finding(name, held.get(name, call.value is False), call.message) for (name, _), call in calls]


def slow(sandbox: Sandbox) -> list[Finding]:
    """Run into the limits that need time: CPU, wall clock, output, and a process left behind."""
    tries = {
        "CPU time": ("while True: pass", "timeout"),
        "wall time": ("import time; time.sleep(60)", "timeout"),
        "output": ("while True: print('x' * 65536)", "flood"),
        "process count": ("import os\nwhile True: os.fork()", "timeout error"),
        "early exit": ("import os; os._exit(0)", "no_result"),
    }
    limits = Limits(cpu_s=0.3, wall_s=1.0, memory_mb=64, processes=8)
    outcomes = sandbox.map([Program(name, code, Run(), limits) for name, (code, _) in tries.items()])
    return [Finding(outcome.id, outcome.verdict in tries[outcome.id][1].split(), outcome.verdict) for outcome in outcomes]


def kernel() -> list[tuple[str, str]]:
    """Say what this machine offers, with the way to get what is missing."""
    facts = [("kernel", f"{platform.system()} {platform.release()} {platform.machine()}")]
    facts.append(("user", "root: programs run as an unused id" if os.geteuid() == 0 else f"uid {os.geteuid()}"))
    abi = linux.landlock_abi()
    facts.append(
        (
            "Landlock",
            f"version {abi}" if abi else "missing: Linux 5.13 with CONFIG_SECURITY_LANDLOCK and `landlock` in the lsm= boot option",
        )
    )
    facts.append(("seccomp filter", "yes" if linux.MACHINE in linux.CALLS else f"none for {linux.MACHINE}: x86_64 and aarch64 have one"))
    facts.append(
        ("bubblewrap", shutil.which("bwrap") or "not installed: apt install bubblewrap (needed only where own namespaces are refused)")
    )
    for path, wrong, advice in _SWITCHES:
        place = Path(path)
        if place.exists() and place.read_text().strip() == wrong:
            facts.append((place.name, advice))
    return facts


_SWITCHES = (
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "user namespaces are off: sysctl kernel.unprivileged_userns_clone=1, or bubblewrap",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "user namespaces are off: sysctl user.max_user_namespaces=10000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor allows user namespaces to named programs only (Ubuntu 23.10 and later): install bubblewrap with its profile, "
        "or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
ADVICE = """\
No layer that isolates is allowed here. In a container: start it with user namespaces permitted
(Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined;
Kubernetes: hostUsers: false, or a sandboxed runtime class; Apptainer and rootless Podman usually permit them).
Programs are never run bare unless you say --unsafe, and then every row says so."""
