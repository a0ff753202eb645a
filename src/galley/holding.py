"""Locks of the operating system: who works on a path now, and whether the maker of a leftover is gone.

An flock ends with its process, however that ends; a process id in a file may be another process's by then. A lock is a small file that
says whose it is, and that goes when it is free. On a file system without flock (some cluster disks) nobody waits and nothing is swept.
What is swept is known by its name: a lock ends in `.galley.lock`, a part is a folder that holds a file `.galley.owner`. Other programs'
files, hidden or not, have neither.

Source: ours; flock(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OWNER = ".galley.owner"  # in a private folder: the file whose lock says that its maker lives
LOCK = ".galley.lock"  # how a lock's name ends
EVERY = 0.1  # seconds between two looks at a lock that another process holds
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF)
UNOWNED_S = 3600.0  # an empty part is of a process that died before it put its owner file there, when it is older
PART = re.compile(r"^\..+\.[A-Za-z0-9_]+\.part$")  # a download that is resumed, `name.part`, is none


def lock_of(path: Path) -> Path:
    """Return the lock file of a path, hidden beside it."""
    return path.with_name(f".{path.name}{LOCK}")


def claim(path: Path) -> int | None:
    """Return a descriptor that holds the lock file, which then says whose it is; None while another process holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder went meanwhile, with whoever freed it
            continue
        if not _locked(handle):
            os.close(handle)
            return None
        if _still(path, handle):
            os.ftruncate(handle, 0)
            with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
                os.write(handle, f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode())
            return handle
        os.close(handle)  # its last holder removed the file between our opening and locking it


def release(path: Path, handle: int) -> None:
    """Remove a lock file and let go of it, in this order: who waits finds another file in its place, or none."""
    path.unlink(missing_ok=True)
    os.close(handle)


def owner(path: Path) -> str:
    """Return who holds a lock file, in words."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8") or "another process"
    return "another process"


@contextlib.contextmanager
def held(path: Path, *, what: str) -> Iterator[None]:
    """Hold a lock file; while another process does, wait for it, having said so once on standard error."""
    told, new = False, [folder for folder in path.absolute().parents if not folder.exists()]
    while (handle := claim(path)) is None:
        if not told:
            sys.stderr.write(f"{what}: {owner(path)} works on it; this process waits, and goes on from what that one finishes\n")
            sys.stderr.flush()
            told = True
        time.sleep(EVERY)
    try:
        yield
    finally:
        release(path, handle)
        with contextlib.suppress(OSError):  # folders that are made for the lock alone go with it: an error leaves nothing
            for folder in new:
                folder.rmdir()


@contextlib.contextmanager
def private(folder: Path, *, prefix: str, suffix: str = "", named: str | None = None) -> Iterator[Path]:
    """Yield a new folder in `folder` that is known to be this process's, and goes at the end; `named` by the processes that share it."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        own = folder / f"{prefix}{named}{suffix}" if named else Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=folder))
        if named:
            removed(own)
        if (handle := claim(own / OWNER)) is not None:
            break
    try:
        yield own
    finally:
        os.close(handle)
        shutil.rmtree(own, ignore_errors=True)


def sweep(folder: Path, *, names: re.Pattern[str] = PART) -> int:
    """Remove the private folders right in a folder whose makers are gone; return how many."""
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if names.match(entry.name)]
    except OSError:
        return 0
    return sum(removed(path) for path in found)


def removed(part: Path) -> bool:
    """Remove a part if it is one and its maker is gone, by the operating system's word; return whether it was."""
    try:
        handle = os.open(part / OWNER, os.O_RDWR)
    except FileNotFoundError:
        return _age(part) > UNOWNED_S and _emptied(part)
    except OSError:
        return False
    try:
        gone = _locked(handle, without=False)
        if gone:  # under its lock: a maker that has not locked it yet finds it held, or gone, and takes another
            shutil.rmtree(part, ignore_errors=True)
        return gone
    finally:
        os.close(handle)


def free(lock: Path) -> bool:
    """Remove a lock file that nobody holds; return whether there was one."""
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        unheld = _locked(handle, without=False) and _still(lock, handle)
        if unheld:
            lock.unlink(missing_ok=True)
        return unheld
    finally:
        os.close(handle)


def _emptied(folder: Path) -> bool:
    """Remove a folder if there is nothing in it; return whether it was."""
    with contextlib.suppress(OSError):
        folder.rmdir()
        return True
    return False


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - path.lstat().st_mtime
    return 0.0


def _locked(handle: int, *, without: bool = True) -> bool:
    """Try to lock an open file; `without` is the answer of a file system that has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return without and error.errno in NO_LOCKS
    return True


def _still(path: Path, handle: int) -> bool:
    """Return whether an open file still has its name."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
