"""Metrics as data: one unit in the whole project, which way is better, and whether readers compare it or only check it.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from galley.artifact import GalleyError
from galley.declared import checked, read_yaml
from galley.recipe import Name, Strict, Text


class Metric(Strict):
    """What a number of this name means."""

    unit: Name
    better: Literal["lower", "higher", "neither"]
    what: Text
    kind: Literal["mean", "rate"] = Field(default="mean", description="rate: of items that are hits (1) or misses (0): Wilson's interval")
    role: Literal["result", "check"] = Field(default="result", description="check: listed with the claims, not in the paper-form table")

    @property
    def higher_is_better(self) -> bool | None:
        """Return the direction; None where neither way is better."""
        return {"higher": True, "lower": False, "neither": None}[self.better]


Metrics = dict[str, Metric]


def load_metrics(path: Path) -> Metrics:
    """Read the metrics' registry; a GalleyError names file, line, metric and field."""
    metrics: Metrics = checked(Metrics, read_yaml(path, what="registry of metrics", home="recipes/metrics.yaml"))
    return metrics


def check_metrics(rows: pd.DataFrame, metrics: Mapping[str, Metric], *, path: Path) -> None:
    """Refuse rows whose metric is not registered, or that give it another unit; an empty unit takes the registered one."""
    for metric, unit in rows[["metric", "unit"]].drop_duplicates().itertuples(index=False):
        if metric not in metrics:
            raise GalleyError(f"rows have the metric {metric!r}, which {path} does not declare; add its unit, direction and meaning there")
        if unit and unit != metrics[metric].unit:
            raise GalleyError(f"rows give {metric} in {unit!r}, but {path} declares {metrics[metric].unit!r}: one unit a metric")
