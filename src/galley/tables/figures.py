"""Figures, pure functions of the items: recovered fraction over steps, and needles over length and depth.

Source: ours. Vector files without dates, so that the same rows are the same bytes. Figures are made without pyplot, whose
windows and widgets would be imported for nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from galley.artifact import atomic_dir
from galley.tables.rows import read_items

matplotlib.rcParams.update({"svg.hashsalt": "galley", "font.family": "DejaVu Sans", "font.size": 9})


def draw_figures(items: list[Path], *, out: Path) -> None:
    """Write recovered_fraction.svg and needles.svg, each if there are rows for it."""
    rows = read_items(items)
    rows = rows[rows["status"] == "ok"]
    with atomic_dir(out) as part:
        for model, mine in rows.groupby("model"):
            _curves(mine, part / f"recovered_fraction_{model}.svg")
            _needles(mine, part / f"needles_{model}.svg", benchmarks=("needle", "niah"), metric="answer_nll", label="answer nats/token")
            _needles(mine, part / f"needlebench_{model}.svg", benchmarks=("needlebench",), metric="needlebench_score", label="score")


def _curves(rows: pd.DataFrame, path: Path) -> None:
    """Draw the mean over seeds of the recovered fraction at each step, one line per arm."""
    rows = rows[(rows["metric"] == "recovered_fraction") & rows["setting"].str.contains("step=")].copy()
    if rows.empty:
        return
    rows["step"] = rows["setting"].str.extract(r"step=(\d+)")[0].astype(int)
    rows["arm"] = rows["method"] + rows["setting"].map(lambda s: f" {m[0]}" if (m := re.search(r"d_kv=\d+", s)) else "")
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for arm, mine in rows.groupby("arm"):
        curve = mine.groupby("step")["score"]
        axes.plot(curve.mean().index, curve.mean(), marker="o", markersize=3, label=arm)
        if mine["seed"].nunique() > 1:
            axes.fill_between(curve.min().index, curve.min(), curve.max(), alpha=0.15)
    axes.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="fine-tuning step", ylabel="recovered fraction of the loss gap")
    axes.legend(fontsize=7, frameon=False)
    _save(figure, path)


def _needles(rows: pd.DataFrame, path: Path, *, benchmarks: tuple[str, ...], metric: str, label: str) -> None:
    """Draw one heat map per method over length and depth, darker where more is read."""
    rows = rows[rows["benchmark"].isin(benchmarks) & (rows["metric"] == metric)].copy()
    if rows.empty:
        return
    rows[["length", "depth"]] = rows["item_id"].str.extract(r"len=(\d+),depth=([\d.]+)").astype(float)
    methods = sorted(rows["method"].unique())
    across = min(len(methods), 6)
    down = -(-len(methods) // across)
    figure = Figure(figsize=(3 * across, 3 * down))
    axes = figure.subplots(down, across, squeeze=False)
    for ax in axes.flat[len(methods) :]:
        ax.set_visible(False)
    for ax, method in zip(axes.flat, methods, strict=False):
        grid = rows[rows["method"] == method].pivot_table(index="depth", columns="length", values="score")
        image = ax.imshow(
            grid.to_numpy(),
            aspect="auto",
            cmap="viridis_r" if metric == "answer_nll" else "viridis",
            vmin=0,
            vmax=max(1.0, rows["score"].max()),
        )
        ax.set(title=method, xlabel="tokens", ylabel="depth")
        ax.set_xticks(range(len(grid.columns)), [f"{c:.0f}" for c in grid.columns])
        ax.set_yticks(range(len(grid.index)), [f"{d:g}" for d in grid.index])
    figure.colorbar(image, ax=axes.ravel().tolist(), label=label)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
