"""D1: tests raise quality. Mutants of correct programs are kept if they pass k random tests, and judged by all tests.

arXiv:2502.11460 keeps programs that pass their unit tests; how much that says depends on how many tests there are. Each mutant runs once
on all inputs of its task; the chance that it passes k of them is exact (hypergeometric), so no draw adds noise. precision(k) = correct
kept / kept, pooled over tasks. Equivalent mutants count as correct, since no test can tell them.

Tasks: functions of the corpus with inputs that they answer, and HumanEval+ with its own inputs.
Controls: keeping as many at random (`random`), and tests of another task under this function's name (`permuted`, D4).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from galley.data.code_benchmarks import read_humaneval_plus
from galley.data.fetched import present
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of, ratio_rows
from galley.papers.unitcoder.synthesis import corpus_tasks
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program
from galley.stage import Job
from galley.synthesize.edits import mutants
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task, answered, judged, passes
from galley.synthesize.ratios import pass_chance
from galley.synthesize.stream import read_rows
from galley.tables.items import Rows, absent, count, fraction, unreached
from galley.tables.ledger import leave

DRAWS = (0, 1, 2, 3, 5, 10, 20, 50)
OWN_ORACLE = {"HumanEval/32"}  # any root is right: its answers cannot be compared with the reference's
PERMUTED = 10  # tests of another task that a mutant is shown


def run_mutants(job: Job, *, functions: Path, sources: Path, workers: int) -> None:
    """Write mutants.items.parquet and mutants.runs.csv."""
    plan = job.plan
    limits = limits_of(plan)
    rows: Rows = []
    with (
        Sandbox(workers=workers, limits=limits) as sandbox,
        Sandbox(workers=workers, limits=limits, hash_seed=plan.data_seed + 1) as other,
    ):
        run, again = Executor(sandbox), Executor(other)
        for name in plan.mutants.benchmarks:
            tasks = mutation_tasks(name, corpus=functions, sources=sources, plan=plan, run=run, again=again)
            if not tasks:
                reason = "no function of the corpus can be called" if name == "corpus" else unreached("humaneval_plus")
                rows += [absent("mutants", name, "precision", reason, setting=f"k={k}") for k in DRAWS]
                continue
            programs = {(t.id, f"{t.id}~{i}"): e.code for t in tasks for i, e in enumerate(_mutants(t, plan))}
            vectors = pass_vectors(tasks, programs, run=run, limits=limits)
            rows += [
                count("mutants", name, "tasks", len(tasks)),
                count("mutants", name, "programs", len(programs)),
                count("mutants", name, "inputs", sum(len(t.inputs) for t in tasks)),
                *curve_rows(vectors, name=name),
                *permuted_rows(tasks, programs, vectors, name=name, run=run, limits=limits, seed=plan.data_seed),
            ]
    leave(job, rows, backend=run.isolation)


def mutation_tasks(name: str, *, corpus: Path, sources: Path, plan: Plan, run: Executor, again: Executor) -> list[Task]:
    """Return tasks with answered inputs: functions of the corpus, or HumanEval+ (base inputs first); none where its source is absent."""
    wanted, limits = plan.mutants, limits_of(plan)
    if name == "corpus":
        functions = {row["id"]: row for row in read_rows(corpus)}
        sizes = {"functions": wanted.tasks, "inputs": wanted.inputs}
        other = plan.model_copy(update={"pipeline": plan.pipeline.model_copy(update=sizes), "data_seed": plan.data_seed + 1})
        return list(corpus_tasks(functions, plan=other, run=run, again=again).values())
    if not present(sources / "humaneval_plus"):
        return []
    tasks = []
    for task in read_humaneval_plus(sources / "humaneval_plus"):
        inputs = [*task.base, *random.Random(f"{plan.data_seed} {task.id}").sample(list(task.plus), len(task.plus))]
        if task.id not in OWN_ORACLE:
            chosen = tuple(tuple(x) for x in inputs[: wanted.inputs])
            tasks.append(Task(task.id, task.reference, task.entry_point, chosen, atol=task.atol))
    return answered(tasks[: wanted.tasks], run=run, limits=limits, least=10)


def pass_vectors(
    tasks: Sequence[Task], programs: Mapping[tuple[str, str], str], *, run: Executor, limits: Limits
) -> dict[tuple[str, str], tuple[bool, ...]]:
    """Return for each (task, mutant) whether it gives the reference's answer on each input."""
    found: dict[tuple[str, str], tuple[bool, ...]] = {}
    mine: dict[str, list[str]] = defaultdict(list)
    for task_id, name in programs:
        mine[task_id].append(name)
    for task in tasks:
        made = judged(task, [(name, programs[task.id, name]) for name in mine[task.id]], limits=limits)
        found |= {(task.id, outcome.id): passes(task, outcome) for outcome in run.all(made)}
    return found


