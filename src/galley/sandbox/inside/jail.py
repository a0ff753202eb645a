"""Build the jail: own namespaces, a read-only root with the interpreter in it, and an ordinary user.

Three processes, since each step needs the one before: the launcher (outside) writes the child's user map; the child moves
into new namespaces and builds the root; its own child is process 1 of the new process tree and becomes the runner.
The runner keeps, inside its own user namespace only, what it takes to give each program a fresh process tree and a fresh
temporary folder. Programs keep nothing.

Source: ours; user_namespaces(7), mount_namespaces(7), pivot_root(2), capabilities(7).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from galley.sandbox.inside import linux

GUEST = 1000  # the user id that programs see
HOST_GUEST = 64999  # what it is outside when the launcher is root: nobody's, so that limits on processes bind
CAPABILITIES = (1 << 21) | (1 << 24) | (1 << 1) | (1 << 3) | (1 << 5)  # sys_admin, sys_resource, dac_override, fowner, kill
DEVICES = ("null", "zero", "full", "random", "urandom")
TEMPORARY, SCRATCH = "/tmp", "/scratch"
KEPT = "/.kept"  # where folders below /tmp are kept, to be shown again in every new /tmp
ETC = {
    "passwd": f"root:x:0:0:root:/nowhere:/bin/false\nguest:x:{GUEST}:{GUEST}:guest:/:/bin/sh\n",
    "group": f"root:x:0:\nguest:x:{GUEST}:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def temporary(shown: Sequence[str]) -> str:
    """Return the programs' own folder: /tmp, or /scratch beside it where the interpreter itself lives in /tmp."""
    return SCRATCH if below_tmp(shown) else TEMPORARY


def below_tmp(shown: Sequence[str]) -> list[str]:
    """Return the folders in /tmp that must stay in sight."""
    return [folder for folder in shown if folder.startswith(f"{TEMPORARY}/")]


def fresh_shared_tmp(shown: Sequence[str], options: str) -> bool:
    """Mount an empty, writable /tmp in which those folders, and nothing else, are seen; False when a clean one is used again."""
    folders = below_tmp(shown)
    tops = {folder.split("/")[2] for folder in folders}
    place = Path(TEMPORARY)
    if place.is_mount():
        if {item.name for item in place.iterdir()} == tops:
            return False
        linux.unmount(TEMPORARY)
    linux.mount("tmp", TEMPORARY, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    for number, folder in enumerate(folders):
        Path(folder).mkdir(parents=True)
        linux.bind(f"{KEPT}/{number}", folder)
    return True


class Refused(RuntimeError):
    """A step that this machine does not allow; the message says which."""


def enter(shown: Sequence[str], runner: Callable[[Callable[[], int]], None]) -> int:
    """Run `runner(build)` in new namespaces, where `build()` makes a root that shows these folders read-only
    and returns a descriptor of the new process tree's /proc (-1 where masked).

    Returns the runner's exit status to the launcher outside. Raises Refused, in whichever of the three processes a step fails.
    """
    ours, theirs = socket.socketpair()
    os.umask(0o022)
    child = os.fork()
    if child == 0:
        ours.close()
        _inside(theirs, shown, runner)
    theirs.close()
    if ours.recv(1) == b"u":
        _write_maps(child)
        ours.send(b"m")
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _inside(outside: socket.socket, shown: Sequence[str], runner: Callable[[Callable[[], int]], None]) -> None:
    os.setsid()
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    if os.geteuid() == 0:
        os.setgroups([])
    kinds = linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET
    kinds |= linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
    step("new namespaces", linux.unshare, kinds)
    outside.send(b"u")
    if outside.recv(1) != b"m":
        os._exit(1)
    step("loopback", linux.loopback_up)
    step("user map", _become_guest)
    first = os.fork()
    if first:
        _, status = os.waitpid(first, 0)
        os._exit(min(255, abs(os.waitstatus_to_exitcode(status))))
    outside.close()
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    runner(lambda: _build_root(shown))
    os._exit(0)


def step(name: str, do: Callable[..., object], *arguments: object) -> None:
    """Do one step; raises Refused that names it."""
    try:
        do(*arguments)
    except OSError as error:
        raise Refused(f"{name}: {error.strerror or error}") from None


def _write_maps(child: int) -> None:
    """Map the guest to an unused id when we may choose, else to ourselves."""
    place = Path(f"/proc/{child}")
    uid, gid = os.geteuid(), os.getegid()
    maps = [(f"0 {uid} 1\n{GUEST} {HOST_GUEST} 1\n", f"0 {gid} 1\n{GUEST} {HOST_GUEST} 1\n")] if uid == 0 else []
    for users, groups in [*maps, (f"{GUEST} {uid} 1\n", f"{GUEST} {gid} 1\n")]:
        try:
            (place / "uid_map").write_text(users)
        except OSError:
            continue
        (place / "setgroups").write_text("deny")
        (place / "gid_map").write_text(groups)
        return


def _become_guest() -> None:
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    if "0" in Path("/proc/self/uid_map").read_text().split()[:1]:
        os.setresgid(GUEST, GUEST, GUEST)
        os.setresuid(GUEST, GUEST, GUEST)
    if os.getuid() != GUEST:
        raise OSError(1, "the kernel took no user map")
    linux.set_capabilities(CAPABILITIES)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)  # a change of user has reset it


