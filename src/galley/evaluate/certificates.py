"""A row of the certificates table: what was scored, what it gave, and between which bounds it must lie.

Source: ours.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galley.artifact import GalleyError, atomic_path

if TYPE_CHECKING:
    import pandas as pd  # as slow to import as all else of a help page

COLUMNS = [
    "paper", "scale", "model", "method", "setting", "benchmark", "metric", "unit", "value", "n_items", "status", "reason",
]  # fmt: skip
ABSENT = "data: out of reach (neither mirror nor hub)"


def row(
    benchmark: str, metric: str, method: str, value: float, *, n: int, low: float, high: float, unit: str = "fraction",
    setting: str = "", note: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Return a certificate: ok inside low..high, failed outside; the reason states the bounds and a note."""
    wanted = f"{low:.6g}" if low == high else f"at least {low:.6g}" if high == math.inf else f"{low:.6g} to {high:.6g}"
    return {"paper": "any", "scale": "any", "model": "known answers", "method": method, "setting": setting, "benchmark": benchmark,
            "metric": metric, "unit": unit, "value": float(value), "n_items": n,
            "status": "ok" if low <= value <= high else "failed", "reason": f"must be {wanted}{note and f'; {note}'}"}  # fmt: skip


def not_run(benchmark: str, metric: str, reason: str = ABSENT) -> dict[str, Any]:
    """Return the row of a certificate that could not be made."""
    return {**row(benchmark, metric, "gold", math.nan, n=0, low=1.0, high=1.0), "status": "not_run", "reason": reason}


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write certificates to `out`; GalleyError, after writing, that names an evaluator which failed."""
    with atomic_path(out) as part:
        table.to_csv(part, index=False, float_format="%.6g")
    failed = table[table["status"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        raise GalleyError(
            f"{len(failed)} certificates failed, such as {first['benchmark']} on {first['method']}: {first['metric']} is "
            f"{first['value']:.4g}, but {first['reason']}; do not use its numbers (see {out})"
        )
