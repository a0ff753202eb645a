"""Whether a run can write where it must: its folders are folders, may be written and have room; looked at, and nothing is tried out.

Source: ours.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from galley.artifact import GalleyError, room
from galley.data.cache import VARIABLE, cache_dir
from galley.inputs import said
from galley.outputs import added_to

WRITTEN = (
    "results", "results/sources", "results/figures", "results/smoke", "results/laptop", "results/paper", "logs", "benchmarks",
    ".snakemake", ".snakemake/log", ".snakemake/locks", ".snakemake/metadata", ".snakemake/incomplete",
)  # fmt: skip


ENOUGH = 1_000_000  # bytes: records, logs and locks; what results take, their jobs ask for


def check_ground(project: Path) -> None:
    """Refuse a project in which a run could not write, or a cache of downloads that is none; GalleyError names the first such place."""
    for name in WRITTEN:
        _check(project / name, what="a run writes there", way_out="move it away, or give the rights to it")
    if os.environ.get(VARIABLE):  # the usual place is looked at when something is fetched: without that it may be anything
        _check(cache_dir(), what=f"{VARIABLE} names it for downloads", way_out=f"name a folder that may be written, or unset {VARIABLE}")
    check_room(project)


def check_room(project: Path) -> None:
    """Refuse a project without room for a run's records and logs, or for its temporary files; GalleyError names the folder."""
    for folder in (*(project / name for name in WRITTEN), Path(tempfile.gettempdir())):
        room(folder, ENOUGH, what="a run", way_out="make room there, then run the same command again")


def _check(folder: Path, *, what: str, way_out: str) -> None:
    try:
        added_to(folder)
    except (OSError, ValueError) as error:
        raise GalleyError(f"{folder} {said(error)}; {what}: {way_out}") from None
