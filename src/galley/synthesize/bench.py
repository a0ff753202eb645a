"""Synthesis at 100,000 programs: memory stays flat, and after kill -9 no program that had ended is run again.

Every program is another function with two unit tests; one in ten has a fault and takes a debug round of three proposals. A child process
streams them (stream.py, executor.py); it is killed with SIGKILL at moments drawn by the seed and started again until it is done. Each ended
execution is one line appended to a log, so that a second execution of a program that had ended is seen as a line that is there twice.
The rows must be the bytes of an uninterrupted run.

Source: ours.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from galley.artifact import GalleyError, atomic_path, peak_rss_mib
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits, Outcome, Program, UnitTests
from galley.synthesize.executor import Executor
from galley.synthesize.journal import Journal
from galley.synthesize.repair import Failure, search
from galley.synthesize.stream import read_rows, stream
from galley.synthesize.suites import suite

COLUMNS = ["part", "setting", "metric", "unit", "ours", "goal", "met", "n", "threads", "device"]
Row = dict[str, Any]
LIMITS = Limits(cpu_s=2, wall_s=6, memory_mb=256)
BATCH = 256
GROWTH = 1.10  # peak memory at the full number over that at a tenth of it


def program(number: int) -> tuple[str, str]:
    """Return the number's program and tests; every tenth program is off by one."""
    wrong = number % 10 == 3
    code = f"def shifted(x):\n    y = x * 3\n    return y + {number + wrong}\n"
    return code, suite([f"self.assertEqual(shifted({x}), {3 * x + number})" for x in (1, 7)])


def stream_programs(folder: Path, *, n: int, workers: int) -> None:
    """Run the first n programs into folder/rows.jsonl, from where an earlier call was; progress of memory goes to folder/rss.jsonl."""
    with Sandbox(workers=workers, limits=LIMITS) as sandbox, Journal(folder / "executions.sqlite") as journal:
        run = _Logged(sandbox, journal=journal, log=folder / "ended.log")

        def work(numbers: list[int]) -> list[dict[str, Any]]:
            rows = solve(numbers, run=run)
            peak = peak_rss_mib()
            with (folder / "rss.jsonl").open("a") as handle:
                handle.write(json.dumps([numbers[-1], peak]) + "\n")
            return rows

        stream(range(n), rows=folder / "rows.jsonl", batch=BATCH, work=work, run=run, total=n, what="programs")


def solve(numbers: list[int], *, run: Executor) -> list[dict[str, Any]]:
    """Return one row a number: whether its program passed, at once or after one debug round of three proposals."""
    pairs = [program(number) for number in numbers]
    outcomes = run.all([Program(str(i), code, UnitTests(tests, "shifted")) for i, (code, tests) in enumerate(pairs)])
    rows = [
        {"number": i, "passed": o.verdict == "pass", "round": 0, "tests_run": o.tests_run} for i, o in zip(numbers, outcomes, strict=True)
    ]
    wrong = [i for i, o in enumerate(outcomes) if o.verdict != "pass"]
    failures = [Failure(str(i), *pairs[i], "shifted", outcomes[i]) for i in wrong]
    proposals = search(failures, n=3, tries=0, run=run, limits=LIMITS)
    asked = [
        Program(f"{i}/{j}", edit.code, UnitTests(pairs[i][1], "shifted"))
        for i, mine in zip(wrong, proposals, strict=True)
        for j, edit in enumerate(mine)
    ]
    for asking, outcome in zip(asked, run.all(asked), strict=True):
        row = rows[int(asking.id.split("/")[0])]
        row.update(round=1, passed=row["passed"] or outcome.verdict == "pass")
    return rows


class _Logged(Executor):
    """An executor that notes every execution that ended, after it is on record."""

    def __init__(self, sandbox: Sandbox, *, journal: Journal, log: Path) -> None:
        super().__init__(sandbox, journal=journal)
        self.log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def ended(self, outcome: Outcome) -> None:
        """Append the program's key."""
        os.write(self.log, outcome.id.encode() + b"\n")


