"""The pipeline on functions of the corpus, and its exact claims (E1 to E4).

Each function goes in twice: as it is, and with one seeded fault (a first-order mutant). Its tests are calls recorded from the function
as it is; half of the inputs are shown, the other half judge what is kept. The test writer is therefore `recorded`, no model, and the
debugger the search repairer: the claims are about the pipeline's own logic, which takes language models in the same places.

arXiv:2502.11460, section 2.2. Beside it, as rows: the same faulty programs under tests recorded from themselves, which certify their
faults (D5), and under blind edits, as many as the search tries (D3); doctests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from galley.papers.unitcoder.agents import (
    GivenTests,
    Item,
    PrintRefiner,
    SearchDebugger,
)  # fmt: skip
from galley.papers.unitcoder.export import write_files
from galley.papers.unitcoder.model_run import language_model, run_models
from galley.papers.unitcoder.pipeline import Row, Settings, synthesize
from galley.papers.unitcoder.pipeline_rows import (
    BUG,
    LISTS,
    SUBSET,
    again_rows,
    control_rows,
    doctest_rows,
    exact_rows,
    guidance_rows,
    precision_rows,
    self_recorded_rows,
    task_of,
    yield_rows,
)
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of
from galley.sandbox.pool import Sandbox
from galley.stage import Job
from galley.synthesize.edits import mutants
from galley.synthesize.executor import Executor
from galley.synthesize.journal import Journal
from galley.synthesize.oracles import Task, answered
from galley.synthesize.stream import read_rows, stream
from galley.synthesize.suites import recorded
from galley.synthesize.typed_inputs import typed_tasks
from galley.tables.items import Rows, count
from galley.tables.ledger import leave


def run_pipeline(job: Job, *, functions: Path, agent: Path | None, workers: int) -> None:
    """Write pipeline/{passed,failed,error,polished,sft}.jsonl, pipeline.items.parquet and pipeline.runs.csv.

    The files are those of the plan's agents: language models where it names some (`agent` is a local one's directory), else stand-ins.
    """
    plan, out = job.plan, job.out
    limits = limits_of(plan)
    settings = settings_of(plan)
    with (
        Sandbox(workers=workers, limits=limits) as sandbox,
        Sandbox(workers=workers, limits=limits, hash_seed=plan.data_seed + 1) as fresh,
    ):
        plain, twin = Executor(sandbox), Executor(fresh)
        corpus = {row["id"]: row for row in read_rows(functions)}
        tasks = corpus_tasks(corpus, plan=plan, run=plain, again=twin)
        items = list(with_faults(tasks, seed=plan.data_seed))
        run = Executor(sandbox, journal=Journal(job.state / "executions.sqlite"))
        search = SearchDebugger(tries=plan.pipeline.tries, run=run, limits=limits)
        shown = GivenTests("recorded", {i.id: shown_tests(tasks[task_of(i.id)]) for i in items})
        rows_file = job.state / "rows.jsonl"

        def work(chunk: list[Item]) -> list[Row]:
            return synthesize(chunk, writer=shown, debugger=search, refiner=PrintRefiner(), run=run, settings=settings)

        stream(items, rows=rows_file, batch=plan.pipeline.batch, work=work, run=run, total=len(items), what="programs")
        counts = write_files(rows_file, out / ("pipeline" if plan.agents.kind == "stand_in" else "stand_in"))
        rows = list(read_rows(rows_file))  # a few hundred here; the files above were written in one pass
        report: Rows = [
            *(count("pipeline", "pipeline", f"{name}_rows", n) for name, n in counts.items()),
            *exact_rows(rows, n_input=len(items), settings=settings),
            *yield_rows(rows, functions=corpus, rounds=settings.rounds),
            *precision_rows(rows, tasks=tasks, run=plain, method="recorded"),
            *guidance_rows(items, writer=shown, search=search, run=plain, settings=settings, tries=plan.pipeline.tries),
            *self_recorded_rows(items, shown=shown, tasks=tasks, run=plain, settings=settings),
            *control_rows(items[:SUBSET], writer=shown, debugger=search, run=plain, settings=settings),
            *doctest_rows(corpus, run=plain, settings=settings),
            *again_rows(rows, run=twin, settings=settings),
        ]
        backend = language_model(plan, model=agent, cache=out / "state" / "replies")
        if backend is not None:
            report += corpus_run(corpus, backend=backend, out=out, sandbox=sandbox, plan=plan, state=job.state)
    leave(job, report, backend=plain.isolation)


def corpus_run(functions: Mapping[str, Row], *, backend: Any, out: Path, sandbox: Sandbox, plan: Plan, state: Path) -> Rows:
    """Take functions of either package list as they are through the pipeline with language models; return its report."""
    names = {n: None for which in LISTS for n in [i for i in sorted(functions) if which in functions[i]["lists"]][: plan.agents.functions]}
    chosen = [functions[name] for name in names]
    items = (Item(row["id"], row["code"], row["entry_point"], origin="corpus") for row in chosen)
    state = state.with_name(f"{state.name}-models")
    with Journal(state / "executions.sqlite") as journal:
        return run_models(
            items, backend=backend, out=out / "pipeline", state=state, run=Executor(sandbox, journal=journal), settings=settings_of(plan),
            batch=plan.pipeline.batch, total=len(chosen),
        )  # fmt: skip


def settings_of(plan: Plan) -> Settings:
    """Return the pipeline's knobs of a plan."""
    p = plan.pipeline
    return Settings(rounds=p.rounds, proposals=p.proposals, keep=p.keep, limits=limits_of(plan), seed=plan.data_seed)


def corpus_tasks(functions: Mapping[str, Row], *, plan: Plan, run: Executor, again: Executor) -> dict[str, Task]:
    """Return up to `pipeline.functions` tasks of the corpus, drawn by the seed, that answer all that they are asked.

    `again` runs them in another sandbox under another hash seed: functions that answer otherwise there (the time, the order of a set)
    are left out.
    """
    order = sorted(functions)
    random.Random(plan.data_seed).shuffle(order)
    limits, wanted, n, tasks = limits_of(plan), plan.pipeline.functions, plan.pipeline.inputs, dict[str, Task]()
    for at in range(0, len(order), 2 * wanted):
        chunk = [(i, functions[i]["code"], functions[i]["entry_point"]) for i in order[at : at + 2 * wanted]]
        found = typed_tasks(chunk, inputs=2 * n, least=n, run=run, limits=limits, seed=plan.data_seed)
        found = [replace(t, inputs=t.inputs[:n], expected=t.expected[:n]) for t in found]
        second = answered(found, run=again, limits=limits)
        same = {t.id: t.expected for t in second}
        tasks |= {t.id: t for t in found if same.get(t.id) == t.expected}
        if len(tasks) >= wanted:
            break
    return dict(list(tasks.items())[:wanted])


def with_faults(tasks: Mapping[str, Task], *, seed: int) -> Iterator[Item]:
    """Yield each task's program as it is, and with one seeded fault where it has an edit."""
    for task in tasks.values():
        yield Item(task.id, task.code, task.entry_point, origin="corpus")
        for edit in mutants(task.code, entry_point=task.entry_point, limit=1, seed=seed):
            yield Item(task.id + BUG, edit.code, task.entry_point, origin=f"seeded {edit.kind}, line {edit.line}")


def shown_tests(task: Task) -> list[str]:
    """Return the first half of a task's calls as tests."""
    half = len(task.inputs) // 2
    pairs = zip(task.inputs[:half], task.expected[:half], strict=True)
    return [text for x, c in pairs if (text := recorded(task.entry_point, x, c.value))]
