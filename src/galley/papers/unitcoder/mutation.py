"""D1: tests raise quality. Mutants of correct programs are kept if they pass k random tests, and judged by other inputs.

arXiv:2502.11460 keeps programs that pass their unit tests; how much that says depends on how many tests there are. Each mutant runs once
on all inputs of its task. Half of these, drawn by the seed, are the tests: the chance that it passes k of them is exact (hypergeometric),
so no draw adds noise. The other half judges it, so nothing is right because it was tested. precision(k) = right kept / kept, pooled over
tasks. Equivalent mutants are right, since no test can tell them.

Tasks: functions of the corpus with inputs that they answer, and HumanEval+ with its own inputs.
Controls: a runner that says of each mutant what it saw of another (`control:mixed_up`); tests of another task under this function's
name (`permuted`, D4), and the same without their assertions (`control:calls_only`).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from galley.data.code_benchmarks import read_humaneval_plus
from galley.data.fetched import present
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of, mixed_up, ratio_rows
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
                *curve_rows(vectors, name=name, seed=plan.data_seed),
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


def curve_rows(vectors: Mapping[tuple[str, str], Sequence[bool]], *, name: str, seed: int) -> Rows:
    """Return precision and the share kept by the number of tests, of the filter and of a runner that mixes up its programs."""
    ids = sorted({task for task, _ in vectors})
    parts = {task: halves(next(len(v) for (t, _), v in vectors.items() if t == task), name=task, seed=seed) for task in ids}
    shown = {key: [v[i] for i in parts[key[0]][0]] for key, v in vectors.items()}
    right = {key: float(all(v[i] for i in parts[key[0]][1])) for key, v in vectors.items()}
    rows: Rows = []
    for k in DRAWS:
        chance = {key: pass_chance(len(v) - sum(v), len(v), k) for key, v in shown.items()}
        for method, found in (("mutants", chance), ("control:mixed_up", mixed_up(chance, seed=seed))):
            kept, hits = dict.fromkeys(ids, 0.0), dict.fromkeys(ids, 0.0)
            for (task, mutant), share in found.items():
                kept[task] += share
                hits[task] += share * right[task, mutant]
            rows += ratio_rows(hits, kept, method=method, benchmark=name, metric="precision", setting=f"k={k}")
        share = sum(chance.values()) / len(chance)
        rows.append(fraction("mutants", name, "kept_share", share, setting=f"k={k}"))
        rows.append(count("mutants", name, "kept_programs", share * len(vectors), setting=f"k={k}"))
    return rows


def halves(n: int, *, name: str, seed: int) -> tuple[list[int], list[int]]:
    """Return the inputs that are shown as tests and those that judge, of n; the seed and the task's name decide."""
    order = random.Random(f"{seed} {name} tests").sample(range(n), n)
    return sorted(order[: n // 2]), sorted(order[n // 2 :])


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
    """D4: the share of mutants that pass ten tests of another task under this function's name, their own ten, and the mere calls."""
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
            ("control:calls_only", [strange[key[1]].verdict == "pass" for key in mine]),
        ):
            if mine:
                rows.append(fraction(method, name, "yield", sum(passed) / len(mine), item_id=task.id, weight=len(mine)))
    return rows


def _mutants(task: Task, plan: Plan):
    return mutants(task.code, entry_point=task.entry_point, limit=plan.mutants.per_task, seed=plan.data_seed)
