"""The pipeline on functions of the corpus, and its exact claims (E1 to E4).

Each function goes in twice: as it is, and with one seeded fault (a first-order mutant). Its tests are calls recorded from the function
as it is; half of the inputs are shown, the other half judge what is kept. The test writer is therefore `recorded`, no model, and the
debugger the search repairer: the claims are about the pipeline's own logic, which takes language models in the same places.

arXiv:2502.11460, section 2.2. Beside it, as rows: tests recorded from the faulty function itself, which certify its fault, and doctests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from galley.papers.unitcoder.agents import (
    Debugger,
    DoctestWriter,
    EmptyWriter,
    GivenPrograms,
    GivenTests,
    Item,
    PrintRefiner,
    Refiner,
    RenamingRefiner,
    SearchDebugger,
    Writer,
)  # fmt: skip
from galley.papers.unitcoder.export import write_files
from galley.papers.unitcoder.model_run import language_model, run_models
from galley.papers.unitcoder.pipeline import Row, Settings, faults, kept_code, synthesize
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of, ratio_rows
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Program, UnitTests
from galley.stage import Job
from galley.synthesize.edits import mutants
from galley.synthesize.executor import Executor
from galley.synthesize.journal import Journal
from galley.synthesize.oracles import Task, answered, passes
from galley.synthesize.stream import read_rows, stream
from galley.synthesize.suites import recorded
from galley.synthesize.typed_inputs import typed_tasks
from galley.tables.items import Rows, count, fraction
from galley.tables.ledger import leave

BUG = "~bug"
SUBSET = 24  # items of the broken controls


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
            *self_recorded_rows(items, tasks=tasks, run=plain, settings=settings),
            *control_rows(items[:SUBSET], writer=shown, debugger=search, run=plain, settings=settings),
            *doctest_rows(corpus, run=plain, settings=settings),
            *again_rows(rows, run=twin, settings=settings),
        ]
        backend = language_model(plan, model=agent, cache=out / "state" / "replies")
        if backend is not None:
            report += corpus_run(corpus, backend=backend, out=out, sandbox=sandbox, plan=plan, state=job.state)
    leave(job, report, backend=plain.isolation)


def corpus_run(functions: Mapping[str, Row], *, backend: Any, out: Path, sandbox: Sandbox, plan: Plan, state: Path) -> Rows:
    """Take the corpus's functions as they are through the pipeline with language models; return its report."""
    chosen = [functions[name] for name in sorted(functions) if "ours" in functions[name]["lists"]][: plan.agents.functions]
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


def task_of(item_id: str) -> str:
    """Return the task of an item."""
    return item_id.removesuffix(BUG)


def shown_tests(task: Task) -> list[str]:
    """Return the first half of a task's calls as tests."""
    half = len(task.inputs) // 2
    pairs = zip(task.inputs[:half], task.expected[:half], strict=True)
    return [text for x, c in pairs if (text := recorded(task.entry_point, x, c.value))]


def exact_rows(rows: Sequence[Row], *, n_input: int, settings: Settings) -> Rows:
    """E2 and E3 of a run: broken invariants (0), and the fewest tests and calls of a passed program (1); a row lost as the control."""
    broken = faults(rows, n_input=n_input, settings=settings)
    passed = [row for row in rows if row["status"] == "passed"]
    return [
        count("pipeline", "pipeline", "broken_invariants", len(broken)),
        count("control:row_lost", "pipeline", "broken_invariants", len(faults(rows[1:], n_input=n_input, settings=settings))),
        count("pipeline", "pipeline", "rounds_after_pass", sum("round after" in text for text in broken)),
        count("pipeline", "pipeline", "fewest_tests", min((row["tests_run"] for row in passed), default=0)),
        count("pipeline", "pipeline", "fewest_calls", min((row["entry_calls"] for row in passed), default=0)),
    ]


def yield_rows(rows: Sequence[Row], *, functions: Mapping[str, Row], rounds: int) -> Rows:
    """Yield by round (a program passed within it), of programs with a seeded fault and of all, and by package list."""
    made: Rows = []
    for number in range(rounds + 1):
        for row in rows:
            done = row["status"] == "passed" and len(row["rounds"]) <= number
            methods = ("search", "search:faulty") if row["id"].endswith(BUG) else ("search",)
            made += [fraction(m, "pipeline", "yield", done, setting=f"round={number}", item_id=row["id"]) for m in methods]
    for name in ("ours", "control_list"):
        for row in rows:
            if name in functions[task_of(row["id"])]["lists"]:
                done = row["status"] == "passed"
                made.append(fraction(f"list:{name}", "pipeline", "yield", done, setting=f"round={rounds}", item_id=row["id"]))
    return made


def precision_rows(rows: Sequence[Row], *, tasks: Mapping[str, Task], run: Executor, method: str) -> Rows:
    """Return precision under the hidden half of the inputs, by provenance and of all that is kept."""
    kept = [row for row in rows if row["status"] == "passed"]
    hidden = {}
    for name, task in tasks.items():
        half = len(task.inputs) // 2
        hidden[name] = replace(task, inputs=task.inputs[half:], expected=task.expected[half:])
    mine = [hidden[task_of(row["id"])] for row in kept]
    outcomes = run.all([Program(row["id"], kept_code(row), Calls(t.entry_point, t.inputs)) for row, t in zip(kept, mine, strict=True)])
    right = [all(passes(t, o)) for t, o in zip(mine, outcomes, strict=True)]
    made: Rows = []
    for group in ("all", "first_pass", "debugged"):
        chosen = [(row, ok) for row, ok in zip(kept, right, strict=True) if group in ("all", row["provenance"])]
        hits = {name: float(sum(ok for row, ok in chosen if task_of(row["id"]) == name)) for name in tasks}
        counts = {name: float(sum(task_of(row["id"]) == name for row, _ in chosen)) for name in tasks}
        made += ratio_rows(hits, counts, method=method, benchmark="pipeline", metric="precision", setting=group)
    return made


