"""D3: debug rounds add yield at a cost in precision. Real programs for MBPP go through the pipeline, hidden tests judge what passes.

arXiv:2502.11460, section 2.2, debugs with a language model. Here the programs are real (CodeLlama, GPT-3.5 and StarCoder on MBPP's test
split, from LLMDebugger, arXiv:2402.16906), the shown test is the one assert that those models were shown, and the debugger is the search
repairer. Beside it: as many edits drawn blindly (`blind`), and more real programs for the same task, the other models' (`drawn`). Hidden:
the remaining asserts, and MBPP+'s inputs where MBPP+ has the task.

Controls: a search that is shown another program's failure (`control:misled`), hidden verdicts handed to other programs
(`control:mixed_up`); another task's asserts under this function's name (D4), and the same with that task's own program in them, which
the released rule passes without a call of what is tested, as in the released demo (A3).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from galley.data.code_benchmarks import read_mbpp, read_mbpp_plus
from galley.data.fetched import present
from galley.data.published_programs import read_llmdebugger
from galley.papers.unitcoder.agents import (
    BlindDebugger,
    Debugger,
    GivenPrograms,
    GivenTests,
    Item,
    MisledDebugger,
    PrintRefiner,
    SearchDebugger,
)
from galley.papers.unitcoder.pipeline import Row, Settings, faults, kept_code, synthesize
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of, mixed_up, ratio_rows
from galley.papers.unitcoder.synthesis import settings_of
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Program, UnitTests
from galley.stage import Job
from galley.synthesize.executor import Executor
from galley.synthesize.journal import Journal
from galley.synthesize.oracles import Task, answered, passes
from galley.synthesize.stream import read_rows, stream
from galley.synthesize.suites import comparison, renamed, suite
from galley.tables.items import Rows, absent, count, fraction, unreached
from galley.tables.ledger import leave

BENCHMARK = "MBPP"
MISLED = 60  # failing programs of the misled search, about


@dataclass(frozen=True)
class Problem:
    """A task: its program, the shown test, the hidden ones, and MBPP+'s inputs with the reference's answers where it has them."""

    id: str
    entry_point: str
    reference: str
    shown: str
    hidden: tuple[str, ...]
    plus: Task | None


def run_debugging(job: Job, *, sources: Path, workers: int) -> None:
    """Write debugging.items.parquet and .runs.csv, and one rows file per debugger under state/."""
    plan = job.plan
    missing = [name for name in ("llmdebugger", "mbpp", "mbpp_plus") if not present(sources / name)]
    if missing:
        reason = unreached(missing[0])
        rows: Rows = [absent(m, BENCHMARK, "yield", reason, setting=f"round={r}") for m in ("search", "drawn") for r in range(4)]
        rows += [absent("search", BENCHMARK, "precision", reason, setting=s) for s in ("first_pass", "debugged")]
        rows += [absent(m, BENCHMARK, "yield", reason) for m in ("permuted", "own_tests")]
        leave(job, rows, backend="none")
        return
    with Sandbox(workers=workers, limits=limits_of(plan)) as sandbox:
        plain = Executor(sandbox)
        problems, items, drawn = real_programs(sources, plan=plan, run=plain)
        settings = settings_of(plan)
        rows = [count("search", BENCHMARK, "programs", len(items)), count("search", BENCHMARK, "problems", len(problems))]
        for name in ("search", "drawn"):
            run = Executor(sandbox, journal=Journal(job.state / f"{name}.sqlite"))
            debugger: Debugger = GivenPrograms("drawn", drawn)
            if name == "search":
                debugger = SearchDebugger(tries=plan.pipeline.tries, run=run, limits=settings.limits)
            made = through(
                items,
                problems,
                debugger=debugger,
                run=run,
                settings=settings,
                batch=plan.pipeline.batch,
                rows=job.state / f"{name}.jsonl",
            )
            rows.append(count(name, BENCHMARK, "broken_invariants", len(faults(made, n_input=len(items), settings=settings))))
            rows += debug_rows(made, problems, name=name, rounds=settings.rounds, run=plain, seed=plan.data_seed)
            if name == "search":
                failing = [item for item, row in zip(items, made, strict=True) if row["provenance"] != "first_pass"]
                rows += guidance_rows(failing, problems, search=debugger, plan=plan, run=run)
        rows += permuted_rows(items, problems, run=plain, settings=settings, seed=plan.data_seed)
    leave(job, rows, backend=plain.isolation)


def real_programs(sources: Path, *, plan: Plan, run: Executor) -> tuple[dict[str, Problem], list[Item], dict[str, list[str]]]:
    """Return problems by task, items (id: task@model), and for each item the other models' programs for its task."""
    by_model = {model: {r["task_id"]: r for r in read_llmdebugger(sources / "llmdebugger", model)} for model in plan.debugging.models}
    common = sorted(set.intersection(*(set(rows) for rows in by_model.values())), key=lambda name: int(name.split("/")[1]))
    mbpp = {t.id: t for t in read_mbpp(sources / "mbpp")}
    plus = {t.id: t for t in read_mbpp_plus(sources / "mbpp_plus")}
    limits, wanted = limits_of(plan), plan.debugging
    tasks = []
    for name in common:
        if name in plus:
            chosen = random.Random(name).sample(list(plus[name].plus), min(wanted.inputs, len(plus[name].plus)))
            inputs = tuple(tuple(x) for x in (*plus[name].base, *chosen))
            tasks.append(Task(name, plus[name].reference, plus[name].entry_point, inputs, atol=plus[name].atol))
    oracles = {t.id: t for t in answered(tasks, run=run, limits=limits)}
    problems: dict[str, Problem] = {}
    for name in common[: wanted.tasks]:
        row = next(iter(by_model.values()))[name]
        shown = comparison(row["given_tests"][0])
        hidden = tuple(t for a in mbpp[name].asserts if (t := comparison(a)) and t != shown)
        if shown and hidden and not mbpp[name].setup:
            problems[name] = Problem(name, row["entry_point"], mbpp[name].reference, shown, hidden, oracles.get(name))
    items, drawn = [], {}
    for model, rows in by_model.items():
        for name, problem in problems.items():
            items.append(Item(f"{name}@{model}", rows[name]["solution"], problem.entry_point, origin=model))
            drawn[f"{name}@{model}"] = [by_model[m][name]["solution"] for m in by_model if m != model]
    return problems, items, drawn


