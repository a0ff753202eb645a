"""One shard of the experiment: its arms adapted, then benchmarked, in one process.

Importing torch and transformers costs seconds, so an arm's stages share a process; each keeps what it finished.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import GalleyError
from galley.models.device import resolve_device
from galley.models.spec import spec_of
from galley.papers.mha2mla.benchmark import benchmark_arm
from galley.papers.mha2mla.experiment import adapt_arms
from galley.papers.mha2mla.plan import Plan
from galley.tables.rows import write_items, write_runs


def run_shard(
    *, base: Path, corpus: Path, sources: Path, out: Path, plan: Plan, model_name: str, scale: str, shard: int, device: str = "auto"
) -> None:
    """Write arms-<shard>.items.parquet and .runs.csv; GalleyError for a shard that the scale does not have, or a GPU that is not there."""
    if shard >= plan.shards:
        raise GalleyError(f"shard is {shard}; this scale has shards 0 to {plan.shards - 1}")
    where = resolve_device(device, model=model_name, gpus=spec_of(plan.models, model_name).gpus)
    arms = plan.shard(shard)
    common: dict[str, Any] = {
        "base": base,
        "corpus": corpus,
        "out": out,
        "plan": plan,
        "model_name": model_name,
        "scale": scale,
        "device": where,
    }
    items, runs = adapt_arms(arms, **common)
    for arm in arms:
        if arm.benchmark:
            frame, run = benchmark_arm(arm, sources=sources, **common)
            items.append(frame)
            runs.append(run)
    write_items(pd.concat(items, ignore_index=True), out / f"arms-{shard}.items.parquet")
    write_runs(pd.DataFrame(runs), out / f"arms-{shard}.runs.csv")
