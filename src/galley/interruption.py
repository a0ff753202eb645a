"""How a command ends when it is stopped from outside: one line, its parts removed, and no traceback.

Source: ours; signal(7). Exit codes are the shell's: 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

GOES_ON = "interrupted; the same command goes on from what is finished"
_TOLD = threading.Event()
STOPPING = threading.Event()  # this process was told to end: what its jobs and its libraries say of that from then on is no news


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """End quietly on Ctrl-C and on SIGTERM (a cluster's time limit, a pod's eviction).

    The first signal unwinds, so that parts are removed; a second Ctrl-C ends at once, and whoever comes next sweeps.
    """
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) == 1:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            os._exit(128 + number)

    ours = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}  # what nobody, our own caller included, has taken
    main_thread = threading.current_thread() is threading.main_thread()
    mine = [number for number, usual in ours.items() if main_thread and signal.getsignal(number) is usual]
    for number in mine:
        signal.signal(number, stop)
    if not mine:
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        caught.append(signal.SIGINT)
    except SystemExit as end:
        told = next((number for number in ours if end.code == 128 + number), None)  # by typer, of a KeyboardInterrupt, or by galley.run
        if told is None:
            raise
        caught.append(told)
    if caught:
        tell_once()
        raise SystemExit(128 + caught[0]) from None


def tell_once() -> None:
    """Say that the same command goes on, in one line however often the process is told to end."""
    if not _TOLD.is_set():
        _TOLD.set()
        say(GOES_ON)


def say(line: str) -> None:
    """Write a line to standard error; where that is a file on a full disk, or a pipe that nobody reads, do without."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
