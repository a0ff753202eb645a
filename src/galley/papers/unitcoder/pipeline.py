"""The pipeline of one batch: tests are written, programs run, failures debugged for up to R rounds, what passes refined.

arXiv:2502.11460, section 2 and the released pipeline: n = 3 proposals a round, R = 3 rounds; of the passing proposals the first two
are kept and the rounds stop; else the first executed failure, alone, is the next round's program. One refinement of the first passing
version, which must pass the same tests or is thrown away.

Deviations, each the authors' behaviour again behind an audit flag: a class of no tests, or one that never calls the function, is
no pass (`vacuous_pass`); feedback is bounded (`unbounded_feedback`); debugged programs are not searched for words such as "kill",
because the sandbox holds them (`substring_blacklist`). Ours: an item that the machine cannot run (a missing package) is an `error`, not
a failure to debug; the first run is not done twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from galley.artifact import digest
from galley.papers.unitcoder.agents import Debugger, Item, Refiner, Writer
from galley.sandbox.types import Limits, Outcome, Program, UnitTests
from galley.synthesize.executor import Executor
from galley.synthesize.repair import FEEDBACK, Failure, feedback

AUDITS = ("vacuous_pass", "unbounded_feedback", "substring_blacklist")
# The released blacklist's words: a plain substring test, so that "skill" is refused with "kill".
BLACKLIST = ("rm -rf", "os.killpg", "os.kill", "getpwd", "kill", "getpid", "getpgid", "input(", "sys.argv", "os.remove", "os.rmdir",
             "rmtree", "os.system")  # fmt: skip
ENVIRONMENT = ("ModuleNotFoundError", "ImportError")
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The pipeline's knobs, at the released defaults."""

    rounds: int = 3
    proposals: int = 3
    keep: int = 2
    feedback: int = FEEDBACK
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    audits: frozenset[str] = frozenset()
    stop_at_pass: bool = True  # False is a broken control: what has passed is debugged on


def synthesize(
    items: Sequence[Item], *, writer: Writer, debugger: Debugger, refiner: Refiner | None, run: Executor, settings: Settings
) -> list[Row]:
    """Return one row an item, in order; its `status` is passed, failed or error, its `provenance` says how it came to pass."""
    rows = [_new_row(item, writer=writer, debugger=debugger, refiner=refiner, settings=settings) for item in items]
    for row, reply in zip(rows, writer.write(items), strict=True):
        row["tests"], row["prompts"]["tests"] = reply.text, reply.prompt
        if reply.text is None:
            row.update(status="error", reason=reply.reason)
    live = [row for row in rows if row["status"] == "failed"]
    outcomes = _run(live, [row["code"] for row in live], run=run, settings=settings)
    for row, outcome in zip(live, outcomes, strict=True):
        _note(row, outcome, settings=settings)
        if row["status"] == "passed":
            row["provenance"] = "first_pass"
    for number in range(settings.rounds):
        failing = [row for row in live if row["status"] == "failed" or (row["status"] == "passed" and not settings.stop_at_pass)]
        _debug_round(failing, number, debugger=debugger, run=run, settings=settings)
    if refiner is not None:
        _refine([row for row in live if row["status"] == "passed"], refiner=refiner, run=run, settings=settings)
    for row in rows:
        row.pop("outcome", None)
        row["isolation"] = run.isolation
    return rows


def _new_row(item: Item, *, writer: Writer, debugger: Debugger, refiner: Refiner | None, settings: Settings) -> Row:
    return {
        "id": item.id, "origin": item.origin, "entry_point": item.entry_point, "original": item.code, "code": item.code,
        "tests": None, "status": "failed", "reason": "", "provenance": "", "refined": False, "refinement": None,
        "tests_run": 0, "entry_calls": 0, "passes": [], "rounds": [],
        "writer": writer.name, "debugger": debugger.name, "refiner": refiner.name if refiner else "", "prompts": {},
        "seed": settings.seed, "limits": asdict(settings.limits), "audits": sorted(settings.audits), "isolation": "",
    }  # fmt: skip


def _run(rows: Sequence[Row], codes: Sequence[str], *, run: Executor, settings: Settings) -> list[Outcome]:
    programs = [
        Program(f"{i}", code, UnitTests(row["tests"], row["entry_point"]), settings.limits)
        for i, (row, code) in enumerate(zip(rows, codes, strict=True))
    ]
    return run.all(programs)


def passed(outcome: Outcome, *, audits: frozenset[str] = frozenset()) -> bool:
    """Return whether a run is a pass: at least one test ran, none failed, and the function was called."""
    if "vacuous_pass" in audits and outcome.verdict == "fail" and not outcome.failures and not outcome.exception:
        return True  # the authors count recorded failures only, and none were recorded
    return outcome.verdict == "pass" and outcome.tests_run >= 1 and outcome.entry_calls >= 1


def _note(row: Row, outcome: Outcome, *, settings: Settings) -> None:
    """Write a first run's end into its row."""
    row["outcome"] = outcome
    if passed(outcome, audits=settings.audits):
        row.update(status="passed", tests_run=outcome.tests_run, entry_calls=outcome.entry_calls, passes=[row["code"]])
    elif absent := lacks(outcome):
        row.update(status="error", reason=f"environment: {absent}")
    else:
        row["reason"] = outcome.verdict