def _build_root(shown: Sequence[str]) -> int:
    step("private mounts", linux.mount, "none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    step("new root", linux.mount, "root", "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,nr_inodes=512,mode=755")
    os.chdir("/tmp")
    Path("old").mkdir()
    step("pivot_root", linux.pivot_root, ".", "old")
    os.chdir("/")
    for folder in shown:
        _show(folder)
    for number, folder in enumerate(below_tmp(shown)):
        Path(f"{KEPT}/{number}").mkdir(parents=True)
        step(f"keep {folder}", linux.bind, f"/old{folder}", f"{KEPT}/{number}")
    for name, text in ETC.items():
        Path("/etc").mkdir(exist_ok=True)
        (Path("/etc") / name).write_text(text)
    for name in ("ld.so.cache", "localtime", "mime.types"):
        if Path(f"/old/etc/{name}").is_file():
            (Path("/etc") / name).touch()
            step(f"show /etc/{name}", linux.bind, str(Path(f"/old/etc/{name}").resolve()), f"/etc/{name}")
    Path("/dev").mkdir()
    for name in DEVICES:
        (Path("/dev") / name).touch()
        step(f"/dev/{name}", lambda d: linux.bind(f"/old/dev/{d}", f"/dev/{d}", writable=True, devices=True), name)
    Path("/dev/shm").symlink_to(temporary(shown))
    for folder in (temporary(shown), "/.proc"):
        Path(folder).mkdir(exist_ok=True)
    proc = _own_proc()
    step("leave the old root", linux.unmount, "/old")
    Path("/old").rmdir()
    flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    step("read-only root", linux.mount, "none", "/", None, flags)
    return proc


def _own_proc() -> int:
    """Mount the process tree's own /proc for the runner's eyes only; -1 where the kernel refuses (masked /proc in containers)."""
    try:
        linux.mount("proc", "/.proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        descriptor = os.open("/.proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        linux.unmount("/.proc")
        return descriptor
    except OSError:
        return -1


def _show(folder: str) -> None:
    """Show a host folder at its own path, read-only; a symbolic link such as /lib stays one."""
    old, new = Path(f"/old{folder}"), Path(folder)
    if new.exists() or new.is_symlink() or not (old.is_symlink() or old.exists()):
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    if old.is_symlink():
        new.symlink_to(old.readlink())
        return
    new.mkdir()
    step(f"show {folder}", linux.bind, str(old), str(new))
