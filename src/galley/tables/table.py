"""From items to the table: one row per number, the paper's value beside ours, claims with verdicts.

Source: ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from galley.artifact import atomic_path
from galley.stats import weighted_mean
from galley.tables.claims import Claim, load_claims
from galley.tables.judge import judge
from galley.tables.metrics import Metric, check_metrics, load_metrics
from galley.tables.named import check_names
from galley.tables.paper_values import read_paper_values
from galley.tables.rows import check_runs, read_items, read_runs

COLUMNS = [
    "paper", "scale", "model", "method", "setting", "benchmark", "metric", "unit", "higher_is_better", "role", "value", "ci_low",
    "ci_high", "level", "ci_method", "n_items", "n_seeds", "backend", "device", "reported", "reported_source", "claim_id",
    "verdict", "status", "reason", "run_ids",
]  # fmt: skip
KEYS = ["paper", "scale", "model", "method", "setting", "benchmark", "metric"]


def make_table(
    *,
    items: list[Path],
    runs: list[Path],
    claims: Path,
    paper_values: Path,
    metrics: Path,
    recipe: str,
    scale: str,
    out: Path,
    claims_out: Path,
) -> None:
    """Write the table and the judged claims of one recipe at one scale, once everything that is read has been checked."""
    declared, paper, registry = load_claims(claims), read_paper_values(paper_values), load_metrics(metrics)
    rows = read_items(items, paper=recipe, scale=scale)
    check_runs(rows, read_runs(runs, paper=recipe, scale=scale), paths=runs)
    for given in (rows, paper.assign(unit="")):
        check_metrics(given, registry, path=metrics)
    check_names(declared, rows, path=claims, recipe=recipe, scale=scale, metrics=registry)
    judged = judge(declared, rows, scale=scale, metrics=registry)
    table = build_table(rows, judged, declared, paper, registry)
    for frame, path in ((judged, claims_out), (table, out)):
        with atomic_path(path) as part:
            frame.to_csv(part, index=False, float_format="%.6g")


def build_table(
    items: pd.DataFrame, judged: pd.DataFrame, claims: list[Claim], paper: pd.DataFrame, metrics: Mapping[str, Metric]
) -> pd.DataFrame:
    """Return one row per (model, method, setting, metric), then the paper's numbers that we did not run."""
    groups = ((dict(zip(KEYS, key, strict=True)), group) for key, group in items.groupby(KEYS, sort=True, dropna=False))
    rows = [_row(key, group, metrics[key["metric"]]) for key, group in groups]
    verdicts = dict(zip(judged["claim_id"], judged["verdict"], strict=True))
    for row in rows:
        mine = [claim.id for claim in claims if _about(claim, row)]
        row["claim_id"] = " ".join(mine)
        row["verdict"] = " ".join(verdicts[name] for name in mine)
    ours = {(r["model"], r["method"], r["setting"], r["benchmark"], r["metric"]): r for r in rows}
    scale = items["scale"].iloc[0]
    name = items["paper"].iloc[0]
    for value in paper.to_dict("records"):
        key = tuple(value[column] for column in KEYS[2:])
        if key in ours:
            ours[key] |= {"reported": float(value["value"]), "reported_source": value["source"]}
            continue
        rows.append({**dict(zip(KEYS[2:], key, strict=True)), "paper": name, "scale": scale,
                     "reported": float(value["value"]), "reported_source": value["source"], "status": "not_run",
                     "reason": "needs the paper's models and budget"})  # fmt: skip
    for row in rows:
        known = metrics[row["metric"]]
        row |= {"unit": known.unit, "higher_is_better": known.higher_is_better, "role": known.role}
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def _about(claim: Claim, row: dict) -> bool:
    sides = [side for side in (claim.lhs, claim.rhs, *(p.rows for p in claim.points or ())) if side is not None]
    return any(
        side.method == row["method"] and side.benchmark == row["benchmark"] and side.metric == row["metric"]
        and side.setting in (None, row["setting"]) and side.model in (None, row["model"])
        for side in sides
    )  # fmt: skip


def _row(key: dict, group: pd.DataFrame, metric: Metric) -> dict:
    """Return the estimate of one number: seeds averaged within items, then the weighted mean.

    The item `all` is a total over others, hence no hit or miss of a rate.
    """
    good = group[group["status"] == "ok"]
    row = {**key, "run_ids": " ".join(sorted(set(group["run_id"]))),
           "backend": group["backend"].iloc[0], "device": group["device"].iloc[0]}  # fmt: skip
    if not len(good):
        return {**row, "status": group["status"].iloc[0], "reason": group["reason"].iloc[0]}
    scores = good.pivot(index="seed", columns="item_id", values="score").dropna(axis=1)
    weights = good.groupby("item_id")["weight"].first().loc[scores.columns]
    seed = zlib.crc32(" ".join(str(v) for v in key.values()).encode())
    rate = metric.kind == "rate" and "all" not in scores
    e = weighted_mean(scores.to_numpy(float), weights.to_numpy(float), rate=rate, seed=seed)
    level = None if np.isnan(e.low) else e.level
    dropped, idle = good["item_id"].nunique() - scores.shape[1], sorted(set(group["seed"]) - set(scores.index))
    notes = [f"{dropped} items are not in every seed"] if dropped else []
    notes += [f"no score of seed {', '.join(map(str, idle))}"] if idle else []
    return {**row, "value": e.value, "ci_low": e.low, "ci_high": e.high, "level": level,
            "ci_method": e.method, "n_items": e.n_items, "n_seeds": e.n_seeds,
            "status": "ok", "reason": "; ".join(notes)}  # fmt: skip


def is_missing(value: object) -> bool:
    """Return whether a cell is empty."""
    return value is None or (isinstance(value, float) and bool(np.isnan(value))) or value == ""
