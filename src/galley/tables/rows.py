"""The tidy levels below a table: items (one row per item and metric) and runs (one row per job).

Files are written atomically, sorted, so that the same rows are the same bytes. Rows are checked where they are written and where they
are read; a fault names file, column and first bad row. Pages of items carry checksums, so that a flipped bit is no other number.

Source: ours.
"""

from __future__ import annotations

import math
import numbers as kinds
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galley.artifact import GalleyError, atomic_path
from galley.recipe import SCALES
from galley.tables.machine import FACTS
from galley.tables.sheets import number_column, read_sheet, refuse

ITEM_COLUMNS = [
    "paper", "scale", "model", "method", "setting", "seed", "benchmark", "metric", "unit", "item_id", "score", "weight",
    "status", "reason", "run_id", "backend", "device", "trained",
]  # fmt: skip
RUN_COLUMNS = [
    "run_id", "paper", "scale", "stage", "job", "plan", "unit", "model", "method", "setting", "seed", "wall_s", "cpu_s", "peak_rss_mib",
    "threads", "device", "tokens", *FACTS,
]  # fmt: skip
STATUSES = {"ok", "not_run", "truncated", "parse_failed", "timeout", "failed"}
KEYS = ["paper", "scale", "model", "method", "setting", "seed", "benchmark", "metric", "item_id"]  # of one row only
DEFAULTS = {"unit": "", "item_id": "all", "weight": 1.0, "status": "ok", "reason": "", "setting": "", "seed": 0, "trained": False}
COUNTED = ("seed", "score", "weight")
MAY_BE_EMPTY = ("setting", "unit", "item_id", "reason")  # the last two by status
RUN_NUMBERS = ("seed", "wall_s", "cpu_s", "peak_rss_mib", "threads", "tokens")
AGAIN = "delete it and run the same command again"


def check_items(frame: pd.DataFrame, *, where: str = "items", way_out: str = "correct the stage that makes them") -> pd.DataFrame:
    """Return items in the schema's columns and order; GalleyError names where they are, the column and the first bad row."""
    frame = _typed(frame, where=where, way_out=way_out)
    _refuse(frame, frame.duplicated(KEYS), "item_id", "a row of the same names and seed is there already", where=where, way_out=way_out)
    return frame.sort_values(KEYS, kind="stable").reset_index(drop=True)


def _typed(frame: pd.DataFrame, *, where: str, way_out: str) -> pd.DataFrame:
    if not len(frame):
        raise GalleyError(f"{where}: there are no rows; what could not be run is a row with a status and a reason; {way_out}")
    for column in ITEM_COLUMNS:
        if column not in frame:
            raise GalleyError(f"{where}: no column {column!r}; items have {', '.join(ITEM_COLUMNS)}; {way_out}")
    more = next((column for column in frame if column not in ITEM_COLUMNS), None)
    if more is not None:
        raise GalleyError(f"{where}: items have no column {more!r}, but {', '.join(ITEM_COLUMNS)}; {way_out}")
    frame = frame[ITEM_COLUMNS].reset_index(drop=True)

    def check(bad: pd.Series, column: str, says: str) -> None:
        _refuse(frame, bad, column, says, where=where, way_out=way_out)

    for column in ITEM_COLUMNS:
        if column in COUNTED:
            check(_no_number(frame[column]), column, "it takes a number")
        elif column == "trained":
            check(_no_flag(frame[column]), column, "it takes true (another run would give another score) or false")
        else:
            check(_no_text(frame[column]), column, "it takes text")
    dtypes = {column: "float64" if column in COUNTED else "bool" if column == "trained" else "str" for column in ITEM_COLUMNS}
    frame = frame.astype(dtypes)
    ok = frame["status"] == "ok"
    check(~frame["status"].isin(STATUSES), "status", f"it is one of {', '.join(sorted(STATUSES))}")
    check(~frame["scale"].isin(SCALES), "scale", f"it is one of {', '.join(SCALES)}")
    for column in ITEM_COLUMNS:
        if column not in (*COUNTED, "trained", *MAY_BE_EMPTY):
            check(frame[column].str.strip() == "", column, "it takes a name")
    check(ok & (frame["item_id"] == ""), "item_id", "a row that is ok has an item")
    check(~ok & (frame["reason"] == ""), "reason", "a row that is not ok has a reason")
    check(~((frame["seed"] >= 0) & (frame["seed"] % 1 == 0)), "seed", "it is a whole number from 0")
    check(ok & frame["score"].isna(), "score", "the row is ok but has no score")
    check(frame["score"].abs() == math.inf, "score", "it is finite")
    check(~((frame["weight"] > 0) & (frame["weight"] < math.inf)), "weight", "it is above 0 and finite")
    return frame.astype({"seed": "int64"})


