"""Progress of a stage's loops: a bar for whoever reads the log, and a small state file beside the log for whoever watches the run.

Under Snakemake a stage's standard error is its log, so the log is found by itself: `<log>.progress` holds what is done of how much,
at most once a second, and goes when the loop ends. Elsewhere (a terminal, a pipe) nothing is written but the bar.

Source: ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from galley.redact import for_a_reader

T = TypeVar("T")
SUFFIX = ".progress"
EVERY = 1.0  # seconds between two writes, whatever the number of bars


@dataclass(frozen=True)
class State:
    """What a loop says of itself; `total` is None where it is unknown, `when` is the time of the clock in seconds."""

    what: str
    done: int
    total: int | None
    rate: float
    when: float

    @property
    def left(self) -> float | None:
        """Seconds that are left at the rate so far."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate > 0 else None


def progress(things: Iterable[T], *, what: str, **bar: Any) -> Iterable[T]:
    """Return the things with a progress bar that appears when they take over ten seconds; in a log file a line every ten."""
    from tqdm.auto import tqdm

    shown = tqdm(things, desc=what, delay=10, mininterval=0.5 if sys.stderr is not None and sys.stderr.isatty() else 10, **bar)
    log = own_log()
    return shown if log is None else _told(shown, log, State(what, bar.get("initial", 0), getattr(shown, "total", None), 0.0, 0.0))


def own_log() -> Path | None:
    """Return the file that this process's standard error goes to, if it is a log that still has its name."""
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISREG(os.fstat(2).st_mode):
            path = Path("/proc/self/fd/2").readlink()
            return path if path.suffix == ".log" and path.exists() else None
    return None


def read_state(log: Path, *, since: float) -> State | None:
    """Return what the stage of a log last said, unless it said so before `since`: a stage that was killed leaves its file."""
    try:
        state = State(**json.loads(state_file(log).read_text(encoding="utf-8")))
        numbers = (state.when, state.done, state.rate, *((state.total,) if state.total is not None else ()))
        sound = isinstance(state.what, str) and all(isinstance(n, int | float) and abs(n) < 1e15 for n in numbers)
        return state if sound and state.when >= since else None
    except (OSError, ValueError, TypeError, RecursionError):  # absent, half a file, or not ours
        return None


def state_file(log: Path) -> Path:
    """Return where the stage of a log keeps its state."""
    return Path(f"{log}{SUFFIX}")


def _told(things: Iterable[T], log: Path, state: State) -> Iterator[T]:
    """Pass the things on and tell how many; a loop within another one leaves the telling to it."""
    teller = _Teller(log, state)
    try:
        for thing in things:
            yield thing
            teller.step()
    finally:
        teller.close()


class _Teller:
    """Writes the state of the outermost loop; it never fails, and costs a look at the clock a step."""

    outermost: ClassVar[_Teller | None] = None
    next_write: ClassVar[float] = 0.0

    def __init__(self, log: Path, state: State) -> None:
        self.path, self.state, self.done, self.wrote = state_file(log), state, state.done, False
        self.start = time.monotonic()
        if _Teller.outermost is None:
            _Teller.outermost = self
        self._write()

    def step(self) -> None:
        self.done += 1
        self._write()

    def close(self) -> None:
        if _Teller.outermost is self:
            _Teller.outermost = None
        if self.wrote:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        now = time.monotonic()
        if _Teller.outermost is not self or now < _Teller.next_write:
            return
        _Teller.next_write = now + EVERY
        rate = (self.done - self.state.done) / max(now - self.start, 1e-9)
        said = asdict(self.state) | {"done": self.done, "rate": rate, "when": time.time()}
        part = Path(f"{self.path}.{os.getpid()}")  # the processes of one launch share a log
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(for_a_reader(said)), encoding="utf-8")
            part.replace(self.path)
            self.wrote = True
