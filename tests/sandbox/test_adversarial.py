"""Hostile programs: each ends in a verdict that is not a pass, within its limits, and leaves the host as it was."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from adversarial import escape, forge, resources

from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Program

ATTACKS = [*resources.ATTACKS, *escape.ATTACKS, *forge.ATTACKS]
FOLDERS = ("/", "/tmp", "/dev", "/dev/shm", "/etc", "/usr", str(Path(os.__file__).parent), str(Path.home()), str(Path.cwd()))
WRITTEN = {"x", "x.py", "own.so", "link", "os.py", "d", "disk", "tmp2", "own"}  # what the programs try to leave


def traces() -> list[str]:
    """Files of the programs on the host."""
    return [f"{folder}/{name}" for folder in FOLDERS for name in WRITTEN if os.access(folder, os.X_OK) and Path(folder, name).exists()]


def descendants() -> set[str]:
    """Processes below this one."""
    parents = {}
    for name in [path.name for path in Path("/proc").iterdir()]:
        if name.isdigit():
            try:
                parents[name] = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
    found, new = set(), {str(os.getpid())}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


@pytest.fixture(scope="module")
def outcomes():
    """Run every attack once, on two workers, beside canaries that must not be touched."""
    os.environ["GALLEY_CANARY"] = "CANARY"
    local, abstract = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    abstract.bind("\0galley-canary")
    abstract.listen()
    port = str(local.getsockname()[1])
    before, below = traces(), descendants()
    programs = [Program(f"{i} {a.name}", a.code.replace("PORT", port), a.do, a.limits) for i, a in enumerate(ATTACKS)]
    with Sandbox(workers=2) as sandbox:
        found = dict(zip([a.name + str(type(a.do)) for a in ATTACKS], sandbox.map(programs), strict=True))
    time.sleep(0.1)
    local.setblocking(False)
    abstract.setblocking(False)
    for server in (local, abstract):
        with pytest.raises(BlockingIOError):
            server.accept()
        server.close()
    del os.environ["GALLEY_CANARY"]
    return found, before, below


def test_there_are_enough_attacks_and_no_two_have_one_name():
    assert len(ATTACKS) >= 60
    assert len({a.name + str(type(a.do)) for a in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_an_attack_does_not_pass(attack, outcomes):
    outcome = outcomes[0][attack.name + str(type(attack.do))]
    assert outcome.verdict in attack.verdicts, outcome
    assert outcome.wall_s < attack.limits.wall_s + 2.0


def test_the_host_is_unchanged(outcomes):
    _, before, below = outcomes
    assert traces() == before
    assert descendants() <= below


def test_the_sandbox_still_works_after_an_attack():
    with Sandbox() as sandbox:
        for attack in (a for a in ATTACKS if a.name in ("fork bomb", "signal to everyone", "full disk")):
            sandbox.run(Program("a", attack.code, attack.do, attack.limits))
            assert sandbox.run(Program("b", "import os; assert not os.listdir('.')")).verdict == "pass"
