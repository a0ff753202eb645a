"""D2: a model's own tests filter its solutions: precision rises, coverage falls, and most of the tests are wrong.

arXiv:2502.11460 has a language model write the tests. Here both sides are real: CodeGen-16B's solutions and test suites for HumanEval
(CodeT, arXiv:2207.10397). Of a task's suites the most frequent asserts that call the function are its tests; a solution is kept if it
passes k of them drawn at random, and judged by HumanEval+. All solutions of a task see the same draws.

Controls: keeping as many at random; another task's tests under this function's name (D4); tests recorded from the reference.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galley.artifact import atomic_path
from galley.data.code_benchmarks import PlusTask, read_humaneval_plus
from galley.data.fetched import present
from galley.data.published_programs import read_codet
from galley.papers.unitcoder.mutation import OWN_ORACLE
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of, ratio_rows
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program, UnitTests
from galley.stage import Job
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task, answered, passes
from galley.synthesize.suites import calls, comparison, number_of, recorded, renamed, suite
from galley.tables.items import Rows, absent, count, fraction, unreached
from galley.tables.ledger import leave

MODEL, BENCHMARK = "CodeGen-16B", "HumanEval+"
DRAWS = (0, 1, 2, 3, 5, 8)
STOPS = re.compile(r"\n(?:class|def|#|if|print|assert|@|\"\"\"|''')")  # a completion ends where a new top-level statement begins


@dataclass(frozen=True)
class Solved:
    """A task with its solutions, its asserts and what was seen: right by the oracle, and passes[solution][assert]."""

    task: Task
    asserts: tuple[str, ...]
    right: tuple[bool, ...]
    passes: tuple[tuple[bool, ...], ...]
    reference: tuple[bool, ...]
    permuted: tuple[tuple[bool, ...], ...]
    recorded: tuple[tuple[bool, ...], ...]


def run_model_tests(job: Job, *, sources: Path, workers: int) -> None:
    """Write programs.jsonl (solutions with their verdicts), model_tests.items.parquet and .runs.csv."""
    plan, out = job.plan, job.out
    missing = [name for name in ("humaneval_plus", "codet") if not present(sources / name)]
    if missing:
        rows: Rows = [absent("model_tests", BENCHMARK, metric, unreached(missing[0]), model=MODEL, setting=f"k={k}")
                      for metric in ("precision", "coverage") for k in DRAWS]  # fmt: skip
        rows += [absent(m, BENCHMARK, "total_yield", unreached(missing[0]), model=MODEL) for m in ("permuted_asserts", "own_asserts")]
        with atomic_path(out / "programs.jsonl") as part:
            part.write_text("")
        leave(job, rows, backend="none")
        return
    tasks = [t for t in read_humaneval_plus(sources / "humaneval_plus") if t.id not in OWN_ORACLE]
    solutions = read_codet(sources / "codet", tasks, per_task=plan.model_tests.solutions)
    suites = read_codet(sources / "codet", tasks, per_task=100, kind="tests")
    with Sandbox(workers=workers, limits=limits_of(plan)) as sandbox:
        run = Executor(sandbox)
        solved, programs = score(tasks, solutions, suites, plan=plan, run=run)
        rows = report(solved, plan=plan)
    leave(job, rows, backend=run.isolation)
    with atomic_path(out / "programs.jsonl") as part, part.open("w", encoding="utf-8") as handle:
        for s in solved:
            for n, code in enumerate(programs[s.task.id]):
                row = {"task_id": s.task.id, "entry_point": s.task.entry_point, "code": code, "right": s.right[n]}
                row["passes"] = list(s.passes[n])
                handle.write(json.dumps(row) + "\n")


def score(
    tasks: Sequence[PlusTask], solutions: Mapping[str, Sequence[str]], suites: Mapping[str, Sequence[str]], *, plan: Plan, run: Executor
) -> tuple[list[Solved], dict[str, list[str]]]:
    """Return what every solution of every task does on the oracle's inputs and on each assert; tasks without asserts are left out."""
    wanted, limits = plan.model_tests, limits_of(plan)
    asserts = {t.id: model_asserts(suites.get(t.id, ()), t.entry_point)[: wanted.asserts] for t in tasks}
    oracles = answered([_oracle(t, wanted.inputs) for t in tasks if asserts[t.id]], run=run, limits=limits)
    order = sorted(oracles, key=lambda t: random.Random(f"{plan.data_seed} {t.id}").random())
    other = {t.id: order[(i + 1) % len(order)] for i, t in enumerate(order)}
    found, programs = [], {}
    for task, prompt in ((t, next(p for p in tasks if p.id == t.id)) for t in oracles):
        codes = [prompt.prompt + cut(text) for text in solutions[task.id]]
        strange = [renamed(a, other[task.id].entry_point, task.entry_point) for a in asserts[other[task.id].id]]
        texts = [recorded(task.entry_point, x, c.value) for x, c in zip(task.inputs, task.expected, strict=True)]
        truths = [text for text in texts if text][: wanted.asserts]
        outcomes = run.all([Program(f"{task.id}/{n}", code, Calls(task.entry_point, task.inputs), limits) for n, code in enumerate(codes)])
        found.append(
            Solved(
                task,
                tuple(asserts[task.id]),
                tuple(all(passes(task, o)) for o in outcomes),
                passed_asserts(codes, asserts[task.id], task.entry_point, run=run, limits=limits),
                passed_asserts([task.code], asserts[task.id], task.entry_point, run=run, limits=limits)[0],
                passed_asserts(codes, strange, task.entry_point, run=run, limits=limits),
                passed_asserts(codes, truths, task.entry_point, run=run, limits=limits),
            )
        )
        programs[task.id] = codes
    return found, programs


