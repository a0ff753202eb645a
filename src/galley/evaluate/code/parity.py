"""Our verdicts against evalplus's own, on programs that models wrote: CodeGen-16B on HumanEval+, three models on MBPP+.

Source: evalplus 0.3.1 (arXiv:2305.01210). Its `unsafe_execute`, which runs a program and compares its outputs as live objects, runs
unchanged inside our sandbox, one process a program; what stands around it (a process, shared memory, a clock) does not. Both sides
get the same inputs and expected outputs. A difference is named after its cause where that can be shown: a defect of evalplus
that our `Audit` repeats, its guard (which sets `open` and much of `os` to None, so that many imports fail) when the program passes
without it, a time limit, an output that is no plain data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from galley.artifact import GalleyError, atomic_dir
from galley.data.code_benchmarks import PlusTask
from galley.data.published_programs import SEEDS, read_codet, read_llmdebugger
from galley.evaluate.code.benchmarks import benchmark, tasks_of
from galley.evaluate.code.certify import kept_folder
from galley.evaluate.code.judge import Result, judge
from galley.evaluate.code.oracle import Audit, reference_value
from galley.evaluate.code.plus import judge_plus
from galley.evaluate.code.references import References, judged, parts, references
from galley.evaluate.code.samples import Sample
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Outcome, Program

CALL_WALL_S = 5.0
LIMITS = Limits(cpu_s=90.0, wall_s=400.0, memory_mb=6144)
HARNESS = """
from types import SimpleNamespace
import evalplus.eval

CODE = {code!r}
GUARDED = {guarded}

def theirs(dataset, entry_point, inputs, expected, limit, atol):
    if not GUARDED:
        evalplus.eval.reliability_guard = lambda maximum_memory_bytes: None
    evalplus.eval.query_maximum_memory_bytes = lambda: None  # the sandbox limits memory, and shows no /proc to ask
    stat, progress, details = SimpleNamespace(value=3), SimpleNamespace(value=0), [False] * len(inputs)
    evalplus.eval.unsafe_execute(dataset, entry_point, CODE, inputs, expected, [limit] * len(inputs), atol, True, stat, details, progress)
    return stat.value == 0 and progress.value == len(inputs) and all(details)
"""


@dataclass(frozen=True)
class Difference:
    """A program that one side passes and the other does not."""

    task_id: str
    line: int
    suite: str
    ours: str
    theirs: str
    cause: str
    reason: str


def published_programs(name: str, sources: Path, tasks: Sequence[PlusTask], *, per_task: int) -> list[Sample]:
    """Return what models wrote for a benchmark's tasks: up to `per_task` CodeGen-16B programs, or one of each of three models."""
    found: list[tuple[str, str]] = []
    if name == "humaneval_plus":
        by_id = {task.id: task for task in tasks}
        written = read_codet(sources / "codet", tasks, per_task=per_task)
        found = [(task, by_id[task].prompt + text) for task, texts in written.items() for text in texts]
    elif name == "mbpp_plus":
        wanted = {task.id for task in tasks}
        rows = [row for model in SEEDS[:per_task] for row in read_llmdebugger(sources / "llmdebugger", model)]
        found = [(row["task_id"], row["solution"]) for row in rows if row["task_id"] in wanted]
    else:
        raise GalleyError(f"benchmark is {name!r}; evalplus judges humaneval_plus and mbpp_plus")
    return [Sample(line, task, program) for line, (task, program) in enumerate(found, start=1)]


def judge_theirs(
    sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, PlusTask], suite: str, *, expected: References, guarded: bool = True
) -> list[Result]:
    """Judge programs by evalplus's own comparison, inside the sandbox; its `reliability_guard` can be left out."""
    given = {name: _given(tasks[name], suite, expected[name][suite]) for name in {s.task_id for s in samples}}

    def programs(sample: Sample) -> list[Program]:
        code = HARNESS.format(code=sample.program, guarded=guarded)
        return [Program(str(sample.line), code, Calls("theirs", arguments), LIMITS) for arguments in given[sample.task_id]]

    def verdict(sample: Sample, outcomes: list[Outcome]) -> tuple[str, str]:
        if all(o.verdict == "pass" and o.calls[0].value is True for o in outcomes):
            return "pass", ""
        return next(
            ("fail" if o.verdict == "pass" else o.verdict for o in outcomes if o.verdict != "pass" or not o.calls[0].value), "fail"
        ), ""

    return judge(sandbox, samples, suite=suite, programs=programs, verdict=verdict)


