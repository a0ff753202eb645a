"""The screen: lines that stay, and on a terminal a footer below them that is drawn anew in place.

Source: ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterable
from typing import TextIO

from snakemake_logger_plugin_galley.words import fit

PLAIN = 100  # columns of a line where there is no terminal to ask
COLOURS = {"good": "32", "bad": "31", "dim": "2"}


class Screen:
    """Writes lines and the footer; what is written meanwhile by others would stand between them, so stages write to their logs."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self.stream, self.lock, self.drawn = stream, threading.Lock(), 0
        self.live = is_terminal(stream)
        self.colour = colour and self.live and not os.environ.get("NO_COLOR")

    @property
    def columns(self) -> int:
        """The width that a line may have."""
        return shutil.get_terminal_size((PLAIN, 24)).columns - 1 if self.live else PLAIN

    @property
    def rows(self) -> int:
        """The height of the terminal."""
        return shutil.get_terminal_size((PLAIN, 24)).lines

    def paint(self, text: str, kind: str) -> str:
        """Return a text in a colour where there are colours."""
        return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if self.colour else text

    def write(self, lines: Iterable[str], footer: Iterable[str] = ()) -> None:
        """Write lines that stay, and the footer below them."""
        said = "".join(f"{line}\n" for line in lines)
        below = [fit(line, self.columns) for line in footer] if self.live else []
        with self.lock, contextlib.suppress(OSError, ValueError):  # a pipe whose reader left must not end the run
            said = self._wiped() + said + "".join(f"{self.paint(line, 'dim')}\n" for line in below)
            self.drawn = len(below)
            if said:
                self.stream.write(said)
                self.stream.flush()

    def _wiped(self) -> str:
        """Return what takes the footer away: up to its first line, then clear to the end."""
        return f"\x1b[{self.drawn}A\r\x1b[J" if self.drawn else ""


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    with contextlib.suppress(ValueError, AttributeError):  # closed, or not a file at all
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return False
