"""The seccomp filter: system calls that no program under test needs and that reach deep into the kernel.

Everything not listed is allowed: the namespaces and the read-only root already bound what a call can touch; the filter makes
the kernel's surface smaller. Calls that libraries probe answer "not implemented", so that they fall back; the rest "not permitted".

Source: ours; call numbers from the kernel's asm/unistd_64.h and asm-generic/unistd.h, classic BPF from linux/filter.h.
"""

from __future__ import annotations

import errno
import struct

# name: (x86_64, aarch64); None where an architecture lacks it
DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "personality": (135, 92),
    "seccomp": (317, 277),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
}
ABSENT = {  # memory or channels that no limit counts, and calls with a fallback
    "clone3": (435, 435),  # its flags are behind a pointer, out of a filter's sight; the C library falls back to clone
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
}
CLONE, SOCKET, PRLIMIT, IOCTL = (56, 220), (41, 198), (302, 261), (16, 29)
LAST_KNOWN = 456  # later calls did not exist when this list was made
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone takes
FAMILIES = (1, 2, 10)  # local, IPv4, IPv6 sockets; both last see only the namespace's own loopback
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

_LOAD, _JEQ, _JGT, _JSET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; an argument's low half comes first


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _refuse(code: int) -> bytes:
    return _step(_RETURN, _ERRNO | code)


def build(machine: str) -> bytes | None:
    """Return the filter's instructions for an architecture, or None where we have no table for it."""
    if machine not in AUDIT_ARCH:
        return None
    column = 0 if machine == "x86_64" else 1
    out = [_step(_LOAD, _ARCH), _step(_JEQ, AUDIT_ARCH[machine], 1), _step(_RETURN, _KILL), _step(_LOAD, _NUMBER)]
    out += [_step(_JGT, LAST_KNOWN, 0, 1), _refuse(errno.ENOSYS)]  # x32 calls are above it too
    for table, code in ((DENIED, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in table.values():
            if numbers[column] is not None:
                out += [_step(_JEQ, numbers[column], 0, 1), _refuse(code)]  # type: ignore[arg-type]
    argument = [_step(_LOAD, _ARGUMENT + 8 * i) for i in range(2)]
    out += [_step(_JEQ, CLONE[column], 0, 4), argument[0], _step(_JSET, NEW_NAMESPACES, 0, 1), _refuse(errno.EPERM), _step(_RETURN, _ALLOW)]
    out += [_step(_JEQ, PRLIMIT[column], 0, 4), argument[0], _step(_JEQ, 0, 1, 0), _refuse(errno.EPERM), _step(_RETURN, _ALLOW)]
    out += [_step(_JEQ, SOCKET[column], 0, 6), argument[0]]
    out += [_step(_JEQ, family, 3 - i, 0) for i, family in enumerate(FAMILIES)] + [_refuse(errno.EAFNOSUPPORT), _step(_RETURN, _ALLOW)]
    out += [_step(_JEQ, IOCTL[column], 0, 4), argument[1], _step(_JEQ, TIOCSTI, 1, 0), _step(_JEQ, TIOCLINUX, 0, 1), _refuse(errno.EPERM)]
    return b"".join([*out, _step(_RETURN, _ALLOW)])
