"""From a samples file to scores: read, certify, run, count.

Source: ours; pass@k by Chen et al. (arXiv:2107.03374). Written: results.jsonl, a row per sample and suite; scores.csv, a row per suite
and k with its interval; rejected.jsonl, the lines that held no sample. The same samples are the same bytes.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from galley.artifact import GalleyError, atomic_dir, sha256_file
from galley.evaluate.code.benchmarks import Benchmark, benchmark, tasks_of
from galley.evaluate.code.certify import kept_folder, require_certified
from galley.evaluate.code.judge import Result, by_task
from galley.evaluate.code.pass_at_k import estimate
from galley.evaluate.code.samples import read_samples
from galley.sandbox.pool import Sandbox

KS = (1, 5, 10, 100)
SCORE_COLUMNS = [
    "benchmark", "suite", "metric", "value", "ci_low", "ci_high", "ci_method", "n_tasks", "benchmark_tasks", "n_samples", "lines_rejected",
    "isolation", "python", "samples_sha256",
]  # fmt: skip


def score_file(
    name: str, samples: Path, *, sources: Path, out: Path, workers: int = 1, partial: bool = False, unsafe: bool = False,
    kept: Path | None = None, ks: Sequence[int] = KS,
) -> pd.DataFrame:  # fmt: skip
    """Judge a samples file and write its results into the folder `out`; returns the scores.

    GalleyError: no samples, tasks without any (unless `partial`), no isolation (unless `unsafe`), or a benchmark whose canonical
    solutions do not pass here.
    """
    bench, kept = benchmark(name), kept or kept_folder()
    tasks = {task.id: task for task in tasks_of(bench, sources)}
    found, rejected = read_samples(samples, tasks)
    used = {s.task_id: tasks[s.task_id] for s in found}
    if len(used) < len(tasks) and not partial:
        absent = [task for task in tasks if task not in used]
        raise GalleyError(
            f"{samples} has no sample for {len(absent)} of {name}'s {len(tasks)} tasks, such as {', '.join(absent[:3])}; "
            "add them, or score what is there with --partial"
        )
    with Sandbox(workers=workers, unsafe=unsafe) as sandbox:
        require_certified(bench, used, sandbox=sandbox, kept=kept)
        results = bench.judge(sandbox, found, tasks, kept)
        isolation = sandbox.isolation
    facts = {"benchmark_tasks": len(tasks), "n_samples": len(found), "lines_rejected": len(rejected), "isolation": isolation,
             "python": platform.python_version(), "samples_sha256": sha256_file(samples)}  # fmt: skip
    scores = scores_of(bench, results, ks=ks, facts=facts)
    with atomic_dir(out) as part:
        _jsonl(part / "results.jsonl", (_row(r) for r in sorted(results, key=lambda r: (r.line, r.suite))))
        _jsonl(part / "rejected.jsonl", (asdict(r) for r in rejected))
        scores.to_csv(part / "scores.csv", index=False, float_format="%.6g")
    return scores


def scores_of(bench: Benchmark, results: Sequence[Result], *, ks: Sequence[int], facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return pass@k of every suite for the k that all tasks have samples for."""
    rows = []
    for suite in bench.suites:
        passed = dict(by_task([r for r in results if r.suite == suite]))
        fewest = min(len(p) for p in passed.values())
        for k in (k for k in ks if k <= fewest):
            e = estimate(passed, k)
            own = {"benchmark": bench.name, "suite": suite, "metric": f"pass@{k}", "ci_method": "bootstrap tasks", "n_tasks": len(passed)}
            rows.append({**own, "value": e.value, "ci_low": e.low, "ci_high": e.high, **facts})
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _row(result: Result) -> dict[str, Any]:
    """Return a result as a row; seconds are no result, and left out."""
    return {key: value for key, value in asdict(result).items() if key != "cpu_s"}


def _jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
