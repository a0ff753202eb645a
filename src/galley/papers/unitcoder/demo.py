"""The authors' released demo: what its files hold against its log, and whether its programs end the same way here (A1 to A3).

arXiv:2502.11460's repository has the pipeline's output for sixteen functions of its demo corpus: passed, failed and polished rows with
programs, tests and verdicts, and the log of that run. They are read and run in the sandbox, never copied. A program that needs a package
which this machine lacks, or whose recorded failure was such a lack there, says nothing about the code and is left out of A2; so is one
that its tests never call, because they define a function of its name themselves: that is A3.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from galley.data.benchmarks import read_jsonl
from galley.data.fetched import present
from galley.papers.unitcoder.pipeline import lacks, passed
from galley.papers.unitcoder.report import limits_of
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Outcome, Program, UnitTests
from galley.stage import Job
from galley.stats import derangement
from galley.synthesize.executor import Executor
from galley.tables.items import Rows, absent, count, unreached
from galley.tables.ledger import leave

MODEL, SOURCE, DEMO = "Qwen3-235B", "unitcoder_demo", "demo"
LOG = {"repaired": "Found passing solution", "passed": "Starting polish", "refined": "Polished code passed tests"}
WHOLE = "ALL"  # the released sandbox's name for a failure that no test is to blame for


class Run(NamedTuple):
    """One program of the demo with its tests, and how it ended there."""

    code: str
    tests: str
    entry_point: str
    passed: bool
    elsewhere: bool  # it ended for what the authors' machine lacked


def run_demo(job: Job, *, sources: Path, workers: int) -> None:
    """Write demo.items.parquet and demo.runs.csv."""
    folder = sources / SOURCE
    if not present(folder):
        leave(job, [absent(m, DEMO, "count", unreached(SOURCE), model=MODEL) for m in ("demo_files", "demo_again")], backend="none")
        return
    kept, lost, polished = (read_jsonl(folder / f"{n}.jsonl", fields=("id", "original")) for n in ("passed", "failed", "polished"))
    log = (folder / "pipeline.log").read_text(encoding="utf-8")
    runs = [run for row in (*kept, *lost) for run in runs_of(row)]
    firsts = [runs_of(row)[0] for row in (*kept, *lost)]
    verified = [next(run for run in runs_of(row) if run.passed) for row in kept]
    other = derangement(len(runs), seed=0)
    exchanged = [run._replace(tests=runs[j].tests) for run, j in zip(runs, other, strict=True)]
    bare = [run._replace(tests=without(run.tests, run.entry_point)) for run in verified]
    with Sandbox(workers=workers, limits=limits_of(job.plan)) as sandbox:
        run_all = Executor(sandbox)
        again, strange, own, alone = (outcomes_of(some, run=run_all) for some in (runs, exchanged, verified, bare))
    there = [run.code for run, outcome in strange if passed(outcome)]
    at_once = sum(not row["debug_rounds"] for row in kept)
    rows: Rows = [
        count("pipeline", DEMO, "16 items passed at once", at_once, model=MODEL),
        count("pipeline", DEMO, "16 items passed within three rounds", len(kept), model=MODEL),
        count("refine", DEMO, "12 items refinements kept", len(polished), model=MODEL),
        count("pipeline", DEMO, "first failures of the machine's packages", sum(run.elsewhere for run in firsts), model=MODEL),
        *gap_rows("demo_files", log, {"repaired": len(kept) - at_once, "passed": len(kept), "refined": len(polished)}),
        *gap_rows("control:other_tests:files", log, dict.fromkeys(LOG, sum(run.code in there for run in verified))),
        *again_rows("demo_again", again),
        *again_rows("control:other_tests", strange),
        count("demo_again", DEMO, "verified, never called", sum(uncalled(o) for _, o in own), model=MODEL),
        count("control:no_copy", DEMO, "verified, never called", sum(uncalled(o) for _, o in alone), model=MODEL),
        count("control:no_copy", DEMO, "verified, and pass", sum(passed(o) for _, o in alone), model=MODEL),
    ]
    leave(job, rows, backend=run_all.isolation)


def runs_of(row: Mapping[str, Any]) -> list[Run]:
    """Return the programs of a demo row: the original, the proposals of its rounds, and its refinement."""
    proposals = [part for round_ in row["debug_rounds"] or [] for part in round_]
    found, name = [], entry_point(row["original"]["code"])
    for part in [row["original"], *proposals, *([row["polish"]] if row.get("polish") else [])]:
        verdict, said = part["status"]
        found.append(Run(part["code"], part["test_code"], name, verdict == "pass", verdict != "pass" and WHOLE in (said or {})))
    return found


def entry_point(code: str) -> str:
    """Return the name of a program's last top-level function; empty where it has none."""
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    return names[-1] if names else ""


def without(tests: str, name: str) -> str:
    """Return tests without their own definition of the function that they test."""
    body = [node for node in ast.parse(tests).body if not (isinstance(node, ast.FunctionDef) and node.name == name)]
    return ast.unparse(ast.Module(body, []))


def outcomes_of(runs: Sequence[Run], *, run: Executor) -> list[tuple[Run, Outcome]]:
    """Return each program with how it ends here under its tests."""
    programs = [Program(str(n), one.code, UnitTests(one.tests, one.entry_point)) for n, one in enumerate(runs)]
    return list(zip(runs, run.all(programs), strict=True))


def uncalled(outcome: Outcome) -> bool:
    """Return whether all tests of a run passed, and none of them called the program's function."""
    return outcome.tests_run > 0 and not outcome.failures and not outcome.entry_calls


def gap_rows(method: str, log: str, counts: Mapping[str, int]) -> Rows:
    """Return by how many each count differs from what the log says."""
    return [count(method, DEMO, f"{what}, less the log's", n - log.count(LOG[what]), model=MODEL) for what, n in counts.items()]


def again_rows(method: str, outcomes: Sequence[tuple[Run, Outcome]]) -> Rows:
    """Return how many programs end otherwise than they did there, of those that their tests call and both machines can run."""
    judged = [(r, o) for r, o in outcomes if not (r.elsewhere or lacks(o) or uncalled(o))]
    return [
        count(method, DEMO, "ended otherwise", sum(passed(o) != r.passed for r, o in judged), model=MODEL),
        count(method, DEMO, "programs judged", len(judged), model=MODEL),
    ]
