"""`galley run`: Snakemake in this process, under a lock of the operating system, so that a dead run is told from a living one.

A living run: one sentence. A dead one: what it left behind goes (its processes, Snakemake's lock, unfinished files, temporary folders),
and the same command goes on from what is finished. The lock ends with this process, however that ends; no job inherits it.

Source: ours, on Snakemake 9.27, whose own lock stays behind after kill -9.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated

import psutil
import typer

from galley.artifact import GalleyError
from galley.holding import claim, free, owner, private, release, sweep
from galley.interruption import GOES_ON, say
from galley.options import EFFORT, MIRROR, RECIPES, SeedsOption, checked, one_of
from galley.recipe import DEVICES, MISSING, SCALES, recipe_names

CORES = checked("word", "a whole number from 1, or all", lambda word: None if word == "all" or re.fullmatch(r"[1-9]\d{0,4}", word) else "")
LOCK = Path(".snakemake/galley.lock")
STALE = Path(".snakemake/locks")
MARK = "GALLEY_RUN"  # in the environment of what a run starts: the folder that it works in
TEMPORARY = "galley-run-"
PATIENCE_S = 1.0  # a terminal's Ctrl-C reaches the jobs by itself; whoever still runs then is told
GRACE_S = 10.0  # from SIGTERM to SIGKILL


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
    words = words_for(targets(recipes), config=config, cores=cores, profile=profile, dry_run=dry_run, more=context.meta[__name__])
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
    """Run Snakemake to its end and leave with its exit code; KeyboardInterrupt when it was told to stop."""
    own_commands()
    with stoppable() as asked:
        from snakemake.cli import main

        sys.argv = ["snakemake", *words]  # its records, and by them the console, say the command
        try:
            main(words)
        except SystemExit:
            if not asked:
                raise
    raise KeyboardInterrupt


def own_commands() -> None:
    """Let the jobs find this environment's commands first, though it was not activated: `.venv/bin/galley run ...` is enough."""
    here = Path(sys.executable).parent
    if (here / "galley").exists():
        os.environ["PATH"] = os.pathsep.join([str(here), *filter(None, [os.environ.get("PATH")])])


@contextlib.contextmanager
def stoppable() -> Iterator[list[int]]:
    """Within, Ctrl-C ends the jobs and then the run; a second one kills the jobs; yields the signals that came."""
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            threading.Timer(PATIENCE_S, lambda: end(children())).start()
            raise KeyboardInterrupt
        for process in children():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if len(asked) > 2:
            say(GOES_ON)
            os._exit(128 + signal.SIGINT)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


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
    """Remove what dead processes left under results/ and logs/, in the cache and among the temporary folders; return how much."""
    from galley.data.fetch import cache_dir

    gone = sweep(Path(tempfile.gettempdir()), names=re.compile(re.escape(TEMPORARY)))
    for top in (folder / "results", folder / "logs", cache_dir()):
        for below, folders, files in os.walk(top):
            gone += sweep(Path(below))
            folders[:] = [name for name in folders if not name.endswith(".part")]
            for name in files:
                if name.startswith(".") and name.endswith(".lock"):
                    free(Path(below, name))
                elif re.search(r"\.log\.progress(\.\d+)?$", name):  # nobody is left to say how far it is
                    Path(below, name).unlink(missing_ok=True)
    for script in (folder / ".snakemake").glob("shell_tmp.*"):
        for file in script.iterdir():
            file.unlink()
        script.rmdir()
    return gone


def tell(*, processes: int, locks: int, parts: int) -> None:
    """Say in a line what a dead run had left."""
    counts = {"its lock": locks, f"its processes ({processes})": processes, f"unfinished files and folders ({parts})": parts}
    said = [what for what, count in counts.items() if count]
    if said:
        say(f"going on after a run that was killed; removed: {', '.join(said)}")


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
