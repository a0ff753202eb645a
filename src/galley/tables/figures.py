"""Figures, pure functions of the items, as a recipe declares them in its figures.yaml: curves with bands, heat maps.

Source: ours. Vector files without dates, so that the same rows are the same bytes. Figures are made without pyplot, whose
windows and widgets would be imported for nothing.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pydantic import AfterValidator, Field

from galley.artifact import GalleyError, atomic_dir, digest
from galley.declared import checked, read_yaml
from galley.recipe import Name, Strict, Text
from galley.seen import visible
from galley.tables.metrics import Metric
from galley.tables.rows import read_items

# Texts are shown, not set: a $ in a method's name is no formula, and TeX is never asked.
PLAIN: Any = {"text.parse_math": False, "text.usetex": False, "svg.fonttype": "path"}
matplotlib.rcParams.update({"svg.hashsalt": "galley", "font.family": "DejaVu Sans", "font.size": 9, **PLAIN})
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}  # neither dates nor addresses


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"a pattern has one group, the number, such as 'step=(\\d+)'; this one has {groups}")
    return pattern


class Axis(Strict):
    """A number that stands in the text of a column."""

    column: Literal["setting", "item_id"]
    pattern: Annotated[str, AfterValidator(_one_group)] = Field(description="a regular expression whose one group is the number")
    label: Text


class Drawn(Strict):
    """What every figure says: whose rows, and what their score is called. Each model has a file of its own."""

    metric: Name
    benchmarks: list[Name] = Field(default_factory=list, description="none: any")
    label: Text = Field(description="what the score is")
    x: Axis


class Curves(Drawn):
    """The mean over seeds along x, one line a method; a band from the lowest to the highest seed."""

    kind: Literal["curves"]
    line: str = Field(default="(?!)", description="a pattern in the setting that tells two lines of one method apart")
    level: float | None = Field(default=None, description="a dotted line to compare with")


class HeatMaps(Drawn):
    """One map a method over x and y, brighter where the score is better; colours from 0 to the largest score, at least 1."""

    kind: Literal["heat_maps"]
    y: Axis


Declared = Annotated[Curves | HeatMaps, Field(discriminator="kind")]
Figures = dict[str, Declared]
KINDS = ("curves", "heat_maps")


def load_figures(path: Path) -> Figures:
    """Read a recipe's figures, none without a file; a GalleyError names file, line and field."""
    if not Path(path).exists():
        return {}
    figures: Figures = checked(Figures, read_yaml(path, what="figures", home="recipes/<name>/figures.yaml"), tags=KINDS)
    return figures


def draw_figures(items: list[Path], *, figures: Path, metrics: Mapping[str, Metric], out: Path) -> None:
    """Write <name>_<model>.svg of each figure and model that there are rows for, or what `file_names` makes of the two."""
    declared = load_figures(figures)
    for name, figure in declared.items():
        if figure.metric not in metrics:
            raise GalleyError(
                f"{figures}: {name}.metric is {figure.metric!r}, which recipes/metrics.yaml does not declare; declare it there"
            )
    rows = read_items(items)
    rows = rows[rows["status"] == "ok"]
    names = file_names([(name, model) for model in rows["model"].unique() for name in declared])
    with atomic_dir(out) as part:
        for model, mine in rows.groupby("model"):
            for name, figure in declared.items():
                drawn = _draw(figure, mine, metrics[figure.metric])
                if drawn:
                    (part / f"{names[name, model]}.svg").write_text(_svg(drawn), encoding="utf-8")


def file_names(pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a file's name for each figure and model: the two as they are, if they are a plain name that no other pair has.

    Else a digest of the two follows what can be kept of them. Case does not tell names apart, as some file systems ignore it.
    """
    plain = {pair: re.sub(r"[^A-Za-z0-9.+=-]+", "_", "_".join(pair))[:80].strip(".") for pair in pairs}
    taken = Counter(name.lower() for name in plain.values())
    return {
        pair: name if name == "_".join(pair) and taken[name.lower()] == 1 and pair[1] else f"{name}-{digest(list(pair))}"
        for pair, name in plain.items()
    }


def _svg(figure: Figure) -> str:
    """Return a figure as SVG without its document type, whose address a reader of XML might ask."""
    with io.StringIO() as buffer:
        figure.savefig(buffer, format="svg", metadata=NO_METADATA, bbox_inches="tight")
        return re.sub(r"<!DOCTYPE[^>]*>\n?", "", buffer.getvalue(), count=1)


def _draw(figure: Curves | HeatMaps, rows: pd.DataFrame, metric: Metric) -> Figure | None:
    """Draw one model's figure; None without rows."""
    rows = rows[(rows["metric"] == figure.metric) & (rows["benchmark"].isin(figure.benchmarks) | (not figure.benchmarks))].copy()
    for name in ("x", "y") if isinstance(figure, HeatMaps) else ("x",):
        axis: Axis = getattr(figure, name)
        rows[name] = rows[axis.column].str.extract(axis.pattern)[0].astype(float)
        rows = rows[rows[name].notna()]
    if rows.empty:
        return None
    return _heat_maps(figure, rows, reverse=metric.better == "lower") if isinstance(figure, HeatMaps) else _curves(figure, rows)


def _curves(curves: Curves, rows: pd.DataFrame) -> Figure:
    lines = rows["method"] + rows["setting"].map(lambda s: f" {m[0]}" if (m := re.search(curves.line, s)) else "")
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    drawn: list[Line2D] = []
    names: list[str] = []
    for line, mine in rows.groupby(lines):
        curve = mine.groupby("x")["score"]
        drawn += axes.plot(curve.mean().index, curve.mean(), marker="o", markersize=3)
        names.append(visible(line))
        if mine["seed"].nunique() > 1:
            axes.fill_between(curve.min().index, curve.min(), curve.max(), alpha=0.15)
    if curves.level is not None:
        axes.axhline(curves.level, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel=visible(curves.x.label), ylabel=visible(curves.label))
    axes.legend(drawn, names, fontsize=7, frameon=False)  # by name: of itself it leaves out those that begin with _
    return figure


def _heat_maps(maps: HeatMaps, rows: pd.DataFrame, *, reverse: bool) -> Figure:
    methods = sorted(rows["method"].unique())
    across = min(len(methods), 6)
    down = -(-len(methods) // across)
    figure = Figure(figsize=(3 * across, 3 * down))
    axes = figure.subplots(down, across, squeeze=False)
    for ax in axes.flat[len(methods) :]:
        ax.set_visible(False)
    for ax, method in zip(axes.flat, methods, strict=False):
        grid = rows[rows["method"] == method].pivot_table(index="y", columns="x", values="score")
        image = ax.imshow(
            grid.to_numpy(),
            aspect="auto",
            cmap="viridis_r" if reverse else "viridis",
            vmin=0,
            vmax=max(1.0, rows["score"].max()),
        )
        ax.set(title=visible(method), xlabel=visible(maps.x.label), ylabel=visible(maps.y.label))
        ax.set_xticks(range(len(grid.columns)), [_tick(x) for x in grid.columns])
        ax.set_yticks(range(len(grid.index)), [_tick(y) for y in grid.index])
    figure.colorbar(image, ax=axes.ravel().tolist(), label=visible(maps.label))
    return figure


def _tick(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:g}"
