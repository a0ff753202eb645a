"""What a place to write must be, looked at before any work: nothing yet, or what may go; apart from what is read and what else is written.

A check takes a path and raises ValueError (or OSError) that says what is wrong with it, to be read after "PATH, which", as those of
`galley.inputs`. Files and folders that are made anew get their name by a rename, so that a link, a pipe or a device of that name would be
replaced by it, and is refused.

Source: ours.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from galley.inputs import Check, said


def new_file(mark: Check) -> Check:
    """Return a check that a file can be written: none is there, or one of 0 bytes, or one that passes the mark of what would replace it."""

    def writable(path: Path) -> None:
        _no_link(path)
        if os.path.lexists(path):
            if path.is_dir():
                raise ValueError("is a folder and no file")
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("is a pipe, a socket or a device and no file")
            if not _may(path, os.W_OK):
                raise ValueError("may not be written")
        _place(path.absolute().parent)
        if os.path.lexists(path) and path.stat().st_size:
            try:
                mark(path)
            except (OSError, ValueError) as error:
                raise ValueError(f"is no file that this command wrote: it {said(error)}") from None

    return writable


def added_to(path: Path) -> None:
    """Refuse a place that is no folder to add files to, nor one where such a folder can be made; a link to a folder is one."""
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError("is a link to nothing" if not path.exists() else "is a file and no folder")
    _place(path.absolute())


def made_anew(mark: Check | None = None, *, names: Sequence[str] = ()) -> Check:
    """Return a check that a folder can be made anew: none is there, or an empty one, or one that passes the mark of what would replace it.

    With names, it holds no other files than those.
    """

    def replaceable(path: Path) -> None:
        _no_link(path)
        added_to(path)
        there = sorted(one.name for one in path.iterdir() if not one.name.startswith(".snakemake")) if path.is_dir() else []
        if not there:
            return
        if mark is None:
            raise ValueError(f"is not empty, but holds {there[0]!r}")
        try:
            mark(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"holds other files, such as {there[0]!r}, which would be lost: it {said(error)}") from None
        more = [name for name in there if names and name not in names]
        if more:
            raise ValueError(f"holds other files, such as {more[0]!r}, which would be lost")

    return replaceable


def overlap(made: Path, other: Path) -> str | None:
    """Return how a place to write meets another path, links followed: it is also that one, lies in it or holds it; None if apart."""
    one, two = Path(made).resolve(), Path(other).resolve()
    if one == two or (one.exists() and two.exists() and one.samefile(two)):
        return "is also"
    return "lies in" if one.is_relative_to(two) else "holds" if two.is_relative_to(one) else None


def _no_link(path: Path) -> None:
    if path.is_symlink():
        raise ValueError(f"is a link (to {str(path.readlink())!r}), which would be replaced and not followed")


def _place(path: Path) -> None:
    """Refuse a folder in which nothing can be made: the nearest that exists above it decides."""
    while not _there(path):
        path = path.parent
    if not path.is_dir():
        raise ValueError(f"lies under {str(path)!r}, which is no folder")
    if not _may(path, os.W_OK | os.X_OK):
        raise ValueError(f"lies under {str(path)!r}, which may not be written")


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)
