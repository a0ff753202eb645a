"""The bench: ratios against named peers, both measured in one run, interleaved, medians.

A ratio above 1 means that we are better than the peer; a row without a peer holds a figure against its goal.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import GalleyError, atomic_path

PARTS = ("decode", "convert", "train", "workflow")
COLUMNS = ["part", "setting", "metric", "unit", "ours", "peer", "peer_name", "ratio", "goal", "met", "n", "threads", "dtype", "device"]


def run_bench(*, base: Path, out: Path, parts: list[str], device: str = "cpu") -> None:
    """Write the rows of the named parts to `out` (csv); rows of other parts that are there stay."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise GalleyError(f"parts has {unknown[0]!r}; allowed: {', '.join(PARTS)}")
    if not (base / "config.json").exists():
        raise GalleyError(f"no model at {base}; make it with `snakemake --cores all {base}`")
    rows: list[dict[str, Any]] = []
    if "decode" in parts:
        from galley.models.device import resolve_device
        from galley.papers.mha2mla.bench_decode import bench_decode

        rows += bench_decode(base, device=resolve_device(device))
    if "convert" in parts:
        from galley.papers.mha2mla.bench_convert import bench_convert

        rows += bench_convert(base)
    if "train" in parts:
        from galley.papers.mha2mla.bench_train import bench_train

        rows += bench_train(base)
    if "workflow" in parts:
        from galley.papers.mha2mla.bench_workflow import bench_workflow

        rows += bench_workflow()
    frame = pd.DataFrame(rows).reindex(columns=COLUMNS)
    if out.exists():
        kept = pd.read_csv(out)
        frame = pd.concat([kept[~kept["part"].isin(parts)], frame], ignore_index=True)
    with atomic_path(out) as path:
        frame.to_csv(path, index=False, float_format="%.6g")