def _no_text(column: pd.Series) -> pd.Series:
    """Return which values are no text; None and NaN are none."""
    if isinstance(column.dtype, pd.StringDtype):
        return column.isna()
    return pd.Series([not isinstance(value, str) for value in column], index=column.index)


def _no_flag(column: pd.Series) -> pd.Series:
    return pd.Series([not isinstance(value, bool | np.bool_) for value in column], index=column.index)


def _no_number(column: pd.Series) -> pd.Series:
    """Return which values are no number; NaN is one here, and None, as pandas has it beside other objects."""
    if column.dtype.kind in "fiub":
        return pd.Series(False, index=column.index)
    return pd.Series([not (value is None or isinstance(value, kinds.Real)) for value in column], index=column.index)


def _refuse(frame: pd.DataFrame, bad: pd.Series, column: str, says: str, *, where: str, way_out: str) -> None:
    if bad.any():
        at = int(bad.to_numpy(dtype=bool).argmax())
        row = frame.iloc[at]
        which = f"{row['method']} {row['benchmark']}/{row['metric']}, item {row['item_id']!r}, seed {row['seed']}"
        raise GalleyError(f"{where}: column {column!r}, row {at + 1} ({which}): {says}, got {frame[column].tolist()[at]!r}; {way_out}")


def complete(rows: Sequence[Mapping[str, Any]] | pd.DataFrame, **defaults: Any) -> pd.DataFrame:
    """Return rows as a frame: what a row leaves out is a plain ok row of seed 0, or as given; what it says stands, None and NaN too."""
    frame = even(rows, **defaults)
    return frame.assign(**{column: value for column, value in (DEFAULTS | defaults).items() if column not in frame})


def even(rows: Sequence[Mapping[str, Any]] | pd.DataFrame, **defaults: Any) -> pd.DataFrame:
    """Return rows as a frame in which a column that some of them leave out has its default there; what all leave out is no column."""
    if isinstance(rows, pd.DataFrame):
        return rows
    said = {column for row in rows for column in row}
    common = {column: value for column, value in (DEFAULTS | defaults).items() if column in said}
    return pd.DataFrame([{**common, **row} for row in rows])


def write_items(frame: pd.DataFrame, path: Path) -> None:
    """Check, sort and write items as parquet."""
    checked = check_items(frame, where=str(path))
    with atomic_path(path) as part:
        checked.to_parquet(part, index=False, write_page_checksum=True)