def shown_asserts(items: Sequence[Item], problems: Mapping[str, Problem]) -> GivenTests:
    """Return the one assert that each program's task shows, as its tests."""
    return GivenTests("shown_assert", {item.id: [problems[task_of(item.id)].shown] for item in items})


def through(
    items: Sequence[Item], problems: Mapping[str, Problem], *, debugger: Debugger, run: Executor, settings: Settings, batch: int, rows: Path
) -> list[Row]:
    """Return the pipeline's rows of the items; a killed run goes on where it was."""
    writer = shown_asserts(items, problems)

    def work(chunk: list[Item]) -> list[Row]:
        return synthesize(chunk, writer=writer, debugger=debugger, refiner=PrintRefiner(), run=run, settings=settings)

    stream(items, rows=rows, batch=batch, work=work, run=run, total=len(items), what=debugger.name)
    return list(read_rows(rows))


def guidance_rows(failing: Sequence[Item], problems: Mapping[str, Problem], *, search: Debugger, plan: Plan, run: Executor) -> Rows:
    """Return the yield of failing programs when edits are drawn blindly, as many as the search tries; the search misled as the control."""
    settings = settings_of(plan)
    as_many = replace(settings, proposals=max(settings.proposals, plan.pipeline.tries))
    writer = shown_asserts(failing, problems)
    rows: Rows = []
    for method, debugger, mine, knobs in (
        ("blind:failing", BlindDebugger(seed=plan.data_seed), failing, as_many),
        ("control:misled:failing", MisledDebugger(search, seed=plan.data_seed), failing[:: max(1, len(failing) // MISLED)], settings),
    ):
        for at in range(0, len(mine), plan.pipeline.batch):
            made = synthesize(mine[at : at + plan.pipeline.batch], writer=writer, debugger=debugger, refiner=None, run=run, settings=knobs)
            rows += [fraction(method, BENCHMARK, "yield", row["status"] == "passed", setting=f"round={settings.rounds}", item_id=row["id"])
                     for row in made]  # fmt: skip
    return rows


def debug_rows(rows: Sequence[Row], problems: Mapping[str, Problem], *, name: str, rounds: int, run: Executor, seed: int) -> Rows:
    """Return yield by round, of all programs and of those that failed at first, and precision by provenance and by round."""
    kept = [row for row in rows if row["status"] == "passed"]
    right = dict(zip([row["id"] for row in kept], hidden_verdicts(kept, problems, run=run), strict=True))
    made: Rows = []
    for number in range(rounds + 1):
        for row in rows:
            done = row["status"] == "passed" and len(row["rounds"]) <= number
            methods = [name] if row["provenance"] == "first_pass" else [name, f"{name}:failing"]
            made += [fraction(m, BENCHMARK, "yield", done, setting=f"round={number}", item_id=row["id"]) for m in methods]
    judges = {name: right, f"control:mixed_up:{name}": mixed_up(right, seed=seed)}
    groups = {"all": kept, "first_pass": [r for r in kept if r["provenance"] == "first_pass"],
              "debugged": [r for r in kept if r["provenance"] == "debugged"],
              **{f"round={n}": [r for r in kept if len(r["rounds"]) == n] for n in range(1, rounds + 1)}}  # fmt: skip
    for group, mine in groups.items():
        counts = {p: float(sum(task_of(row["id"]) == p for row in mine)) for p in problems}
        for method, verdicts in judges.items():
            hits = {p: float(sum(verdicts[row["id"]] for row in mine if task_of(row["id"]) == p)) for p in problems}
            made += ratio_rows(hits, counts, method=method, benchmark=BENCHMARK, metric="precision", setting=group)
        made.append(count(name, BENCHMARK, "kept", len(mine), setting=group))
    return made


def hidden_verdicts(rows: Sequence[Row], problems: Mapping[str, Problem], *, run: Executor) -> list[bool]:
    """Return whether each row's program passes the hidden asserts and gives the reference's answers on MBPP+'s inputs."""
    mine = [problems[task_of(row["id"])] for row in rows]
    asserts = run.all(
        [Program(row["id"], kept_code(row), UnitTests(suite(p.hidden), p.entry_point)) for row, p in zip(rows, mine, strict=True)]
    )
    pairs = [(n, p.plus) for n, p in enumerate(mine) if p.plus is not None]
    outcomes = run.all([Program(str(n), kept_code(rows[n]), Calls(task.entry_point, task.inputs)) for n, task in pairs])
    plus = {n: all(passes(task, outcome)) for (n, task), outcome in zip(pairs, outcomes, strict=True)}
    return [outcome.verdict == "pass" and plus.get(n, True) for n, outcome in enumerate(asserts)]


def permuted_rows(items: Sequence[Item], problems: Mapping[str, Problem], *, run: Executor, settings: Settings, seed: int) -> Rows:
    """D4: yield without rounds under another task's asserts, under these with that task's program in them, and under the own.

    The first call this function's name; the second need not call it, and the released rule does not ask for it.
    """
    order = sorted(problems, key=lambda name: random.Random(f"{seed} {name}").random())
    other = {name: problems[order[(i + 1) % len(order)]] for i, name in enumerate(order)}
    tests = {}
    for item in items:
        strange = other[task_of(item.id)]
        tests[item.id] = [renamed(t, strange.entry_point, item.entry_point) for t in (strange.shown, *strange.hidden)]
    own = {item.id: [problems[task_of(item.id)].shown, *problems[task_of(item.id)].hidden] for item in items}
    made: Rows = []
    copied = {}
    for item in items:
        strange = other[task_of(item.id)]
        copied[item.id] = [f"{strange.reference}\n{t}" for t in (strange.shown, *strange.hidden)]
    released = frozenset({"vacuous_pass"})
    for method, mine, audits in (
        ("permuted", tests, frozenset()),
        ("own_tests", own, frozenset()),
        ("released:own_copy", copied, released),
    ):
        rows = synthesize(items, writer=GivenTests(method, mine), debugger=GivenPrograms("none", {}), refiner=None, run=run,
                          settings=replace(settings, rounds=0, audits=audits))  # fmt: skip
        made += [fraction(method, BENCHMARK, "yield", row["status"] == "passed", item_id=row["id"]) for row in rows]
    return made


def task_of(item_id: str) -> str:
    """Return the task of an item."""
    return item_id.split("@")[0]
