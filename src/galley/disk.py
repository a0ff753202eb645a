"""Room on a disk: how libraries say that there is none, what a user reads of it, and how sizes read.

Source: ours.
"""

from __future__ import annotations

import errno

# What says so without an errno: Rust (safetensors, tokenizers), sqlite, torch's archive writer, numpy's tofile.
NO_ROOM = ("No space left on device", "Disk quota exceeded", "disk is full", "iostream error", "unexpected pos", "requested and ")


def no_room(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, says that the disk or the quota is full, in whatever library's words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in NO_ROOM):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def full(error: BaseException) -> str:
    """Return what a user reads of an error of a full disk that no atomic write has turned into its own words."""
    while not isinstance(error, OSError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    where = getattr(error, "filename", None)
    return f"the disk is full ({where or ' '.join(str(error).split())[:200]}); make room there, then run the same command again"


def size(count: float) -> str:
    """Return a number of bytes as people read it, in powers of ten."""
    unit, scale = next(((u, s) for u, s in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if count >= s), ("kB", 1e3))
    return f"{count / scale:.1f} {unit}" if count else "nothing"
