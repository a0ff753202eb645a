"""How words are put on a channel, a program's above all. Standard library only: programs can reach this module's globals.

Source: ours.
"""

from __future__ import annotations

import collections
import marshal
import os
import socket
import struct
import traceback
from collections.abc import Callable
from typing import Any

MESSAGE, TRACEBACK = 500, 4000  # characters kept


def record(kind: bytes, payload: bytes) -> bytes:
    """Frame one message: a letter, a length, the payload."""
    return kind + struct.pack("<I", len(payload)) + payload


def write_all(descriptor: int, data: bytes, write: Callable[[int, Any], int] = os.write) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[write(descriptor, view) :]


def read_all(link: socket.socket, size: int) -> bytes:
    """Read exactly this many bytes; none when the other side has gone."""
    parts = []
    while size:
        piece = link.recv(min(size, 1 << 20))
        if not piece:
            return b""
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def name_of(error: BaseException) -> tuple[str, str]:
    """Return an exception's type and message, bounded; hostile ones included."""
    try:
        message = str.__getitem__(str(error), slice(MESSAGE))
    except BaseException as inner:
        message = f"<its message raised {type(inner).__name__}>"
    return str.__getitem__(type.__dict__["__name__"].__get__(type(error)), slice(MESSAGE)), message + ""


def describe(error: BaseException) -> tuple[str, str, str]:
    """As `name_of`, with a bounded traceback of the program's own lines."""
    try:
        frames = traceback.TracebackException(type(error), error, error.__traceback__, limit=-40)
        frames.stack[:] = [frame for frame in frames.stack if "galley/sandbox" not in frame.filename]
        text = "".join(frames.format())[-TRACEBACK:]
    except BaseException:
        text = ""
    return (*name_of(error), text)


def fail(channel: int, error: BaseException) -> None:
    """Report an exception and end the process."""
    write_all(channel, record(b"E", marshal.dumps(describe(error), 2)))
    os._exit(0)


def unraisable(channel: int, fault: Any) -> None:
    """Report the exception that ended the walk of `Tree.fork`; not those of destructors and threads of the program."""
    if fault.object is collections.deque:
        fail(channel, fault.exc_value)