def self_recorded_rows(items: Sequence[Item], *, tasks: Mapping[str, Task], run: Executor, settings: Settings) -> Rows:
    """Return yield and precision when the tests are recorded from the faulty program itself: they certify what it does."""
    faulty = [item for item in items if item.id.endswith(BUG)]
    outcomes = run.all([Program(i.id, i.code, Calls(i.entry_point, tasks[task_of(i.id)].inputs)) for i in faulty])
    tests = {}
    for item, outcome in zip(faulty, outcomes, strict=True):
        task = tasks[task_of(item.id)]
        half = len(task.inputs) // 2
        pairs = list(zip(task.inputs, outcome.calls, strict=False))[:half]
        texts = [recorded(item.entry_point, x, c.value) for x, c in pairs if c.status == "value"]
        tests[item.id] = [text for text in texts if text]
    rows = _run(faulty, writer=GivenTests("self_recorded", tests), run=run, settings=replace(settings, rounds=0))
    return precision_rows(rows, tasks=tasks, run=run, method="self_recorded")


def control_rows(items: Sequence[Item], *, writer: Writer, debugger: Debugger, run: Executor, settings: Settings) -> Rows:
    """The broken controls of E2 to E4: rounds that go on after a pass, empty test classes under the authors' rule, blind refinement."""
    on = synthesize(
        items, writer=writer, debugger=debugger, refiner=None, run=run, settings=replace(settings, rounds=1, stop_at_pass=False)
    )
    later = sum("round after" in text for text in faults(on, n_input=len(items), settings=settings))
    vacuous = _run(items, writer=EmptyWriter(), run=run, settings=replace(settings, rounds=0, audits=frozenset({"vacuous_pass"})))
    strict = _run(items, writer=EmptyWriter(), run=run, settings=replace(settings, rounds=0))
    passed = [row for row in vacuous if row["status"] == "passed"]
    good = _run(items, writer=writer, run=run, settings=replace(settings, rounds=0))
    renamed = _run(items, writer=writer, run=run, settings=replace(settings, rounds=0), refiner=RenamingRefiner())
    chosen = [row for row in good if row["status"] == "passed"]
    blind = RenamingRefiner().refine([Item(row["id"], row["code"], row["entry_point"]) for row in chosen], [""] * len(chosen))
    blind_rows = [{**row, "refined": True, "refinement": reply.text} for row, reply in zip(chosen, blind, strict=True)]
    return [
        count("control:no_stop", "pipeline", "rounds_after_pass", later),
        count("released:vacuous_pass", "pipeline", "fewest_tests", min((row["tests_run"] for row in passed), default=1)),
        count("released:vacuous_pass", "pipeline", "fewest_calls", min((row["entry_calls"] for row in passed), default=1)),
        count("released:vacuous_pass", "pipeline", "passed_without_tests", len(passed)),
        count("pipeline", "pipeline", "passed_without_tests", sum(row["status"] == "passed" for row in strict)),
        count("renaming_refiner", "pipeline", "polished_rows", sum(row["refined"] for row in renamed)),
        count("control:blind_refinement", "pipeline", "failing_again", failing_again(blind_rows, run=run, settings=settings)),
    ]


def again_rows(rows: Sequence[Row], *, run: Executor, settings: Settings) -> Rows:
    """E1 and E4: kept programs that fail when they are run again, in fresh processes with another hash seed; failed ones as the control."""
    passed = [row for row in rows if row["status"] == "passed"]
    failed = [row for row in rows if row["status"] == "failed"]
    plain = [{**row, "refined": False} for row in passed]
    refined = [row for row in passed if row["refined"]]
    dropped = 1 - len(refined) / len(passed) if passed else 0.0
    return [
        count("pipeline", "pipeline", "failing_again", failing_again([*plain, *refined], run=run, settings=settings)),
        count("control:failed_rows", "pipeline", "failing_again", failing_again(failed, run=run, settings=settings)),
        fraction("pipeline", "pipeline", "refinements_dropped", dropped),
    ]


def failing_again(rows: Sequence[Row], *, run: Executor, settings: Settings) -> int:
    """Return how many rows' kept programs do not pass their tests now."""
    tests = [UnitTests(row["tests"], row["entry_point"]) for row in rows]
    outcomes = run.all([Program(str(i), kept_code(row), t, settings.limits) for i, (row, t) in enumerate(zip(rows, tests, strict=True))])
    return sum(outcome.verdict != "pass" for outcome in outcomes)


def doctest_rows(functions: Mapping[str, Row], *, run: Executor, settings: Settings) -> Rows:
    """Return how the corpus's functions fare under their own doctests: real tests that people wrote."""
    items = [Item(i, row["code"], row["entry_point"]) for i, row in sorted(functions.items()) if ">>>" in row["code"]]
    rows = [row for row in _run(items, writer=DoctestWriter(), run=run, settings=replace(settings, rounds=0)) if row["tests"]]
    return [
        count("doctests", "pipeline", "functions", len(rows)),
        *(fraction("doctests", "pipeline", "yield", row["status"] == "passed", setting="round=0", item_id=row["id"]) for row in rows),
    ]


def _run(items: Sequence[Item], *, writer: Writer, run: Executor, settings: Settings, refiner: Refiner | None = None) -> list[Row]:
    return synthesize(items, writer=writer, debugger=GivenPrograms("none", {}), refiner=refiner, run=run, settings=settings)
