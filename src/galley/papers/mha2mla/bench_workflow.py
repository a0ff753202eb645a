"""The workflow's own cost: the command line's start, dry runs, and the smoke DAG against its stages' own work.

Source: ours. Imports count as overhead: a stage's own work is its wall time less that of importing torch and transformers.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from galley.papers.mha2mla.bench_rows import limit_row

TREE = ("Snakefile", "config.yaml", "rules", "recipes", "profiles")


def bench_workflow() -> list[dict[str, Any]]:
    """Return the rows; run from the project's folder."""
    row = partial(limit_row, part="workflow", n=1, threads=1, dtype="", device="cpu")
    rows = [row(setting="galley --help", metric="cpu", unit="s", ours=cpu_seconds(["galley", "--help"]), limit=0.4)]
    with tempfile.TemporaryDirectory() as folder:
        for name in TREE:
            source, target = Path(name), Path(folder) / name
            shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
        for scale in ("smoke", "laptop", "paper"):
            seconds = wall_seconds(["snakemake", "all", "-n", "--config", f"scale={scale}"], cwd=folder)
            rows.append(row(setting=f"dry run, {scale}", metric="wall", unit="s", ours=seconds, limit=5))
        smoke = ["snakemake", "--cores", "1", "results/table_mha2mla.csv", "--config", "scale=smoke"]
        # Sources come first: a download's time is the network's.
        wall_seconds([*smoke, "--until", "fetch_source"], cwd=folder)
        wall = wall_seconds(smoke, cwd=folder)
        again = wall_seconds(smoke, cwd=folder)
        imports = wall_seconds([sys.executable, "-c", "import galley.papers.mha2mla.arms"], cwd=folder)
        stages = [json.loads(p.read_text().splitlines()[-1])["s"] for p in Path(folder, "benchmarks/smoke").rglob("*.jsonl")]
    own = sum(stages) - imports * len(stages)
    rows.append(row(setting="smoke DAG over its stages' own work, one core", metric="overhead", unit="ratio", ours=wall / own, limit=1.3))
    rows.append(row(setting="smoke DAG, one core", metric="wall", unit="s", ours=wall, limit=240))
    rows.append(row(setting="second run", metric="wall", unit="s", ours=again, limit=5))
    return rows


def wall_seconds(command: list[str], *, cwd: str) -> float:
    """Return the wall time of a command; its output on failure is the error's."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - start


def cpu_seconds(command: list[str], *, repeats: int = 3) -> float:
    """Return the least CPU time of a command over repeats."""
    seen = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seen.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seen)