def curve_rows(vectors: Mapping[tuple[str, str], Sequence[bool]], *, name: str) -> Rows:
    """Return precision and the share kept by the number of tests, of the filter and of keeping as many at random."""
    ids = sorted({task for task, _ in vectors})
    rows: Rows = []
    right = {key: float(all(v)) for key, v in vectors.items()}
    for k in DRAWS:
        chance = {key: pass_chance(len(v) - sum(v), len(v), k) for key, v in vectors.items()}
        share = sum(chance.values()) / len(chance)
        kept = dict.fromkeys(ids, 0.0)
        hits = dict.fromkeys(ids, 0.0)
        total = dict.fromkeys(ids, 0.0)
        good = dict.fromkeys(ids, 0.0)
        for (task, _), key in ((key, key) for key in vectors):
            kept[task] += chance[key]
            hits[task] += chance[key] * right[key]
            total[task] += share
            good[task] += share * right[key]
        common: dict[str, Any] = {"benchmark": name, "setting": f"k={k}"}
        rows += ratio_rows(hits, kept, method="mutants", metric="precision", **common)
        rows += ratio_rows(hits, kept, times=2, method="mutants", metric="twice_precision", **common)
        rows += ratio_rows(good, total, method="control:random", metric="precision", **common)
        rows.append(fraction("mutants", name, "kept_share", share, setting=f"k={k}"))
        rows.append(count("mutants", name, "kept_programs", share * len(vectors), setting=f"k={k}"))
    return rows


def permuted_rows(
    tasks: Sequence[Task],
    programs: Mapping[tuple[str, str], str],
    vectors: Mapping[tuple[str, str], Sequence[bool]],
    *,
    name: str,
    run: Executor,
    limits: Limits,
    seed: int,
) -> Rows:
    """D4: the share of mutants that pass ten tests of another task, called under this function's name; their own ten beside it."""
    order = sorted(range(len(tasks)), key=lambda i: random.Random(f"{seed} {tasks[i].id}").random())
    other = {tasks[i].id: tasks[j] for i, j in zip(order, [*order[1:], order[0]], strict=True)}
    made = []
    for task in tasks:
        inputs = other[task.id].inputs[:PERMUTED]
        made += [Program(key[1], code, Calls(task.entry_point, inputs), limits) for key, code in programs.items() if key[0] == task.id]
    strange = {o.id: o for o in run.all(made)}
    rows: Rows = []
    for task in tasks:
        mine = [key for key in programs if key[0] == task.id]
        against = Task("", "", "", other[task.id].inputs[:PERMUTED], other[task.id].expected[:PERMUTED], other[task.id].atol)
        for method, passed in (
            ("permuted", [all(passes(against, strange[key[1]])) for key in mine]),
            ("own_tests", [all(vectors[key][:PERMUTED]) for key in mine]),
        ):
            if mine:
                rows.append(fraction(method, name, "yield", sum(passed) / len(mine), item_id=task.id, weight=len(mine)))
    total = {m: sum(r["score"] * r["weight"] for r in rows if r["method"] == m) / max(1, len(programs)) for m in ("permuted", "own_tests")}
    return [*rows, *(fraction(m, name, "total_yield", value) for m, value in total.items())]


def _mutants(task: Task, plan: Plan):
    return mutants(task.code, entry_point=task.entry_point, limit=plan.mutants.per_task, seed=plan.data_seed)
