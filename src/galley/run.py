"""`galley run`: Snakemake in this process, under a lock of the operating system, so that a dead run is told from a living one.

A living run: one sentence. A dead one: what it left behind goes (its processes, Snakemake's lock, unfinished files, temporary folders),
and the same command goes on from what is finished. The lock ends with this process, however that ends; no job inherits it.

Source: ours, on Snakemake 9.27, whose own lock stays behind after kill -9.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated

import psutil
import typer

from galley.artifact import GalleyError
from galley.ground import check_ground, check_room
from galley.holding import claim, owner, private, release
from galley.interruption import STOPPING, tell_once
from galley.leftovers import MARK, TEMPORARY, children, end, found, tell, tidy, unlock
from galley.options import EFFORT, MIRROR, RECIPES, SeedsOption, checked, one_of
from galley.recipe import DEVICES, MISSING, SCALES, recipe_names

CORES = checked("word", "a whole number from 1, or all", lambda word: None if word == "all" or re.fullmatch(r"[1-9]\d{0,4}", word) else "")
LOCK = Path(".snakemake/galley.lock")
ENDS = {signal.SIGINT, signal.SIGTERM}
PATIENCE_S = 1.0  # a terminal's Ctrl-C reaches the jobs by itself; whoever still runs then is told


class WithWords(typer.core.TyperCommand):
    """A command that keeps apart what stands after `--`: those are Snakemake's own words."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse what stands before `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[__name__] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


def run(
    context: typer.Context,
    recipes: Annotated[list[str], typer.Argument(help="recipes such as mha2mla, `all`, or files such as results/table_mha2mla.csv")],
    scale: Annotated[str | None, typer.Option(help="smoke, laptop or paper; default: config.yaml's", callback=one_of(*SCALES))] = None,
    cores: Annotated[
        str | None, typer.Option(help="cores to use, or `all`; default: all, with a profile the profile's", callback=CORES)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda", callback=one_of(*DEVICES))] = None,
    seeds: SeedsOption = None,
    effort: Annotated[int | None, EFFORT] = None,
    mirror: Annotated[
        Path | None, typer.Option(help="folder with local copies of sources; default: $GALLEY_MIRROR", callback=MIRROR)
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help="accept: go on where a source is out of reach, though it changes what is made", callback=one_of(*MISSING)),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="where it runs: profiles/slurm, profiles/kubernetes or your own")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="say what would be made, and make nothing")] = False,
) -> None:
    """Make recipes' tables: start, or go on where a run was stopped, at whatever moment and however; words after `--` go to Snakemake.

    galley run mha2mla --scale smoke
    """
    config: Mapping[str, object] = {
        "scale": scale,
        "device": device,
        "seeds": seeds,
        "effort": effort,
        "mirror": mirror and mirror.resolve(),
        "missing": missing,
    }
    made = targets(recipes)
    check_ground(Path.cwd())
    words = words_for(made, config=config, cores=cores, profile=profile, dry_run=dry_run, more=context.meta[__name__])
    if dry_run:
        snakemake(words)
    with alone(Path.cwd()), own_temporary():
        snakemake(words)


def targets(asked: Iterable[str], *, recipes: Path = RECIPES) -> list[str]:
    """Return what to make: a recipe's table, `all`, or a path as it stands."""
    if not Path("Snakefile").is_file():
        raise GalleyError(f"there is no Snakefile in {Path.cwd()}; run it in the project's folder")
    known = recipe_names(recipes)
    wrong = [word for word in asked if word not in (*known, "all") and "/" not in word]
    if wrong:
        raise GalleyError(f"RECIPE is {wrong[0]!r}; it takes {', '.join([*known, 'all'])}, or a file such as results/table_mha2mla.csv")
    return [f"results/table_{word}.csv" if word in known else word for word in asked]