def model_asserts(samples: Sequence[str], entry_point: str) -> list[str]:
    """Return the asserts of a model's suites that parse and call the function, the most frequent first (then the first seen)."""
    counts: Counter[str] = Counter()
    for text in samples:
        for part in re.split(r"\bassert\b", text):
            whole, line = part.strip(), part.strip().split("\n")[0]
            found = next((c for c in (whole, line) if c and comparison(f"assert {c}")), None)
            if found and calls(f"assert {found}", entry_point):
                counts[comparison(f"assert {found}") or ""] += 1
    return [text for text, _ in counts.most_common()]


def cut(completion: str) -> str:
    """Return a completion up to where a new top-level statement begins."""
    return STOPS.split(completion)[0] + "\n"


def passed_asserts(
    codes: Sequence[str], asserts: Sequence[str], entry_point: str, *, run: Executor, limits: Limits
) -> tuple[tuple[bool, ...], ...]:
    """Return which asserts each program passes; one that does not load, or ends the run, passes none."""
    if not asserts:
        return tuple(() for _ in codes)
    text = suite(asserts, test_cpu_s=limits.cpu_s / (2 * len(asserts)))
    found = []
    for outcome in run.all([Program(str(n), code, UnitTests(text, entry_point), limits) for n, code in enumerate(codes)]):
        failed = {number_of(name) for name, _ in outcome.failures}
        whole = outcome.tests_run == len(asserts)
        found.append(tuple(whole and i not in failed for i in range(len(asserts))))
    return tuple(found)


def report(solved: Sequence[Solved], *, plan: Plan) -> Rows:
    """Return precision and coverage by the number of asserts, for the model's asserts and the controls, and how many asserts are right."""
    rows: Rows = [
        *ratio_rows(
            {s.task.id: float(sum(s.reference)) for s in solved}, {s.task.id: float(len(s.reference)) for s in solved},
            model=MODEL, method="model_tests", benchmark=BENCHMARK, metric="right_asserts",
        ),
        count("model_tests", BENCHMARK, "solutions", sum(len(s.right) for s in solved), model=MODEL),
        count("model_tests", BENCHMARK, "tasks", len(solved), model=MODEL),
        *(fraction("reference", BENCHMARK, "right_asserts", 1.0, model=MODEL, item_id=s.task.id) for s in solved),
    ]  # fmt: skip
    for method, chosen in (("model_tests", "passes"), ("reference_tests", "recorded")):
        for k in DRAWS:
            rows += draw_rows(solved, chosen=chosen, k=k, draws=plan.model_tests.draws, seed=plan.data_seed, method=method)
    for method, chosen in (("permuted_asserts", "permuted"), ("own_asserts", "passes"), ("reference_asserts", "recorded")):
        kept = sum(all(v) for s in solved for v in getattr(s, chosen) if v)
        rows.append(fraction(method, BENCHMARK, "total_yield", kept / sum(len(s.right) for s in solved), model=MODEL))
    return rows


def draw_rows(solved: Sequence[Solved], *, chosen: str, k: int, draws: int, seed: int, method: str) -> Rows:
    """Return precision, its control (as many kept at random) and coverage for k asserts drawn `draws` times a task."""
    hits, kept, base, covered = {}, {}, {}, {}
    for s in solved:
        vectors = getattr(s, chosen)
        rng = random.Random(f"{seed} {k} {s.task.id}")
        hits[s.task.id] = kept[s.task.id] = covered[s.task.id] = 0.0
        for _ in range(draws):
            drawn = rng.sample(range(len(vectors[0])), min(k, len(vectors[0])))
            passing = [all(v[i] for i in drawn) for v in vectors]
            kept[s.task.id] += sum(passing) / draws
            hits[s.task.id] += sum(p and r for p, r in zip(passing, s.right, strict=True)) / draws
            covered[s.task.id] += any(passing) / draws
        base[s.task.id] = float(sum(s.right))
    share = sum(kept.values()) / sum(len(s.right) for s in solved)
    common: dict[str, Any] = {"model": MODEL, "benchmark": BENCHMARK, "setting": f"k={k}"}
    rows = [
        *ratio_rows(hits, kept, method=method, metric="precision", **common),
        fraction(method, BENCHMARK, "kept_share", share, model=MODEL, setting=f"k={k}"),
        *(fraction(method, metric="coverage", value=c, item_id=i, **common) for i, c in covered.items()),
    ]
    if method == "model_tests":
        total = {s.task.id: float(len(s.right)) for s in solved}
        rows += ratio_rows(base, total, method="control:random", metric="precision", **common)
        rows += [fraction("control:random", metric="coverage", value=1.0, item_id=s.task.id, **common) for s in solved]
    return rows


def _oracle(task: PlusTask, inputs: int) -> Task:
    """Return a task with its base inputs and as many of its plus inputs, drawn by the task's name."""
    plus = random.Random(task.id).sample(list(task.plus), min(inputs, len(task.plus)))
    return Task(task.id, task.reference, task.entry_point, tuple(tuple(x) for x in (*task.base, *plus)), atol=task.atol)