def read_items(paths: Sequence[Path], *, paper: str | None = None, scale: str | None = None) -> pd.DataFrame:
    """Read and merge item files, those of a paper and a scale where they are given.

    GalleyError when a file is missing or not whole, a row is wrong, or the same row is in two files.
    """
    if not paths:
        raise GalleyError("no items: name the files that the recipe's stages leave, *.items.parquet")
    frames = []
    for path in paths:
        frame = _typed(_parquet(Path(path)), where=str(path), way_out=AGAIN)
        for column, wanted in {"paper": paper, "scale": scale}.items():
            if wanted is not None:
                way_out = f"this table is of {wanted}: name its own items"
                _refuse(frame, frame[column] != wanted, column, "it is another", where=str(path), way_out=way_out)
        frames.append(frame)
    merged = pd.concat(frames, ignore_index=True)
    twice = merged.duplicated(KEYS)
    if twice.any():
        origin = pd.Series([str(path) for path, frame in zip(paths, frames, strict=True) for _ in range(len(frame))])
        row = merged[twice].iloc[0]
        both = sorted(set(origin[(merged[KEYS] == row[KEYS]).all(axis=1)]))
        says = f"there are two rows for {', '.join(f'{key} {row[key]!r}' for key in KEYS)}"
        raise GalleyError(f"{' and '.join(both)}: column 'item_id': {says}; name each file once, or {AGAIN}")
    return merged.sort_values(KEYS, kind="stable").reset_index(drop=True)


def _parquet(path: Path) -> pd.DataFrame:
    from pyarrow import ArrowException  # as slow to import as parquet is to read
    from pyarrow.parquet import read_table

    if not path.exists():
        raise GalleyError(f"no items at {path}; the stage that writes it has not run")
    if not path.is_file():
        raise GalleyError(f"{path}: a folder and no items; name the file *.items.parquet")
    if not path.stat().st_size:
        raise GalleyError(f"{path}: the file is empty; {AGAIN}")
    try:
        return read_table(path, page_checksum_verification=True).to_pandas(ignore_metadata=True)
    except (ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise GalleyError(f"{path}: no whole parquet file ({reason}); {AGAIN}") from None


def write_runs(frame: pd.DataFrame, path: Path) -> None:
    """Write runs as csv, in the schema's order, absent facts empty."""
    with atomic_path(path) as part:
        frame.reindex(columns=RUN_COLUMNS).to_csv(part, index=False)


def read_runs(paths: Sequence[Path], *, paper: str | None = None, scale: str | None = None) -> pd.DataFrame:
    """Read and merge run files, numbers as numbers (NaN where a fact does not apply) and the rest as text; faults as with items."""
    if not paths:
        raise GalleyError("no runs: name the files that the recipe's stages leave, *.runs.csv")
    frames, seen = [], dict[str, Path]()
    for path in paths:
        sheet = read_sheet(path, [name for name in RUN_COLUMNS if name not in FACTS], what="runs", way_out=AGAIN)
        sheet = sheet.reindex(columns=RUN_COLUMNS, fill_value="")
        for column in ("run_id", "stage"):
            refuse(sheet, sheet[column].str.strip() == "", column, "it takes a name", path=path, way_out=AGAIN)
        for column, wanted in {"paper": paper, "scale": scale}.items():
            if wanted is not None:
                refuse(sheet, sheet[column] != wanted, column, f"this table is of {wanted}", path=path, way_out="name its own runs")
        twice = sheet["run_id"].map(seen).notna() | sheet["run_id"].duplicated()
        refuse(sheet, twice, "run_id", "that run is there already", path=path, way_out=f"name each file once, or {AGAIN}")
        seen |= dict.fromkeys(sheet["run_id"], Path(path))
        typed = {name: number_column(sheet, name, path=path, way_out=AGAIN, least=0, empty=True) for name in RUN_NUMBERS}
        frames.append(sheet.assign(**typed))
    return pd.concat(frames, ignore_index=True)


def check_runs(items: pd.DataFrame, runs: pd.DataFrame, *, paths: Sequence[Path]) -> None:
    """Refuse items whose run is in none of the run files: both are left by the same job."""
    lost = items[~items["run_id"].isin(runs["run_id"])]
    if len(lost):
        row = lost.iloc[0]
        which = f"{row['method']} {row['benchmark']}/{row['metric']}, item {row['item_id']!r}"
        files = ", ".join(str(path) for path in paths)
        raise GalleyError(f"{files}: column 'run_id': no run {row['run_id']!r}, which made {which}; name the runs of all items, or {AGAIN}")