def lacks(outcome: Outcome) -> str:
    """Return what the machine lacks when that alone ended the run."""
    if outcome.exception in ENVIRONMENT:
        return outcome.message
    ends = [text.strip().splitlines()[-1] if text.strip() else "" for _, text in outcome.failures]
    return ends[0] if ends and all(end.startswith(ENVIRONMENT) for end in ends) else ""


def _debug_round(failing: Sequence[Row], number: int, *, debugger: Debugger, run: Executor, settings: Settings) -> None:
    """One round for the programs that still fail: propose, run, keep the first passes or the first executed failure."""
    if not failing:
        return
    limit = 10**9 if "unbounded_feedback" in settings.audits else settings.feedback
    said = [feedback(row["outcome"], limit=limit) for row in failing]
    failures = [Failure(row["id"], row["code"], row["tests"], row["entry_point"], row["outcome"]) for row in failing]
    proposals = debugger.propose(failures, n=settings.proposals, number=number, said=said)
    asked = [
        (row, reply)
        for row, replies in zip(failing, proposals, strict=True)
        for reply in replies
        if reply.text is not None and not ("substring_blacklist" in settings.audits and any(word in reply.text for word in BLACKLIST))
    ]
    outcomes = _run([row for row, _ in asked], [reply.text or "" for _, reply in asked], run=run, settings=settings)
    tried: dict[str, list[tuple[str, str, Outcome, str]]] = {row["id"]: [] for row in failing}
    for (row, reply), outcome in zip(asked, outcomes, strict=True):
        tried[row["id"]].append((reply.text or "", reply.how, outcome, reply.prompt))
    for row in failing:
        mine = tried[row["id"]]
        good = [t for t in mine if passed(t[2], audits=settings.audits)]
        row["rounds"].append({
            "round": number + 1, "input": digest(row["code"]), "input_reason": row["reason"],
            "proposals": [{"digest": digest(code), "how": how, "verdict": o.verdict, "passed": passed(o, audits=settings.audits),
                           "prompt": key} for code, how, o, key in mine],
        })  # fmt: skip
        if good:
            code, _, outcome, _ = good[0]
            row.update(status="passed", provenance=row["provenance"] or "debugged", code=code, reason="")
            row.update(passes=[t[0] for t in good[: settings.keep]], tests_run=outcome.tests_run, entry_calls=outcome.entry_calls)
        elif mine:
            row.update(code=mine[0][0], outcome=mine[0][2], reason=mine[0][2].verdict)


def _refine(rows: Sequence[Row], *, refiner: Refiner, run: Executor, settings: Settings) -> None:
    """One refinement a program; it is kept beside the program if it passes the same tests, else thrown away."""
    items = [Item(row["id"], row["code"], row["entry_point"]) for row in rows]
    pairs = [
        (row, reply) for row, reply in zip(rows, refiner.refine(items, [r["tests"] for r in rows]), strict=True) if reply.text is not None
    ]
    outcomes = _run([row for row, _ in pairs], [reply.text or "" for _, reply in pairs], run=run, settings=settings)
    for (row, reply), outcome in zip(pairs, outcomes, strict=True):
        row["prompts"]["refinement"] = reply.prompt
        if passed(outcome, audits=settings.audits):
            row.update(refined=True, refinement=reply.text)


def kept_code(row: Row) -> str:
    """Return the program that a passed row gives to training: the refinement where one passed."""
    return row["refinement"] if row["refined"] else row["code"]


def provenance(row: Row) -> str:
    """Return how a passed row's program came to pass: first_pass or debugged, with +refined where the refinement is kept."""
    return row["provenance"] + ("+refined" if row["refined"] else "")


def faults(rows: Iterable[Row], *, n_input: int, settings: Settings) -> list[str]:
    """Return the broken invariants of a run's rows, read in one pass: empty when all hold."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    rounds: Counter[tuple[int, str]] = Counter()
    seen: set[str] = set()
    for row in rows:
        counts[row["status"]] += 1
        counts[f"provenance {row['provenance']}"] += row["status"] == "passed"
        if row["id"] in seen:
            found.append(f"{row['id']}: twice")
        seen.add(row["id"])
        if row["status"] == "passed" and row["provenance"] == "first_pass" and row["rounds"]:
            found.append(f"{row['id']}: a round after a pass")
        if row["status"] != "passed" and (row["provenance"] or row["refined"]):
            found.append(f"{row['id']}: {row['status']}, but with a provenance")
        for later, record in enumerate(row["rounds"], start=1):
            rounds[record["round"], "in"] += 1
            solved = any(p["passed"] for p in record["proposals"])
            rounds[record["round"], "failed"] += not solved
            if solved and later < len(row["rounds"]):
                found.append(f"{row['id']}: a round after a pass")
        if any(key not in row for key in ("seed", "prompts", "writer", "debugger", "isolation", "limits")):
            found.append(f"{row['id']}: a fact is missing")
    if sum(counts[s] for s in ("passed", "failed", "error")) != n_input:
        found.append(f"{n_input} items, but {dict(counts)}")
    if counts["provenance first_pass"] + counts["provenance debugged"] != counts["passed"]:
        found.append("provenance does not add up to passed")
    for number in range(2, settings.rounds + 1):
        if rounds[number, "in"] != rounds[number - 1, "failed"]:
            found.append(f"round {number} has {rounds[number, 'in']} inputs, round {number - 1} {rounds[number - 1, 'failed']} failures")
    return found
