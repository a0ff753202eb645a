"""Metrics as data: one unit in the whole project, which way is better, and whether readers compare it or only check it.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import Field, TypeAdapter, ValidationError

from galley.artifact import GalleyError
from galley.recipe import Strict


class Metric(Strict):
    """What a number of this name means."""

    unit: str = Field(min_length=1)
    better: Literal["lower", "higher", "neither"]
    what: str = Field(min_length=1)
    role: Literal["result", "check"] = Field(default="result", description="check: listed with the claims, not in the paper-form table")

    @property
    def higher_is_better(self) -> bool | None:
        """Return the direction; None where neither way is better."""
        return {"higher": True, "lower": False, "neither": None}[self.better]


def load_metrics(path: Path) -> dict[str, Metric]:
    """Read the metrics' registry; a GalleyError names file, metric and field."""
    try:
        return TypeAdapter(dict[str, Metric]).validate_python(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise GalleyError(f"no registry of metrics at {path}") from None
    except yaml.YAMLError as error:
        raise GalleyError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        raise GalleyError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def check_metrics(rows: pd.DataFrame, metrics: Mapping[str, Metric], *, path: Path) -> None:
    """Refuse rows whose metric is not registered, or that give it another unit; an empty unit takes the registered one."""
    for metric, unit in rows[["metric", "unit"]].drop_duplicates().itertuples(index=False):
        if metric not in metrics:
            raise GalleyError(f"rows have the metric {metric!r}, which {path} does not declare; add its unit, direction and meaning there")
        if unit and unit != metrics[metric].unit:
            raise GalleyError(f"rows give {metric} in {unit!r}, but {path} declares {metrics[metric].unit!r}: one unit a metric")
