"""What every job leaves, its items and its runs, and the finished units of work that survive an interruption.

A job of one piece calls `leave` when it is done. A job of several (trainings, arms, prompts) opens a `Ledger`: each unit is kept in
the job's state folder as soon as it is finished, under a name and the digest of all that decides it, so that an interrupted
job goes on where it was and ends in the same bytes.

Source: ours.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from galley.artifact import GalleyError, Stopwatch, atomic_path, digest, sha256_tree, write_json
from galley.progress import progress
from galley.stage import Job
from galley.tables.items import Rows as Rows
from galley.tables.machine import made_with
from galley.tables.rows import complete, even, write_items, write_runs

T = TypeVar("T")
Work = Callable[[Path], tuple[Sequence[Mapping[str, Any]] | pd.DataFrame, dict[str, Any]]]


def leave(job: Job, rows: Sequence[Mapping[str, Any]], *, backend: str, device: str = "cpu", model: str = "", **facts: Any) -> None:
    """Write <job>.items.parquet and <job>.runs.csv; `backend` says how programs or models were run, `facts` go to the run's row.

    Call it when what the job started has ended: then the CPU seconds of its processes are known, and they are in the run's.
    """
    ledger = Ledger(job, backend=backend, device=device, model=model)
    ledger.add(rows, {**job.watch.read(), **facts}, name=job.name)
    ledger.write()


class Ledger:
    """A job's rows and runs, unit by unit.

    `inputs` are files or folders whose bytes decide the units; `model` is what the rows name where the job has no model of the plan.
    """

    def __init__(self, job: Job, *, backend: str, device: str = "cpu", model: str = "", inputs: Mapping[str, Path] | None = None) -> None:
        self.job = job
        self.key = digest([job.key, device, {name: sha256_tree(path) for name, path in (inputs or {}).items()}])
        self.state = job.out / "state" / self.key
        self.common = {"paper": job.recipe, "scale": job.scale, "device": device}
        self.model = model or job.model
        self.backend = backend or "none"
        self.frames: list[pd.DataFrame] = []
        self.runs: list[dict[str, Any]] = []

    def unit(
        self, name: str, work: Work, *, method: str = "", setting: str = "", seed: int = 0, given: Any = None, needs: Path | None = None
    ) -> None:
        """Add the rows and facts that `work` makes, or those that an interrupted run of it left.

        `work` gets a folder for what it must find again when it is interrupted; it is removed when the unit is finished. `given` is what
        else decides the unit. Where the file `needs` (what the unit makes beside its rows) is gone, it is made again.
        """
        about = {"method": method, "setting": setting, "seed": seed}
        readable = re.sub(r"[^\w.+=-]+", "_", name)[:60].strip(".")
        folder = self.state / f"{readable}-{digest([name, given])}"  # two names may read alike
        items, done = folder.with_name(f"{folder.name}.parquet"), folder.with_name(f"{folder.name}.json")
        facts = read_facts(done)
        frame = kept_rows(items) if facts is not None else None
        if frame is None or facts is None or (needs is not None and not needs.exists()):
            watch = Stopwatch()
            rows, facts = work(folder)
            facts = {"threads": threads(), **watch.read(), **made_with(), **facts}
            with atomic_path(items) as part:
                even(rows, model=self.model, method=method, seed=seed).to_parquet(part)
            write_json(done, facts)
            frame = pd.read_parquet(items)
        shutil.rmtree(folder, ignore_errors=True)
        self.add(frame, facts, name=name, given=given, **about)

    def each(self, what: str, pieces: Sequence[T], score: Callable[[T], Sequence[Mapping[str, Any]]], *, name: Callable[[T], str]) -> Rows:
        """Return the rows of many small pieces of one unit, each kept when it is finished under `what` and its name.

        They have no runs of their own: `add` takes the rows, with what is known of all of them.
        """
        rows: Rows = []
        for piece in progress(pieces, what=what):
            done = self.state / f"{digest([what, name(piece)])}.parquet"
            frame = kept_rows(done)
            if frame is None:
                with atomic_path(done) as part:
                    even(score(piece), model=self.model).to_parquet(part)
                frame = pd.read_parquet(done)
            rows += frame.to_dict("records")
        return rows

    def add(
        self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame, facts: Mapping[str, Any], *, name: str, given: Any = None, **about: Any
    ) -> None:
        """Add a unit's rows and what is known of its run; a row's own model, method and seed stand, where it has them."""
        run_id = digest([self.key, name, given])
        frame = complete(rows, model=self.model, method=about.get("method", ""), seed=about.get("seed", 0))
        self.frames.append(frame.assign(**self.common, run_id=run_id, backend=self.backend))
        of = {"stage": self.job.stage, "job": self.job.leaf, "plan": self.job.planned}
        run = {"unit": name, "method": "", "setting": "", "seed": 0, "threads": threads()}
        self.runs.append({**self.common, "model": self.model, "run_id": run_id, **of, **run, **made_with(), **about, **facts})

    def write(self) -> None:
        """Write <job>.items.parquet and <job>.runs.csv; GalleyError for a shard without work."""
        if not self.frames:
            way_out = f"lower `shards` in recipes/{self.job.recipe}/recipe.yaml"
            raise GalleyError(f"{self.job.name}: there is no work left for this one of {self.job.shards} shards; {way_out}")
        write_items(pd.concat(self.frames, ignore_index=True), self.job.out / f"{self.job.name}.items.parquet")
        write_runs(pd.DataFrame(self.runs), self.job.out / f"{self.job.name}.runs.csv")


def kept_rows(path: Path) -> pd.DataFrame | None:
    """Return the rows of a finished piece of work; None where there are none, or the machine lost them half way."""
    from pyarrow import ArrowException

    with contextlib.suppress(OSError, ValueError, ArrowException):
        return pd.read_parquet(path)
    return None


def read_facts(done: Path) -> dict[str, Any] | None:
    """Return what is known of a finished unit; None for one that is not, or whose record the machine lost half way."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        facts = json.loads(done.read_text(encoding="utf-8"))
        return facts if isinstance(facts, dict) else None
    return None


def threads() -> int:
    """Return the threads of torch, 1 where it was not needed."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else 1