def words_for(
    made: list[str], *, config: Mapping[str, object], cores: str | None, profile: str | None, dry_run: bool, more: list[str]
) -> list[str]:
    """Return Snakemake's command line; `--config` takes its last place alone, so the caller's own is joined to ours."""
    own = [f"{key}={value}" for key, value in config.items() if value is not None]
    rest: list[str] = []
    inside = False
    for word in more:
        inside = word in ("--config", "-C") or (inside and not word.startswith("-"))
        if not inside:
            rest.append(word)
        elif "=" in word:
            own.append(word)
    words = [*(["--profile", profile] if profile else []), *(["--cores", cores or "all"] if cores or not profile else [])]
    return [*words, *made, *(["--dry-run"] if dry_run else []), *rest, *(["--config", *own] if own else [])]


def snakemake(words: list[str]) -> None:
    """Run Snakemake to its end and leave with its exit code, or with the shell's for the signal that it was told to stop by."""
    own_commands()
    with stoppable() as asked:
        from snakemake.cli import main

        sys.argv = ["snakemake", *words]  # its records, and by them the console, say the command
        logging.raiseExceptions = False  # a log on a full disk: what is wrong is said once, below, not with a trace for each record
        try:
            main(words)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if not asked:
                if getattr(error, "code", 1):
                    check_room(Path.cwd())
                raise
    raise SystemExit(128 + asked[0])


def own_commands() -> None:
    """Let the jobs find this environment's commands first, though it was not activated: `.venv/bin/galley run ...` is enough."""
    here = Path(sys.executable).parent
    if (here / "galley").exists():
        os.environ["PATH"] = os.pathsep.join([str(here), *filter(None, [os.environ.get("PATH")])])


@contextlib.contextmanager
def stoppable() -> Iterator[list[int]]:
    """Within, Ctrl-C or SIGTERM ends the jobs and then the run; a second one kills the jobs; yields the signals that came.

    Once one came, it stays so to the end of the process: what cleans up is not cut short.
    """
    asked: list[int] = []
    relayed: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(relayed.pop() if relayed else number)
        if len(asked) == 1:
            threading.Timer(PATIENCE_S if asked[0] == signal.SIGINT else 0, lambda: end(children())).start()
            raise KeyboardInterrupt
        for process in children():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if len(asked) > 2:
            tell_once()
            os._exit(128 + asked[0])

    def heard(came: bytes) -> None:
        if ENDS & set(came):
            STOPPING.set()  # before jobs that had the same signal are seen to fail
        if signal.SIGTERM in came and signal.getsignal(signal.SIGTERM) is not stop:  # Snakemake's scheduler would wait for the jobs
            relayed.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    before = {number: signal.signal(number, stop) for number in ENDS}
    with listening(heard):
        try:
            yield asked
        finally:
            for number, handler in before.items():
                signal.signal(number, stop if asked else handler)


@contextlib.contextmanager
def listening(heard: Callable[[bytes], None]) -> Iterator[None]:
    """Within, call `heard` in a thread with the numbers of the signals that come, whoever handles them by then."""
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    former = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while came := woken.recv(64):
            heard(came)

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        wakes.close()
        listener.join()
        woken.close()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder's run lock, and take away what a dead run left there; GalleyError, with nothing touched, while a run is alive."""
    folder = folder.resolve()
    handle = claim(folder / LOCK)
    if handle is None:
        raise GalleyError(f"a run is going on in {folder}: {owner(folder / LOCK)}; wait for it, or end it with kill -INT")
    try:
        left, living = found(folder)
        if living:
            since = time.strftime("%H:%M:%S", time.localtime(living[0].create_time()))
            raise GalleyError(f"snakemake runs in {folder}: process {living[0].pid} since {since}; wait for it, or end it with kill -INT")
        end(left)
        tell(processes=len(left), locks=unlock(folder), parts=tidy(folder))
        os.environ[MARK] = str(folder)
        yield
    finally:
        release(folder / LOCK, handle)


@contextlib.contextmanager
def own_temporary() -> Iterator[None]:
    """Give this run, and by Snakemake's resource `tmpdir` its jobs on this machine, a temporary folder that is known to be its own.

    The environment's TMPDIR stays: a job on another machine has not this folder.
    """
    before = tempfile.tempdir
    with private(Path(tempfile.gettempdir()), prefix=TEMPORARY) as folder:
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
