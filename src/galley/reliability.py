"""`galley bench reliability`: kill -9 at random moments, the same command again, and the bytes of an uninterrupted run at the end.

Moments are uniform over the time of the uninterrupted run. A kill takes the whole process group (a closed terminal, an out-of-memory
killer), Snakemake alone, or one process of a job. Nothing is done by hand between two runs.

Source: ours.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from galley.artifact import GalleyError, atomic_path
from galley.interruption import say
from galley.leftovers import MARK

TREE = ("Snakefile", "config.yaml", "rules", "recipes", "profiles")
WAYS = ("group", "snakemake", "job")  # what a kill takes
A_TREE = 25  # kills in one copy of the project, before the next
MEASURED = ["wall_s", "cpu_s", "peak_rss_mib"]  # of runs: what no two runs share
COMPARED = ("results/table_*.csv", "results/claims_*.csv", "results/**/*.items.parquet", "results/**/*.runs.csv")
FAILURES = 3  # runs in a row that fail without a kill: the same command does not go on


@dataclass
class Trial:
    """A copy of the project in which a command runs; it keeps its own cache and temporary folder, so that leftovers are its own."""

    folder: Path
    command: Sequence[str]
    seen: Counter[str] = field(default_factory=Counter)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command, in a process group of its own."""
        for name in ("tmp", "cache"):
            (self.folder / name).mkdir(exist_ok=True)
        own = {"GALLEY_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp")}
        self.seen["runs"] += 1
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=os.environ | own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def finish(self, moments: Sequence[float] = (), *, rng: random.Random) -> None:
        """Run the command until it is through, with a kill at each of these seconds of running that it still runs at."""
        spent, ahead, failed = 0.0, list(moments), 0
        process, hurt = self.start(), False
        while True:
            began = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, ahead[0] - spent) if ahead else None)
            spent += time.monotonic() - began
            if process.poll() is None:
                ahead.pop(0)
                hurt = kill(process, rng=rng, seen=self.seen)
                say(f"killed after {spent:.0f} s: {dict(self.seen)}")
            elif process.returncode == 0:
                return
            else:
                failed = 0 if hurt else failed + 1  # a job was killed under it: it said so, and ended
                self.seen["runs that failed by themselves"] += not hurt  # where a user would have to do something
                if failed == FAILURES:
                    raise GalleyError(f"{' '.join(self.command)} does not go on in {self.folder}; see the file output there")
            if process.poll() is not None:
                process, hurt = self.start(), False

    def leftovers(self) -> list[str]:
        """Return what the runs left: processes, unfinished files, locks and temporary folders."""
        found = [
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.name.endswith((".part", ".lock", ".progress"))
        ]
        found += [f"tmp/{path.name}" for path in (self.folder / "tmp").iterdir()]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder.resolve()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"process {process.pid}: {' '.join(process.cmdline())}")
        return found


def kill(process: subprocess.Popen[bytes], *, rng: random.Random, seen: Counter[str]) -> bool:
    """Kill what a throw of the dice says; return whether the run goes on, though it will end with an error."""
    way = rng.choice(WAYS)
    jobs = psutil.Process(process.pid).children(recursive=True)
    seen["kills"] += 1
    if way == "job" and jobs:
        with contextlib.suppress(psutil.Error):
            rng.choice(jobs).kill()
        seen["kills of a job's process"] += 1
        return True
    if way == "snakemake":
        process.kill()
        seen["kills of snakemake alone"] += 1
    else:
        os.killpg(process.pid, signal.SIGKILL)
        seen["kills of the process group"] += 1
    process.wait()
    return False


def write_bench(
    out: Path,
    *,
    kills: int = 50,
    seed: int = 0,
    asked: Sequence[str] = ("all", "--scale", "smoke", "--cores", "2"),
    project: Path = Path(),
    whole: Path | None = None,
    seconds: float | None = None,
) -> None:
    """Write the rows. `asked`: the words of `galley run`; `whole`: a finished copy, if there is one, which took `seconds`."""
    rng = random.Random(seed)
    command = [sys.executable, "-m", "galley", "run", *asked]
    top = Path(tempfile.mkdtemp(prefix="gb-"))  # stays where something went wrong: it is the evidence
    if whole is None or seconds is None:
        uninterrupted = Trial(copied(project, top / "whole"), command)
        began = time.monotonic()
        uninterrupted.finish(rng=rng)
        whole, seconds = uninterrupted.folder, time.monotonic() - began
        say(f"uninterrupted: {seconds:.0f} s")
    seen: Counter[str] = Counter()
    different: list[str] = []
    left: list[str] = []
    while seen["kills"] < kills:
        trial = Trial(copied(project, top / f"killed{seen['trees']}"), command)
        count = min(A_TREE, kills - seen["kills"])
        trial.finish(sorted(rng.uniform(0, seconds) for _ in range(count)), rng=rng)
        different += differing(whole, trial.folder)
        left += trial.leftovers()
        seen += trial.seen
        seen["trees"] += 1
        say(f"{seen['kills']} of {kills} kills, {seen['runs']} runs; {len(different)} files differ, {len(left)} leftovers")
        for what in (*different, *left):
            say(f"  {what}")
        if not (different or left):
            shutil.rmtree(trial.folder)
    with atomic_path(out) as part:
        rows(seen, different=different, left=left).to_csv(part, index=False)
    if different or left:
        say(f"what differs or was left is in {top}")
    else:
        shutil.rmtree(top)


def rows(seen: Counter[str], *, different: list[str], left: list[str]) -> pd.DataFrame:
    """Return the bench's rows: counts, and a goal where there is one."""
    by_hand = seen.pop("runs that failed by themselves", 0)
    goals = {"files that differ": (len(different), 0), "leftovers": (len(left), 0), "manual steps": (by_hand, 0)}
    counts = {**{what: (count, None) for what, count in sorted(seen.items())}, **goals}
    made = [
        {"part": "reliability", "metric": what, "unit": "count", "ours": count, "goal": goal,
         "met": None if goal is None else count <= goal, "n": seen["kills"], "device": "cpu"}
        for what, (count, goal) in counts.items()
    ]  # fmt: skip
    return pd.DataFrame(made)


def copied(project: Path, folder: Path) -> Path:
    """Copy what a run reads of a project; return the copy."""
    folder.mkdir()
    for name in TREE:
        source = project / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copyfile(source, folder / name)
    return folder


def differing(whole: Path, killed: Path) -> list[str]:
    """Return the result files of which two trees have other bytes or one has none; of runs, but for what was measured."""
    names = {path.relative_to(tree) for tree in (whole, killed) for pattern in COMPARED for path in tree.glob(pattern) if path.is_file()}
    return [str(name) for name in sorted(names) if not same(whole / name, killed / name)]


def same(one: Path, other: Path) -> bool:
    """Return whether two files are the same, of runs without the measured columns."""
    if not (one.is_file() and other.is_file()):
        return False
    if one.name.endswith(".runs.csv"):
        a, b = (pd.read_csv(path, dtype=str).drop(columns=MEASURED, errors="ignore") for path in (one, other))
        return a.equals(b)
    return one.read_bytes() == other.read_bytes()
