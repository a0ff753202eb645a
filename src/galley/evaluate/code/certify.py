"""Certificates of the code benchmarks: canonical solutions pass, all of them; wrong programs and attacks do not.

Source: ours. A benchmark whose canonical solutions do not all pass on this machine is not scored: a limit that is too tight for it
would be counted against every model. Wrong answers may pass a few tasks whose tests ask for nothing (Mbpp/164 takes any value).
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError, code_digest, digest, file_lock, write_json
from galley.data.fetched import present
from galley.evaluate.certificates import not_run, row
from galley.evaluate.code.attacks import ATTACKS, attack
from galley.evaluate.code.benchmarks import BENCHMARKS, CERTIFIED, Benchmark
from galley.evaluate.code.judge import Result
from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox

NEAR_ZERO = 0.02
ATTACKED = 2  # tasks of each benchmark that every attack is tried on
SLOW = ("forever",)  # one task, and none of a sample: it costs all of the time limit
WRONG: dict[str, Callable[[Any, Any], str]] = {
    "corrupted:empty": lambda task, other: task.prompt,
    "corrupted:pass": lambda task, other: f"def {task.entry_point}(*args, **kwargs):\n    pass\n",
    "corrupted:return_none": lambda task, other: f"def {task.entry_point}(*args, **kwargs):\n    return None\n",
    "corrupted:exchanged": lambda task, other: f"{other.reference}\n{task.entry_point} = {other.entry_point}\n",
}


def certify_code(sources: Path, *, limit: int | None = None, workers: int = 1, kept: Path | None = None) -> list[dict[str, Any]]:
    """Return certificates of every benchmark, on at most `limit` tasks each; absent data and a machine without isolation are `not_run`."""
    here = {name: present(sources / BENCHMARKS[name].source) for name in CERTIFIED}
    rows = [not_run(name, "pass@1") for name, there in here.items() if not there]
    if not any(here.values()):
        return rows
    try:
        with Sandbox(workers=workers) as sandbox:
            for name in (name for name, there in here.items() if there):
                rows += certify_benchmark(BENCHMARKS[name], sources, sandbox=sandbox, limit=limit, kept=kept or kept_folder())
    except GalleyError as error:
        if not str(error).startswith("no_sandbox"):
            raise
        return [not_run(name, "pass@1", str(error)) for name in CERTIFIED]
    return rows


def kept_folder() -> Path:
    """Return the folder for reference outputs and records of certification."""
    from galley.data.cache import cache_dir

    return cache_dir() / "code_benchmarks"


def certify_benchmark(bench: Benchmark, sources: Path, *, sandbox: Sandbox, limit: int | None, kept: Path) -> list[dict[str, Any]]:
    """Return a benchmark's certificates: canonical solutions, wrong answers, attacks."""
    tasks = bench.read(sources / bench.source)
    if limit is None and len(tasks) != bench.size:
        raise GalleyError(f"{bench.name} has {len(tasks)} tasks; it must have {bench.size}")
    tasks = tasks[:: max(1, len(tasks) // limit)][:limit] if limit else tasks
    by_id = {task.id: task for task in tasks}
    headline, rows = bench.suites[-1], []
    common = {"setting": f"{headline}, python {platform.python_version()}, {sandbox.isolation}"}

    def share(programs: Sequence[str], some: Sequence[Any]) -> tuple[float, str]:
        samples = [Sample(n, task.id, program) for n, (task, program) in enumerate(zip(some, programs, strict=True), start=1)]
        results = [r for r in bench.judge(sandbox, samples, by_id, kept) if r.suite == headline]
        # who passed and should not have, or the other way round
        odd = [r for r in results if r.passed == (programs[r.line - 1] != some[r.line - 1].reference)]
        return sum(r.passed for r in results) / len(results), ", ".join(_said(r) for r in odd[:20])

    def add(method: str, programs: Sequence[str], some: Sequence[Any], *, low: float = 0.0, high: float = 0.0) -> None:
        began = time.monotonic()
        value, odd = share(programs, some)
        rows.append(row(bench.name, "pass@1", method, value, n=len(some), low=low, high=high, note=odd, **common))
        print(f"{bench.name} {method}: {value:.3f} of {len(some)} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    add("gold:canonical", [t.reference for t in tasks], tasks, low=1.0, high=1.0)
    for method, wrong in WRONG.items():
        add(method, [wrong(t, o) for t, o in zip(tasks, tasks[1:] + tasks[:1], strict=True)], tasks, high=NEAR_ZERO)
    for name in ATTACKS:
        if limit and name in SLOW:
            continue
        some = tasks[: 1 if name in SLOW else ATTACKED]
        add(f"attack:{name}", [attack(name, t.entry_point) for t in some], some)
    return rows


def _said(result: Result) -> str:
    return f"{result.task_id} (passed)" if result.passed else f"{result.task_id} ({result.verdict}: {result.reason})"


def require_certified(bench: Benchmark, tasks: Mapping[str, Any], *, sandbox: Sandbox, kept: Path) -> None:
    """Run the canonical solutions of tasks, once per machine and version; GalleyError when one does not pass.

    What passed is remembered in `kept` under a digest of the tasks, the interpreter, the isolation and the judges' code.
    """
    facts = [platform.python_version(), platform.node(), sandbox.isolation, code_digest("galley.evaluate.code.benchmarks")]
    record = kept / f"certified-{bench.name}.json"
    with file_lock(record):
        known = json.loads(record.read_text()) if record.exists() else {}
        keys = {name: digest([*facts, task.reference, repr(task)[:100_000]]) for name, task in tasks.items()}
        new = {name: task for name, task in tasks.items() if known.get(name) != keys[name]}
        if not new:
            return
        samples = [Sample(n, name, task.reference) for n, (name, task) in enumerate(new.items(), start=1)]
        failed = [r for r in bench.judge(sandbox, samples, new, kept) if not r.passed]
        if failed:
            raise GalleyError(
                f"{bench.name} is not certified here: the canonical solutions of {', '.join(_said(r) for r in failed[:5])} do not pass; "
                "give the machine more time, or see `galley code-certify`"
            )
        write_json(record, known | {name: keys[name] for name in new})
