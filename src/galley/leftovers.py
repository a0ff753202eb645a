"""What a run that was killed left behind (its processes, Snakemake's lock, unfinished files), and how that goes.

Only what Galley or its Snakemake made is touched: processes by the mark in their environment, locks and parts by their names
(`galley.holding`), states of progress by what they say, and nothing outside the folders that a run fills.

Source: ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from galley.data.cache import cache_dir
from galley.data.sources import load_sources
from galley.holding import LOCK, free, sweep
from galley.interruption import say
from galley.progress import SUFFIX, State

STALE = Path(".snakemake/locks")
MARK = "GALLEY_RUN"  # in the environment of what a run starts: the folder that it works in
TEMPORARY = "galley-run-"
TOLD = re.compile(rf"\.log{re.escape(SUFFIX)}(\.\d+)?$")
GRACE_S = 10.0  # from SIGTERM to SIGKILL


def found(folder: Path) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Return the processes that dead runs of a folder left, and Snakemake processes there that no run of ours started."""
    left, living = [], []
    with psutil.Process().oneshot():
        own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(folder):
                left.append(process)
            elif is_snakemake(process.cmdline()) and Path(process.cwd()) == folder:
                living.append(process)
    return left, living


def is_snakemake(words: list[str]) -> bool:
    """Return whether a process's command line is Snakemake's: its script, by an interpreter or not, or its module."""
    return any(Path(word).name == "snakemake" for word in words[:2]) or "-m snakemake" in " ".join(words[1:4])


def unlock(folder: Path) -> int:
    """Remove Snakemake's lock, which kill -9 leaves; return whether there was one."""
    stale = [*(folder / STALE).glob("*.lock")]
    for lock in stale:
        lock.unlink(missing_ok=True)
    return bool(stale)


def tidy(folder: Path) -> int:
    """Remove what dead processes left in the folders that runs fill and among the temporary ones; return how many parts there were."""
    gone = sweep(Path(tempfile.gettempdir()), names=re.compile(re.escape(TEMPORARY)))
    for below, files in filled(folder):
        gone += sweep(below)
        for path in (below / name for name in files):
            if path.name.endswith(LOCK):
                free(path)
            elif TOLD.search(path.name) and is_state(path):  # nobody is left to say how far it is
                path.unlink(missing_ok=True)
    for script in (folder / ".snakemake").glob("shell_tmp.*"):
        shutil.rmtree(script, ignore_errors=True)
    return gone


def filled(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders that a project's runs fill, each with its files: those below results/ and logs/, and the sources' in the cache."""
    registry, cache = folder / "recipes/sources.yaml", cache_dir()
    if cache.is_dir():
        yield cache, [path.name for path in cache.iterdir() if path.is_file()]
    names = load_sources(registry) if registry.is_file() else ()
    for top in (folder / "results", folder / "logs", *(cache / name for name in names)):
        for below, folders, files in os.walk(top):
            folders[:] = [name for name in folders if not name.endswith(".part")]
            yield Path(below), files


def is_state(path: Path) -> bool:
    """Return whether a file says how far a stage is, as galley.progress writes it."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        said = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(said, dict) and set(said) == {field.name for field in dataclasses.fields(State)}
    return False


def tell(*, processes: int, locks: int, parts: int) -> None:
    """Say in a line what a dead run had left."""
    counts = {"its lock": locks, f"its processes ({processes})": processes, f"unfinished files and folders ({parts})": parts}
    said = [what for what, count in counts.items() if count]
    if said:
        say(f"going on after a run that was killed; removed: {', '.join(said)}")


def children() -> list[psutil.Process]:
    """Return the processes below this one."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process().children(recursive=True)
    return []


def end(processes: list[psutil.Process]) -> None:
    """End processes: SIGTERM, so that they remove their parts, and after a while SIGKILL."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in _alive(processes, seconds=GRACE_S):
        with contextlib.suppress(psutil.Error):
            process.kill()
    _alive(processes, seconds=GRACE_S)


def _alive(processes: list[psutil.Process], *, seconds: float) -> list[psutil.Process]:
    """Wait until processes have ended; return those that have not. One that only its parent has not heard of has."""
    until = time.monotonic() + seconds
    while alive := [process for process in processes if _runs(process)]:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return alive


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
