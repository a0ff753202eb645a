"""The layers one by one, by programs that try."""

from __future__ import annotations

import errno
import os
import platform

import pytest

from galley.sandbox import launch
from galley.sandbox.inside import filter as bpf
from galley.sandbox.inside import jail, linux
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program, Stdin

RAW = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    if number == "clone":
        pid = libc.syscall(arguments[0], ctypes.c_long(arguments[1]), None, None, None, None)
        if pid == 0: os._exit(0)
        return [pid, ctypes.get_errno()]
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return [result, ctypes.get_errno()]
"""
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(limits=Limits(cpu_s=2, wall_s=10, memory_mb=256)) as live:
        yield live


def values(sandbox, code, entry_point, inputs):
    outcome = sandbox.run(Program("x", code, Calls(entry_point, inputs)))
    assert outcome.verdict == "pass", outcome
    return [call.value for call in outcome.calls]


@pytest.mark.skipif(COLUMN is None, reason="no filter for this architecture")
def test_every_listed_system_call_is_refused_with_its_own_answer(sandbox):
    tables = ((bpf.DENIED, errno.EPERM), (bpf.ABSENT, errno.ENOSYS))
    listed = [(name, numbers[COLUMN], code) for table, code in tables for name, numbers in table.items() if numbers[COLUMN] is not None]
    found = values(sandbox, RAW, "call", [[number, 0, 0, 0, 0] for _, number, _ in listed])
    assert {name: got for (name, _, code), got in zip(listed, found, strict=True) if got != [-1, code]} == {}


@pytest.mark.skipif(COLUMN is None, reason="no filter for this architecture")
@pytest.mark.parametrize("flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000], ids=hex)
def test_no_new_namespace_by_clone_and_a_plain_one_is_allowed(sandbox, flag):
    clone, sigchld = bpf.CLONE[COLUMN], 17
    assert values(sandbox, RAW, "call", [["clone", clone, flag | sigchld]]) == [[-1, errno.EPERM]]
    ((pid, _),) = values(sandbox, RAW, "call", [["clone", clone, sigchld]])
    assert pid > 0


@pytest.mark.skipif(COLUMN is None, reason="no filter for this architecture")
def test_arguments_that_the_filter_looks_at(sandbox):
    prlimit, socket, ioctl = bpf.PRLIMIT[COLUMN], bpf.SOCKET[COLUMN], bpf.IOCTL[COLUMN]
    own, other, unix, packet, terminal = values(
        sandbox,
        RAW,
        "call",
        [[prlimit, 0, 7, 0, 0], [prlimit, 1, 7, 0, 0], [socket, 1, 1, 0], [socket, 17, 3, 0], [ioctl, 0, bpf.TIOCSTI, 0]],
    )
    assert own == [0, 0] and other == [-1, errno.EPERM]
    assert unix[0] >= 0 and packet == [-1, errno.EAFNOSUPPORT]
    assert terminal == [-1, errno.EPERM]


def test_an_unknown_system_call_does_not_exist(sandbox):
    assert values(sandbox, RAW, "call", [[bpf.LAST_KNOWN + 1], [0x40000000 + 39]]) == [[-1, errno.ENOSYS]] * 2


def test_the_filter_is_built_for_both_architectures_and_no_other():
    for machine in ("x86_64", "aarch64"):
        code = bpf.build(machine)
        assert code is not None and len(code) % 8 == 0 and len(code) // 8 < 4096
    assert bpf.build("riscv64") is None


def test_who_and_where_a_program_is(sandbox):
    code = """
import os, sys, socket
def look():
    return {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "cwd": os.getcwd(), "files": os.listdir("."),
            "env": sorted(os.environ), "root": sorted(os.listdir("/")), "dev": sorted(os.listdir("/dev")),
            "fds": [fd for fd in range(100) if valid(fd)], "interfaces": [n for _, n in socket.if_nameindex()] if False else []}