def _given(task: PlusTask, suite: str, wanted: Sequence[bytes]) -> list[list[list[object]]]:
    """Return the arguments of the harness for each part of a suite; the same objects serve all programs of the task."""
    dataset = "mbpp" if task.id.startswith("Mbpp") else "humaneval"
    values = [reference_value(task, plain.decode(wanted[i])) for i in judged(wanted)]
    given, start = [], 0
    for inputs in parts(getattr(task, suite), wanted):
        arguments = [dataset, task.entry_point, [list(i) for i in inputs], values[start : start + len(inputs)], CALL_WALL_S, task.atol]
        given.append([arguments])
        start += len(inputs)
    return given


def compare(
    sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, PlusTask], *, expected: References
) -> tuple[Counter, list[Difference]]:
    """Return how often the two sides agree, by suite and verdict, and every difference with its cause."""
    counts: Counter = Counter()
    differences: list[Difference] = []
    for suite in ("base", "plus"):
        ours = [r for r in judge_plus(sandbox, samples, tasks, expected=expected, every=True) if r.suite == suite]
        theirs = judge_theirs(sandbox, samples, tasks, suite, expected=expected)
        for mine, other in zip(ours, theirs, strict=True):
            counts[suite, mine.passed, other.passed] += 1
        odd = [(m, o) for m, o in zip(ours, theirs, strict=True) if m.passed != o.passed]
        lines = {m.line for m, _ in odd}
        differing = [s for s in samples if s.line in lines]
        again = judge_plus(sandbox, differing, tasks, expected=expected, audit=Audit(True, True), every=True)
        audited = {r.line: r.passed for r in again if r.suite == suite}
        bare = judge_theirs(sandbox, differing, tasks, suite, expected=expected, guarded=False)
        unguarded = {r.line: r.passed for r in bare}
        for mine, other in odd:
            cause = _cause(mine, other, audited=audited[mine.line], unguarded=unguarded[mine.line])
            differences.append(Difference(mine.task_id, mine.line, suite, mine.verdict, other.verdict, cause, mine.reason))
    return counts, differences


def _cause(ours: Result, theirs: Result, *, audited: bool, unguarded: bool) -> str:
    if audited == theirs.passed:
        return "find_zero never passes" if ours.task_id == "HumanEval/32" else "sticky tolerance"
    if unguarded and not theirs.passed:
        return "reliability guard"
    if "timeout" in (ours.verdict, theirs.verdict):
        return "time limit"
    return "not plain data" if "not plain" in ours.reason else "unknown"


def write_parity(name: str, *, sources: Path, out: Path, per_task: int = 3, workers: int = 1, limit: int | None = None) -> pd.DataFrame:
    """Compare verdicts on published programs; <out>/agreement.csv has the counts, <out>/differences.jsonl every difference."""
    bench = benchmark(name)
    tasks = tasks_of(bench, sources)
    tasks = tasks[:: max(1, len(tasks) // limit)][:limit] if limit else tasks
    samples = published_programs(name, sources, tasks, per_task=per_task)
    by_id = {task.id: task for task in tasks}
    with Sandbox(workers=workers) as sandbox:  # a runner that holds numpy hands outputs over by way of a copy, and has less room
        expected = references(tasks, sandbox=sandbox, folder=kept_folder())
    with Sandbox(workers=workers, preload=("evalplus.eval",)) as sandbox:
        counts, differences = compare(sandbox, samples, by_id, expected=expected)
    rows = []
    for suite in ("base", "plus"):
        mine = [d for d in differences if d.suite == suite]
        causes = Counter(d.cause for d in mine)
        facts = {"benchmark": name, "suite": suite, "programs": len(samples), "agree": len(samples) - len(mine)}
        kinds = {"both_pass": (True, True), "both_fail": (False, False), "ours_only": (True, False), "theirs_only": (False, True)}
        facts |= {kind: counts[suite, *passed] for kind, passed in kinds.items()}
        rows.append({**facts, "causes": "; ".join(f"{cause}: {n}" for cause, n in sorted(causes.items()))})
    table = pd.DataFrame(rows)
    with atomic_dir(out) as part:
        table.to_csv(part / "agreement.csv", index=False)
        (part / "differences.jsonl").write_text("".join(json.dumps(vars(d)) + "\n" for d in differences), encoding="utf-8")
    return table
