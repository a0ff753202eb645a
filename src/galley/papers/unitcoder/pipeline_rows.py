"""What a run of the pipeline on faulty and intact functions comes to: exact claims, yield, precision, and each broken variant beside them.

Yield counts a program that passed its shown tests, precision one that the hidden half of its inputs finds right. Compared are the same
faulty programs: by tests recorded from the right function and from themselves (D5), guided by their failing tests and by blind edits (D3).
The variants that must break a claim are run here too: no stop after a pass, empty test classes, refinements taken blindly, items lost.

Source: ours; the rules that are broken are those of arXiv:2502.11460's released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from galley.papers.unitcoder.agents import (
    BlindDebugger,
    Debugger,
    DoctestWriter,
    EmptyWriter,
    GivenPrograms,
    GivenTests,
    Item,
    MisledDebugger,
    Refiner,
    RenamingRefiner,
    Writer,
)  # fmt: skip
from galley.papers.unitcoder.pipeline import Row, Settings, faults, kept_code, synthesize
from galley.papers.unitcoder.report import ratio_rows, unasserted
from galley.sandbox.types import Calls, Program, UnitTests
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task, passes
from galley.synthesize.suites import recorded
from galley.tables.items import Rows, count, fraction

BUG = "~bug"
LISTS = ("ours", "control_list")  # the authors' package list, filtered as we do, and one that shares nothing with it
SUBSET = 24  # items of the broken controls
MISLED = 40  # faulty programs of the misled search


def task_of(item_id: str) -> str:
    """Return the task of an item."""
    return item_id.removesuffix(BUG)


def exact_rows(rows: Sequence[Row], *, n_input: int, settings: Settings) -> Rows:
    """E2 and E3 of a run: broken invariants (0), and the fewest tests and calls of a passed program (1)."""
    broken = faults(rows, n_input=n_input, settings=settings)
    passed = [row for row in rows if row["status"] == "passed"]
    return [
        count("pipeline", "pipeline", "broken_invariants", len(broken)),
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
    for name in LISTS:
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


def guidance_rows(items: Sequence[Item], *, writer: Writer, search: Debugger, run: Executor, settings: Settings, tries: int) -> Rows:
    """D3: the yield of faulty programs when edits are drawn blindly, as many as the search tries; the search misled as the control."""
    faulty = [item for item in items if item.id.endswith(BUG)]
    as_many = replace(settings, proposals=max(settings.proposals, tries))
    made: Rows = []
    for method, debugger, mine, knobs in (
        ("blind:faulty", BlindDebugger(seed=settings.seed), faulty, as_many),
        ("control:misled:faulty", MisledDebugger(search, seed=settings.seed), faulty[:MISLED], settings),
    ):
        rows = synthesize(mine, writer=writer, debugger=debugger, refiner=None, run=run, settings=knobs)
        made += [fraction(method, "pipeline", "yield", row["status"] == "passed", setting=f"round={settings.rounds}", item_id=row["id"])
                 for row in rows]  # fmt: skip
    return made


def self_recorded_rows(items: Sequence[Item], *, shown: GivenTests, tasks: Mapping[str, Task], run: Executor, settings: Settings) -> Rows:
    """D5: precision of the faulty programs that are kept at once, under tests recorded from the right function and from themselves.

    The control keeps them by the right function's calls without their assertions.
    """
    faulty = [item for item in items if item.id.endswith(BUG)]
    outcomes = run.all([Program(i.id, i.code, Calls(i.entry_point, tasks[task_of(i.id)].inputs)) for i in faulty])
    own, calls = {}, {}
    for item, outcome in zip(faulty, outcomes, strict=True):
        task = tasks[task_of(item.id)]
        half = len(task.inputs) // 2
        pairs = list(zip(task.inputs, outcome.calls, strict=False))[:half]
        texts = [recorded(item.entry_point, x, c.value) for x, c in pairs if c.status == "value"]
        own[item.id] = [text for text in texts if text]
        calls[item.id] = unasserted(shown.tests.get(item.id, ()))
    made: Rows = []
    writers = {
        "recorded:faulty": shown,
        "self_recorded": GivenTests("self_recorded", own),
        "control:calls_only": GivenTests("calls", calls),
    }
    for method, writer in writers.items():
        rows = _run(faulty, writer=writer, run=run, settings=replace(settings, rounds=0))
        made += precision_rows(rows, tasks=tasks, run=run, method=method)
    return made


def control_rows(items: Sequence[Item], *, writer: Writer, debugger: Debugger, run: Executor, settings: Settings) -> Rows:
    """The broken controls of E2 to E4: no stop after a pass, lost items and empty classes as released, refinements taken blindly."""
    on = synthesize(
        items, writer=writer, debugger=debugger, refiner=None, run=run, settings=replace(settings, rounds=1, stop_at_pass=False)
    )
    once = replace(settings, rounds=0)
    partly = _run(items, writer=DoctestWriter(), run=run, settings=once)
    saved = [row for row in partly if row["status"] != "error"]  # the released code writes no file of what it could not work on
    vacuous = _run(items, writer=EmptyWriter(), run=run, settings=replace(once, audits=frozenset({"vacuous_pass"})))
    strict = _run(items, writer=EmptyWriter(), run=run, settings=once)
    passed = [row for row in vacuous if row["status"] == "passed"]
    good = _run(items, writer=writer, run=run, settings=once)
    renamed = _run(items, writer=writer, run=run, settings=once, refiner=RenamingRefiner())
    chosen = [row for row in good if row["status"] == "passed"]
    blind = RenamingRefiner().refine([Item(row["id"], row["code"], row["entry_point"]) for row in chosen], [""] * len(chosen))
    blind_rows = [{**row, "refined": True, "refinement": reply.text} for row, reply in zip(chosen, blind, strict=True)]
    return [
        count(
            "control:no_stop", "pipeline", "broken_invariants", len(faults(on, n_input=len(items), settings=replace(settings, rounds=1)))
        ),
        count("released:lost_items", "pipeline", "broken_invariants", len(faults(saved, n_input=len(items), settings=once))),
        count("released:vacuous_pass", "pipeline", "fewest_tests", min((row["tests_run"] for row in passed), default=1)),
        count("released:vacuous_pass", "pipeline", "fewest_calls", min((row["entry_calls"] for row in passed), default=1)),
        count("released:vacuous_pass", "pipeline", "passed_without_tests", len(passed)),
        count("pipeline", "pipeline", "passed_without_tests", sum(row["status"] == "passed" for row in strict)),
        count("renaming_refiner", "pipeline", "polished_rows", sum(row["refined"] for row in renamed)),
        count("control:blind_refinement", "pipeline", "polished_rows", sum(row["refined"] for row in blind_rows)),
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