def valid(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
"""
    (seen,) = values(sandbox, code, "look", [[]])
    assert (seen["uid"], seen["gid"], seen["cwd"], seen["files"]) == (1000, 1000, jail.temporary(launch.shown_folders()), [])
    assert set(seen["groups"]) <= {1000, 65534}
    assert seen["fds"] == [0, 1, 2, 3]
    assert seen["dev"] == ["full", "null", "random", "shm", "urandom", "zero"]
    assert "home" not in seen["root"] and "etc" in seen["root"]
    assert not [
        name
        for name in seen["env"]
        if name not in {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONHASHSEED", "LC_CTYPE"} and "THREADS" not in name
    ]


def test_limits_are_set_on_the_program_and_cannot_be_raised(sandbox):
    code = """
import resource
def look():
    kinds = [resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE]
    return [resource.getrlimit(kind) for kind in kinds]
def lift():
    resource.setrlimit(resource.RLIMIT_CPU, (99, 99))
"""
    (limits,) = values(sandbox, code, "look", [[]])
    assert limits == [(2, 2), (16 << 20, 16 << 20), (64, 64), (0, 0)]
    outcome = sandbox.run(Program("x", code, Calls("lift", [[]])))
    assert (outcome.verdict, outcome.exception) == ("error", "ValueError")


def test_processes_threads_files_and_local_sockets_of_ordinary_programs_work(sandbox):
    code = """
import asyncio, concurrent.futures, multiprocessing, os, socket, subprocess, sys, tempfile, threading
from pathlib import Path
out = []
t = threading.Thread(target=out.append, args=(1,)); t.start(); t.join()
with concurrent.futures.ThreadPoolExecutor(3) as pool: out += pool.map(abs, [-2, -3])
with multiprocessing.Pool(2) as pool: out += pool.map(abs, [-4])
out.append(int(subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, check=True).stdout))
with tempfile.NamedTemporaryFile() as f: f.write(b"x")
Path("a").mkdir(); Path("a/b.txt").write_text("6"); out.append(int(Path("a/b.txt").read_text()))
server = socket.create_server(("127.0.0.1", 0)); client = socket.create_connection(server.getsockname()); client.close(); server.close()
asyncio.run(asyncio.sleep(0))
assert out == [1, 2, 3, 4, 5, 6], out
"""
    outcome = sandbox.run(Program("x", code, limits=Limits(cpu_s=5, wall_s=30)))
    assert outcome.verdict == "pass", outcome


def test_a_program_finds_nothing_of_the_one_before(sandbox):
    leave = (
        "import os, pathlib; pathlib.Path('left').write_text('x'); os.mkdir('d'); os.chmod('.', 0o700); import builtins; builtins.left = 1"
    )
    look = "import os, builtins; assert os.listdir('.') == [] and os.stat('.').st_mode & 0o777 == 0o777 and not hasattr(builtins, 'left')"
    assert [o.verdict for o in sandbox.map([Program("a", leave), Program("b", look)])] == ["pass", "pass"]


def test_randomness_is_the_same_for_every_program_and_hash_seed_is_kept():
    code = "print(hash('a'))"
    seen = []
    for seed in (0, 0, 1):
        with Sandbox(hash_seed=seed) as sandbox:
            seen.append(sandbox.run(Program("x", code)).stdouts)
    assert seen[0] == seen[1] != seen[2]


def test_input_output_programs(sandbox):
    code = "import sys\nprint(int(input()) * 2, file=sys.stdout)\nsys.exit()"
    outcome = sandbox.run(Program("x", code, Stdin(["3\n", "4", "no"])))
    assert outcome.stdouts == ("6\n", "8\n", "")
    assert (outcome.verdict, outcome.exception) == ("error", "ValueError")
    assert sandbox.run(Program("x", code, Stdin(["3", "4"]))).verdict == "pass"


@pytest.mark.skipif(linux.landlock_abi() == 0, reason="no Landlock in this kernel")
def test_layers_are_named(sandbox):
    assert sandbox.isolation == "namespaces+seccomp+landlock"
    assert os.getuid() >= 0
