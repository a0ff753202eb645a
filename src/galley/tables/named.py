"""The names in claims against those of rows: a control that names no row can never fail, so a slip in a name is an error.

A scale need not have every row, and an absent source takes rows away; what no scale has ever had is a slip.

Source: ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from galley.artifact import GalleyError
from galley.tables.claims import Claim, Control, Rows
from galley.tables.items import OUT_OF_REACH
from galley.tables.sheets import read_sheet

FIELDS = ("method", "benchmark", "metric", "setting", "model")
REFERENCE = "reference/*/table_{recipe}.csv"  # the rows of other scales, in a recipe's folder


def sides(claim: Claim) -> Iterator[tuple[str, Rows]]:
    """Yield each choice of rows in a claim, its controls and its requirements, with its place."""
    parts: list[tuple[str, Claim | Control]] = [("", claim), *((f"control {one.name!r}: ", one) for one in claim.controls)]
    for where, part in parts:
        for field in ("lhs", "rhs"):
            rows = getattr(part, field)
            if rows is not None:
                yield f"{where}{field}", rows
        for number, point in enumerate(part.points or ()):
            yield f"{where}points.{number}.rows", point.rows
    for number, wanted in enumerate(claim.requires):
        yield f"requires.{number}.rows", wanted.rows
        if wanted.minus is not None:
            yield f"requires.{number}.minus", wanted.minus


def check_names(claims: Sequence[Claim], items: pd.DataFrame, *, path: Path, recipe: str, scale: str, metrics: Collection[str]) -> None:
    """Refuse a claim of this scale that names what no row has, of this scale or of the recipe's reference tables.

    Metrics are those that are declared. Where a source is out of reach, the other names of its benchmarks' rows are not known.
    """
    known = known_names(items, path.parent, recipe)
    gone = set(items.loc[items["reason"].str.contains(OUT_OF_REACH, regex=False), "benchmark"])
    for claim in claims:
        for where, rows in sides(claim):
            if rows.metric not in metrics:
                raise _slip(path, claim, f"{where}.metric", rows.metric, metrics, "which recipes/metrics.yaml does not declare")
            for field in () if scale not in claim.scales else ("benchmark",) if rows.benchmark in gone else FIELDS:
                name = getattr(rows, field)
                if name is not None and name not in known[field]:
                    raise _slip(path, claim, f"{where}.{field}", name, known[field], "which no row of any scale has")


def known_names(items: pd.DataFrame, folder: Path, recipe: str) -> Mapping[str, set[str]]:
    """Return the names of each field in items, and in the reference tables of a recipe's folder."""
    way_out = "it is a table that an earlier run made"
    others = [
        read_sheet(path, FIELDS, what="reference rows", way_out=way_out) for path in sorted(folder.glob(REFERENCE.format(recipe=recipe)))
    ]
    return {field: set().union(*(set(frame[field].unique()) for frame in (items, *others))) for field in FIELDS}


def _slip(path: Path, claim: Claim, where: str, name: str, known: Collection[str], says: str) -> GalleyError:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5) or sorted(known)[:3]
    way_out = f"correct the name, or leave {claim.id}'s scales to those that have it"
    return GalleyError(f"{path}: claim {claim.id!r}: {where} is {name!r}, {says} (there are {', '.join(near)}, ...); {way_out}")
