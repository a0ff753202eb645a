"""A csv as its text, line by line: a cell too many or too few, a wrong head, a number that is none are refused by file and line.

pandas fills a short row with nothing and takes NA, nan and 1e5 for what it thinks they are.

Source: ours.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from galley.artifact import GalleyError
from galley.inputs import no_text


def read_sheet(path: Path, columns: Sequence[str], *, what: str, way_out: str) -> pd.DataFrame:
    """Return a csv's cells as texts, indexed by their line (from 1); it has at least these columns, and may have no rows."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise GalleyError(f"no {what} at {path}; {way_out}") from None
    except UnicodeDecodeError as error:
        raise GalleyError(f"{path}: {what} are {no_text(error)}; {way_out}") from None
    except (OSError, csv.Error) as error:
        raise GalleyError(f"{path}: {what} cannot be read ({getattr(error, 'strerror', None) or error}); {way_out}") from None
    if not rows:
        raise GalleyError(f"{path}: {what} are empty; {way_out}")
    head = rows[0][1]
    for column in columns:
        if column not in head:
            raise GalleyError(f"{path}:1: {what} lack the column {column!r}; {way_out}")
    twice = next((column for column in head if head.count(column) > 1), None)
    if twice is not None:
        raise GalleyError(f"{path}:1: {what} have the column {twice!r} twice; {way_out}")
    uneven = next(((line, row) for line, row in rows if len(row) != len(head)), None)
    if uneven is not None:
        raise GalleyError(f"{path}:{uneven[0]}: {what} have {len(uneven[1])} cells here and {len(head)} in the head; {way_out}")
    return pd.DataFrame([row for _, row in rows[1:]], columns=head, index=[line for line, _ in rows[1:]], dtype="str")


def refuse(frame: pd.DataFrame, bad: pd.Series, column: str, says: str, *, path: Path, way_out: str) -> None:
    """Raise a GalleyError for the first row of a sheet that is bad."""
    if bad.any():
        line = bad.index[bad.to_numpy(dtype=bool)][0]
        raise GalleyError(f"{path}:{line}: {column} is {frame.at[line, column]!r}; {says}; {way_out}")


def number_column(
    frame: pd.DataFrame, column: str, *, path: Path, way_out: str, least: float = -math.inf, empty: bool = False
) -> pd.Series:
    """Return a sheet's column as numbers, NaN where it may be empty; GalleyError for what is no finite number of at least `least`."""
    found = frame[column].map(_number).astype("float64")
    bad = ~(found.map(math.isfinite) & (found >= least))
    if empty:
        bad &= frame[column] != ""
    refuse(frame, bad, column, "it takes a number" + ("" if math.isinf(least) else f" from {least:g}"), path=path, way_out=way_out)
    whole = bool(len(found)) and bool((found % 1 == 0).all())
    return found.astype("int64") if whole and not frame[column].str.contains("[.eE]").any() else found


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan
