"""The tidy levels below a table: items (one row per item and metric) and runs (one row per job).

Files are written atomically, sorted, so that the same rows are the same bytes.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import GalleyError, atomic_path

ITEM_COLUMNS = [
    "paper", "scale", "model", "method", "setting", "seed", "benchmark", "metric", "unit", "item_id", "score", "weight",
    "status", "reason", "run_id", "backend", "device",
]  # fmt: skip
RUN_COLUMNS = [
    "run_id", "paper", "scale", "stage", "unit", "model", "method", "setting", "seed", "wall_s", "cpu_s", "peak_rss_mib",
    "threads", "device", "tokens",
]  # fmt: skip
STATUSES = {"ok", "not_run", "truncated", "parse_failed", "timeout", "failed"}


def check_items(frame: pd.DataFrame) -> pd.DataFrame:
    """Return items in the schema's columns and order; GalleyError names what is wrong."""
    missing = [column for column in ITEM_COLUMNS if column not in frame]
    if missing:
        raise GalleyError(f"items lack the column {missing[0]!r}; expected {', '.join(ITEM_COLUMNS)}")
    wrong = sorted(set(frame["status"]) - STATUSES)
    if wrong:
        raise GalleyError(f"items have the status {wrong[0]!r}; allowed: {', '.join(sorted(STATUSES))}")
    blank = frame[(frame["status"] == "ok") & frame["score"].isna()]
    if len(blank):
        where = blank.iloc[0]
        raise GalleyError(f"item {where['item_id']!r} of {where['benchmark']}/{where['metric']} is ok but has no score")
    kinds = {"seed": "int64", "score": "float64", "weight": "float64"}
    frame = frame[ITEM_COLUMNS].astype({c: kinds.get(c, "str") for c in ITEM_COLUMNS})
    keys = ["paper", "scale", "model", "method", "setting", "seed", "benchmark", "metric", "item_id"]
    twice = frame[frame.duplicated(keys)]
    if len(twice):
        raise GalleyError(f"items have two rows for {twice.iloc[0][keys].to_dict()}")
    return frame.sort_values(keys, kind="stable").reset_index(drop=True)


def item_frame(rows: Sequence[Mapping[str, Any]] | pd.DataFrame, **common: Any) -> pd.DataFrame:
    """Return item rows as a frame: what a row leaves out is a plain ok row of seed 0, and `common` is the same in all."""
    frame = pd.DataFrame(rows)
    defaults = {"unit": "", "item_id": "all", "weight": 1.0, "status": "ok", "reason": "", "setting": "", "seed": 0}
    for column, value in defaults.items():
        frame[column] = frame[column].fillna(value) if column in frame else value
    return frame.assign(**common)


def write_items(frame: pd.DataFrame, path: Path) -> None:
    """Check, sort and write items as parquet."""
    checked = check_items(frame)
    with atomic_path(path) as part:
        checked.to_parquet(part, index=False)


def read_items(paths: Sequence[Path]) -> pd.DataFrame:
    """Read and merge item files; GalleyError when one is missing or the same row is in two."""
    for path in paths:
        if not Path(path).exists():
            raise GalleyError(f"no items at {path}; the stage that writes it has not run")
    return check_items(pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True))


def write_runs(frame: pd.DataFrame, path: Path) -> None:
    """Write runs as csv, in the schema's order, absent facts empty."""
    with atomic_path(path) as part:
        frame.reindex(columns=RUN_COLUMNS).to_csv(part, index=False)


def read_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """Read and merge run files."""
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