def write_bench(out: Path, *, programs: int = 100_000, kills: int = 3, workers: int | None = None, seed: int = 0) -> None:
    """Write the bench as csv: a tenth of the programs in one life, then all of them through `kills` kills."""
    if programs < 10 * BATCH:
        raise GalleyError(f"programs is {programs}; the bench compares memory at a tenth of it, so it takes at least {10 * BATCH}")
    workers = workers or os.cpu_count() or 1
    with TemporaryDirectory() as scratch:
        tenth, whole = Path(scratch) / "tenth", Path(scratch) / "whole"
        first = _child(tenth, n=programs // 10, workers=workers)
        seconds = _child(whole, n=programs, workers=workers, kills=kills, seed=seed, expected_s=10 * first)
        rows = list(report(tenth, whole, programs=programs, kills=kills, first=first, seconds=seconds, workers=workers))
    with atomic_path(out) as part:
        pd.DataFrame(rows).reindex(columns=COLUMNS).to_csv(part, index=False, float_format="%.6g")


def report(tenth: Path, whole: Path, *, programs: int, kills: int, first: float, seconds: float, workers: int) -> Iterator[Row]:
    """Yield the bench's rows from what the two runs left."""
    n = programs // 10
    small, large = (max(json.loads(line)[1] for line in (f / "rss.jsonl").read_text().splitlines()) for f in (tenth, whole))
    once, ended = ((f / "ended.log").read_text().split() for f in (tenth, whole))
    passed = [row["passed"] for row in read_rows(whole / "rows.jsonl")]

    def row(metric: str, unit: str, ours: float, n: int = programs, *, goal: float | None = None, killed: int = kills) -> Row:
        met = None if goal is None else ours <= goal
        return {"part": "synthesis", "setting": f"{killed} kills", "metric": metric, "unit": unit, "ours": ours, "goal": goal, "met": met,
                "n": n, "threads": workers, "device": "cpu"}  # fmt: skip

    yield row("seconds", "s", first, n, killed=0)
    yield row("executions", "count", len(once), n, killed=0)
    yield row("peak_rss", "MiB", small, n, killed=0)
    yield row("seconds", "s", seconds)
    yield row("executions", "count", len(ended))
    yield row("peak_rss", "MiB", large)
    yield row("peak_rss_over_that_of_a_tenth", "ratio", large / small, goal=GROWTH)
    yield row("programs_without_a_row", "count", abs(programs - len(passed)), goal=0)
    yield row("passed", "fraction", sum(passed) / len(passed))
    yield row("ended_programs_run_again", "count", len(ended) - len(set(ended)), goal=0)
    yield row("rows_unlike_an_uninterrupted_run", "count", differing(tenth / "rows.jsonl", whole / "rows.jsonl", n=n), n, goal=0)


def differing(left: Path, right: Path, *, n: int) -> int:
    """Return how many of the first n lines of two files differ."""
    with left.open("rb") as a, right.open("rb") as b:
        return sum(next(a, b"") != next(b, b"") for _ in range(n))


def _child(folder: Path, *, n: int, workers: int, kills: int = 0, seed: int = 0, expected_s: float = 0.0) -> float:
    """Stream n programs in a child process, killed `kills` times on the way; return the seconds of all its lives."""
    folder.mkdir(parents=True)
    rng, started = random.Random(seed), time.perf_counter()
    call = (
        "from pathlib import Path; from galley.synthesize.bench import stream_programs; "
        f"stream_programs(Path({str(folder)!r}), n={n}, workers={workers})"
    )
    for life in range(kills + 1):
        child = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.PIPE)
        try:
            _, said = child.communicate(timeout=rng.uniform(0.3, 0.6) * expected_s + 1 if life < kills else None)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            continue
        if child.returncode:
            raise GalleyError(f"the streaming child ended with {child.returncode}: {said.decode(errors='replace')[-500:]}")
        break
    return time.perf_counter() - started
