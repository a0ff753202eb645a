"""How long jobs took before: Snakemake's benchmark files and its metadata, by rule and log.

A benchmark says how long a job took, not of which rule it was; metadata names the rule and the log, but counts the wait in a
cluster's queue. The rules keep a job's log and its benchmark at the same place in `logs/` and `benchmarks/`, which joins them.

Source: ours.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

SCALES = ("smoke", "laptop", "paper")


@dataclass(frozen=True)
class Times:
    """Seconds of earlier jobs: rule, then log."""

    by_rule: dict[str, dict[str, float]] = field(default_factory=dict)

    def job(self, rule: str, log: str) -> float | None:
        """Return what a job took before, else the mean of its rule at its scale."""
        before = self.by_rule.get(rule, {})
        return before[log] if log in before else self.mean(rule, scale_of(log))

    def mean(self, rule: str, scale: str | None, *, but: Iterable[str] = ()) -> float | None:
        """Return the mean of a rule's jobs at a scale, of those not in `but` if there are any; some rules are the same at every scale."""
        known = {log: s for log, s in self.by_rule.get(rule, {}).items() if scale_of(log) in (None, scale)}
        others = [s for log, s in known.items() if log not in set(but)]
        return fmean(others or known.values()) if known else None

    def add(self, rule: str, log: str, seconds: float) -> None:
        """Add what this run has just seen."""
        self.by_rule.setdefault(rule, {})[log] = seconds


def scale_of(log: str) -> str | None:
    """Return the scale that a log's path names."""
    return next((part for part in Path(log).parts if part in SCALES), None)


def read_times(folder: Path) -> Times:
    """Return what the runs in a folder recorded; what cannot be read is left out."""
    spans: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for rule, log, start, end in _metadata(folder / ".snakemake/metadata"):
        spans[rule, log].append((start, end))
    times = Times()
    for (rule, log), seen in spans.items():
        latest = max(start for start, _ in seen)  # a job has one record an output; older ones are of other code
        measured = _benchmark(folder / benchmark_of(log))
        seconds = measured if measured is not None else max(end for start, end in seen if start == latest) - latest
        if seconds > 0:
            times.add(rule, log, seconds)
    return times


def benchmark_of(log: str) -> str:
    """Return where the rules put the benchmark of a job that logs there."""
    return f"benchmarks/{log.removeprefix('logs/').removesuffix('.log')}.jsonl"


def _metadata(folder: Path) -> Iterator[tuple[str, str, float, float]]:
    for path in folder.rglob("*"):
        try:
            record = json.loads(path.read_bytes())
            yield str(record["rule"]), str(record["log"][0]), float(record["starttime"]), float(record["endtime"])
        except (OSError, ValueError, LookupError, TypeError):  # a folder, another version's, a job without a log
            continue


def _benchmark(path: Path) -> float | None:
    try:
        return fmean(float(json.loads(line)["s"]) for line in path.read_text(encoding="utf-8").splitlines() if line)
    except (OSError, ValueError, LookupError, TypeError):
        return None
