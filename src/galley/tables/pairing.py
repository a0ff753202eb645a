"""Which scores stand beside which: the rows that a claim points at, on the items and runs that both sides have.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from galley.artifact import GalleyError
from galley.tables.claims import Rows
from galley.tables.items import OUT_OF_REACH


class Missing(Exception):
    """Rows that a claim needs are not there; the text is the reason."""


@dataclass(frozen=True)
class Side:
    """The scores of one side (runs, items), and how many runs stand behind it; `trained`: another run would give others."""

    scores: np.ndarray
    runs: int
    trained: bool


def pick(items: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Return the ok rows that a claim points at, or raise Missing with the recorded reason."""
    mask = (items["method"] == rows.method) & (items["benchmark"] == rows.benchmark) & (items["metric"] == rows.metric)
    if rows.setting is not None:
        mask &= items["setting"] == rows.setting
    if rows.model is not None:
        mask &= items["model"] == rows.model
    found = items[mask]
    good = found[found["status"] == "ok"]
    if not len(good):
        why = found["reason"].iloc[0] if len(found) else _no_row(items, rows)
        raise Missing(f"{rows.method} {rows.setting or ''} {rows.benchmark}/{rows.metric}: {why}")
    return good


def _no_row(items: pd.DataFrame, rows: Rows) -> str:
    """Return why there is no row: a source that other rows of its benchmark lack, else that this scale makes none."""
    beside = items.loc[(items["benchmark"] == rows.benchmark) & (items["status"] != "ok"), "reason"]
    gone = beside[beside.str.contains(OUT_OF_REACH, regex=False)]
    return f"no such row, for {gone.iloc[0]}" if len(gone) else "no such row at this scale"


def grid(frames: Sequence[pd.DataFrame]) -> tuple[list[Side], np.ndarray]:
    """Return per frame its scores (runs, items) on the items and runs that all share, and those items' weights.

    A frame of one run that is not trained pairs with every run of the others; a trained one is never broadcast. Frames of one model each
    pair by item, whichever model; else by model and item. Missing when nothing is shared, GalleyError when a side mixes several
    settings: a score per model, item and run is what can be paired.
    """
    one_each = all(frame["model"].nunique() == 1 for frame in frames)
    tables, weights, trained = [], None, [bool(frame["trained"].any()) for frame in frames]
    for frame in frames:
        keyed = frame.assign(key=frame["item_id"] if one_each else frame["model"] + "|" + frame["item_id"])
        if keyed.duplicated(["seed", "key"]).any():
            found = ", ".join(sorted(set(frame["setting"])))
            raise GalleyError(f"{frame['method'].iloc[0]} has several scores of one item; its settings are {found}: name one in the claim")
        tables.append(keyed.pivot(index="seed", columns="key", values="score"))
        weights = keyed.groupby("key")["weight"].first() if weights is None else weights
    runs = [len(table) for table in tables]
    alone = [n == 1 and not of_training for n, of_training in zip(runs, trained, strict=True)]
    several = [set(table.index) for table, single in zip(tables, alone, strict=True) if not single]
    seeds = sorted(set.intersection(*several)) if several else []
    if several and not seeds:
        raise Missing("the compared rows share no seeds")
    # An item that a run lacks cannot be paired: it is left out on every side.
    tables = [(t if single else t.loc[seeds]).dropna(axis=1) for t, single in zip(tables, alone, strict=True)]
    shared = sorted(set.intersection(*(set(t.columns) for t in tables)))
    if not shared or weights is None:
        raise Missing("the compared rows share no items")
    sides = [Side(t[shared].to_numpy(float), n, of) for t, n, of in zip(tables, runs, trained, strict=True)]
    return sides, weights.loc[shared].to_numpy(float)
