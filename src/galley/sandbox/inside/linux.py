"""The few system calls that Python 3.11 does not offer, through the C library.

Source: ours; the Linux manual pages of each call. Constants are the kernel's, equal on every architecture but for the call numbers.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_SUBREAPER = 1, 4, 8, 38, 22, 36
CALLS = {  # mount_setattr and later have one number everywhere
    "x86_64": {"pivot_root": 155, "capset": 126},
    "aarch64": {"pivot_root": 41, "capset": 91},
}
MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446
MACHINE = os.uname().machine

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """Return a call's result; raises OSError that names it when it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(number: int, *arguments: object, what: str) -> int:
    """Make a raw system call; raises OSError that names it."""
    return checked(libc.syscall(ctypes.c_long(number), *arguments), what)


def unshare(flags: int) -> None:
    """Move this process (its children, for a pid namespace) into new namespaces."""
    checked(libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Join the namespace behind a descriptor."""
    checked(libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount; the kernel's arguments."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    checked(libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount now; it goes when its last user does."""
    checked(libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root and put the old root at `old`."""
    syscall(CALLS[MACHINE]["pivot_root"], new.encode(), old.encode(), what="pivot_root")


def bind(source: str, target: str, *, writable: bool = False, devices: bool = False) -> None:
    """Bind a file or folder with all below it, read-only and without setuid unless told otherwise (Linux 5.12)."""
    mount(source, target, None, MS_BIND | MS_REC)
    flags = MS_NOSUID | (0 if writable else MS_RDONLY) | (0 if devices else MS_NODEV)  # MOUNT_ATTR_* have these very values
    attributes = struct.pack("<QQQQ", flags, 0, 0, 0)
    at_fdcwd, at_recursive = -100, 0x8000
    syscall(
        MOUNT_SETATTR,
        ctypes.c_int(at_fdcwd),
        target.encode(),
        ctypes.c_uint(at_recursive),
        attributes,
        ctypes.c_size_t(32),
        what=f"read-only {target}",
    )


def prctl(option: int, value: int = 0) -> None:
    """Set one process attribute."""
    zero = ctypes.c_ulong(0)
    checked(libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def set_capabilities(effective: int) -> None:
    """Keep exactly this bit set of capabilities (0: none), nothing inheritable."""
    header = struct.pack("<Ii", 0x20080522, 0)
    low, high = effective & 0xFFFFFFFF, effective >> 32
    syscall(CALLS[MACHINE]["capset"], header, struct.pack("<6I", low, low, 0, high, high, 0), what="capset")


def loopback_up() -> None:
    """Bring the namespace's own loopback interface up; it leads nowhere else."""
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        siocsifflags, up = 0x8914, 1
        fcntl.ioctl(probe, siocsifflags, struct.pack("16sH14x", b"lo", up))


class Seccomp:
    """A compiled filter; `install` is one cheap call, needs no_new_privs, and binds all children."""

    def __init__(self, program: bytes) -> None:
        self._code = ctypes.create_string_buffer(program, len(program))
        self._head = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(self._code)))

    def install(self) -> None:
        """Bind this process to the filter for good."""
        checked(libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), self._head, ctypes.c_ulong(0), ctypes.c_ulong(0)), "seccomp")


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 without it."""
    return max(0, libc.syscall(ctypes.c_long(LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def landlock_ruleset(writable: list[str], devices: list[str]) -> int:
    """Return a descriptor of rules: read and run anywhere, write under `writable` and to `devices`, nothing else."""
    abi = landlock_abi()
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    scoped = 3 if abi >= 6 else 0  # no abstract sockets and no signals out of the domain
    attributes = struct.pack("<QQQ", every, 0, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0), what="landlock")
    execute, write_file, read_file, read_dir, truncate = 1, 2, 4, 8, 1 << 14
    read_and_device = read_file | write_file | (truncate & every)
    rules = [("/", execute | read_file | read_dir), *((path, every) for path in writable), *((path, read_and_device) for path in devices)]
    for path, access in rules:
        if not Path(path).exists():
            continue
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("<Qi", access & every, place)
        syscall(LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0), what=f"landlock {path}")
        os.close(place)
    return ruleset


def landlock_restrict(ruleset: int) -> None:
    """Bind this process and its children to the rules for good."""
    syscall(LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0), what="landlock")
