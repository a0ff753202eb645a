"""What the authors published, held to itself: printed averages and orders, printed memory, and the lists of channels that they ship.

arXiv:2506.11886, Tables 1 and 2, and Table 1 and the efficiency figure of the later version, which the authors' repository shows as images.
No model is read.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pandas as pd

from galley.evaluate.long.longbench_metrics import METRICS, sample_weighted
from galley.papers.fourier_attention.lists import list_rows
from galley.papers.fourier_attention.selection import compressed_shares
from galley.stage import Job
from galley.tables.items import Rows, scored
from galley.tables.ledger import leave
from galley.tables.paper_values import read_paper_values

TABLES = {"v1-T1/2": "first version", "v2-T1": "later version"}  # with cells of all sixteen tasks
OURS, FULL = "FourierAttention", "full"
CACHES = {"Llama-3.1-8B": (32, 8, 128), "Llama-3.2-3B": (28, 8, 128)}  # layers, key-value heads, dims
STEP = 16 * 1024  # tokens from one context length of the efficiency figure to the next
GIGA = 1e9  # if the figure's GB are 2**30 bytes, its memory grows by 7 % more


def run_published(job: Job, *, paper: Path, sources: Path) -> None:
    """Write published.items.parquet and published.runs.csv."""
    values = read_paper_values(paper)
    rows = [*average_rows(values), *lead_rows(values), *memory_rows(values), *list_rows(sources)]
    leave(job, rows, backend="none", model="published")


def average_rows(values: pd.DataFrame) -> Rows:
    """E6: the sixteen printed scores of every row that the tables print, averaged by samples and plainly, minus the printed average."""
    rows: Rows = []
    for table, model, method, tasks, printed in _printed(values):
        for way, value in _averages(tasks).items():
            rows.append(scored(way, "average", "minus_printed", value - printed, unit="points", model=model, setting=TABLES[table],
                               item_id=f"{model},{method}"))  # fmt: skip
    return rows


def lead_rows(values: pd.DataFrame) -> Rows:
    """E7: how far FourierAttention leads the best of its rivals on LongBench, by printed averages and by plain means of the cells.

    The first version prints the cells of FourierAttention and the full cache only, as far as they are known here: no plain lead.
    """
    rows: Rows = []
    whole = values[(values["benchmark"] == "LongBench") & values["table"].isin(TABLES) & (values["method"] != FULL)]
    for (table, model), mine in whole.groupby(["table", "model"]):
        rows += _lead("printed", mine.set_index("method")["value"].to_dict(), table=str(table), model=str(model))
    plain: dict[tuple[str, str], dict[str, float]] = {}
    for table, model, method, tasks, _ in _printed(values):
        if method != FULL:
            plain.setdefault((table, model), {})[method] = _averages(tasks)["plain"]
    for (table, model), means in plain.items():
        if len(means) > 1:
            rows += _lead("plain", means, table=table, model=model)
    return rows


def memory_rows(values: pd.DataFrame) -> Rows:
    """M1: what FourierAttention's printed peak memory grows by a token, over the bytes of a whole 16-bit cache; its shapes' share beside.

    What grows less than one is smaller than the cache that it replaces.
    """
    rows: Rows = []
    peaks = values[(values["benchmark"] == "peak memory") & (values["method"] == OURS)]
    for model, mine in peaks.groupby("model"):
        layers, heads, width = CACHES[str(model)]
        cell = 2 * 2 * layers * heads * width  # keys and values, two bytes
        grown = mine.sort_values("setting")["value"].tolist()  # 16k to 80k: names of one length
        rows += [scored("printed", "peak_memory", "growth", GIGA * (after - before) / STEP / cell, unit="ratio", model=model,
                        item_id=f"{model},step={step}")
                 for step, (before, after) in enumerate(pairwise(grown))]  # fmt: skip
        left = 1 - sum(map(sum, compressed_shares(layers))) / (2 * layers)
        rows.append(scored("control:shapes", "peak_memory", "growth", left, unit="ratio", model=model, item_id=f"{model},shapes"))
    return rows


def _printed(values: pd.DataFrame) -> list[tuple[str, str, str, dict[str, float], float]]:
    """Return table, model, method, scores by task and printed average of each row whose sixteen cells are known."""
    found = []
    for (table, model, method), mine in values[values["table"].isin(TABLES)].groupby(["table", "model", "method"], sort=True):
        cells = mine.set_index("benchmark")["value"].to_dict()
        if set(METRICS) <= set(cells):
            found.append((str(table), str(model), str(method), {task: cells[task] for task in METRICS}, cells["LongBench"]))
    return found


def _averages(tasks: dict[str, float]) -> dict[str, float]:
    return {"sample_weighted": sample_weighted(tasks), "plain": sum(tasks.values()) / len(tasks)}


def _lead(way: str, scores: dict[str, float], *, table: str, model: str) -> Rows:
    best = max(score for method, score in scores.items() if method != OURS)
    about = {"unit": "points", "model": model, "setting": TABLES[table], "item_id": f"{table},{model}"}
    return [scored(way, "lead", "points_ahead", scores[OURS] - best, **about)]
