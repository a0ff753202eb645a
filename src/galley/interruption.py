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
        if end.code != 128 + signal.SIGINT:  # what typer makes of a KeyboardInterrupt
            raise
        caught.append(signal.SIGINT)
    if caught:
        say(GOES_ON)
        raise SystemExit(128 + caught[0]) from None


def say(line: str) -> None:
    """Write a line to standard error; where that is a file on a full disk, or a pipe that nobody reads, do without."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
