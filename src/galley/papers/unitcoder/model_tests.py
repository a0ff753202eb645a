"""D2: a model's own tests filter its solutions: precision rises, coverage falls, and most of the tests are wrong.

arXiv:2502.11460 has a language model write the tests. Here both sides are real: CodeGen-16B's solutions and test suites for HumanEval
(CodeT, arXiv:2207.10397). Of a task's suites the most frequent asserts that call the function are its tests; a solution is kept if it
passes k of them drawn at random, and judged by HumanEval+. All solutions of a task see the same draws.

Beside it: keeping as many at random (`random`: its precision is that of all solutions, its coverage is exact); tests recorded from the
reference. Controls: a runner that mixes up its programs (`control:mixed_up`); another task's tests under this function's name (D4), and
the same without their assertions.
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

import numpy as np

from galley.artifact import atomic_path
from galley.data.code_benchmarks import PlusTask, read_humaneval_plus
from galley.data.fetched import present
from galley.data.published_programs import read_codet
from galley.papers.unitcoder.mutation import OWN_ORACLE
from galley.papers.unitcoder.plan import Plan
from galley.papers.unitcoder.report import limits_of, ratio_rows, unasserted
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program, UnitTests
from galley.stage import Job
from galley.stats import derangement
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
    """A task with its solutions, its asserts and what was seen: right by the oracle, and passes[solution][assert].

    Of the reference: which of the model's asserts it passes, which of another task's, and which of those recorded from itself.
    """

    task: Task
    asserts: tuple[str, ...]
    right: tuple[bool, ...]
    passes: tuple[tuple[bool, ...], ...]
    reference: tuple[bool, ...]
    permuted: tuple[tuple[bool, ...], ...]
    recorded: tuple[tuple[bool, ...], ...]
    called: tuple[tuple[bool, ...], ...]
    strange: tuple[bool, ...]
    own: tuple[bool, ...]


def run_model_tests(job: Job, *, sources: Path, workers: int) -> None:
    """Write programs.jsonl (solutions with their verdicts), model_tests.items.parquet and .runs.csv."""
    plan, out = job.plan, job.out
    missing = [name for name in ("humaneval_plus", "codet") if not present(sources / name)]
    if missing:
        rows: Rows = [absent("model_tests", BENCHMARK, metric, unreached(missing[0]), model=MODEL, setting=f"k={k}")
                      for metric in ("precision", "coverage") for k in DRAWS]  # fmt: skip
        rows += [absent(m, BENCHMARK, "yield", unreached(missing[0]), model=MODEL) for m in ("permuted_asserts", "reference_asserts")]
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
                passed_asserts(codes, unasserted(strange), task.entry_point, run=run, limits=limits),
                passed_asserts([task.code], strange, task.entry_point, run=run, limits=limits)[0],
                passed_asserts([task.code], truths, task.entry_point, run=run, limits=limits)[0],
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
        count("model_tests", BENCHMARK, "solutions", sum(len(s.right) for s in solved), model=MODEL),
        count("model_tests", BENCHMARK, "tasks", len(solved), model=MODEL),
    ]
    for method, which in (("model_tests", "reference"), ("reference", "own"), ("control:other_task", "strange")):
        hits, counts = ({s.task.id: float(measure(getattr(s, which))) for s in solved} for measure in (sum, len))
        rows += ratio_rows(hits, counts, model=MODEL, method=method, benchmark=BENCHMARK, metric="right_asserts")
    for method, which in (("model_tests", "passes"), ("reference_tests", "recorded")):
        for k in DRAWS:
            rows += draw_rows(solved, chosen=which, k=k, draws=plan.model_tests.draws, seed=plan.data_seed, method=method)
    for method, which in (
        ("permuted_asserts", "permuted"), ("own_asserts", "passes"), ("reference_asserts", "recorded"), ("control:calls_only", "called"),
    ):  # fmt: skip
        for s in solved:
            kept = sum(bool(v) and all(v) for v in getattr(s, which)) / len(s.right)
            rows.append(fraction(method, BENCHMARK, "yield", kept, model=MODEL, item_id=s.task.id, weight=len(s.right)))
    return rows


def draw_rows(solved: Sequence[Solved], *, chosen: str, k: int, draws: int, seed: int, method: str) -> Rows:
    """Return precision and coverage for k asserts, drawn `draws` times a task.

    Beside the model's asserts: keeping as many at random, and a runner that mixes up its programs.
    """
    drawn = np.concatenate([drawn_passes(getattr(s, chosen), k=k, draws=draws, rng=random.Random(f"{seed} {k} {s.task.id}"))
                            for s in solved], axis=1)  # fmt: skip
    share = float(drawn.mean())
    rows = [
        *kept_rows(solved, drawn, method=method, k=k),
        fraction(method, BENCHMARK, "kept_share", share, model=MODEL, setting=f"k={k}"),
    ]
    if method == "model_tests":
        if drawn.shape[1] > 1:
            rows += kept_rows(solved, drawn[:, derangement(drawn.shape[1], seed=seed)], method="control:mixed_up", k=k)
        some = [1 - (1 - share) ** len(s.right) for s in solved]
        rows += [fraction("random", BENCHMARK, "coverage", c, model=MODEL, setting=f"k={k}", item_id=s.task.id)
                 for s, c in zip(solved, some, strict=True)]  # fmt: skip
    return rows


def drawn_passes(passes_of: Sequence[Sequence[bool]], *, k: int, draws: int, rng: random.Random) -> np.ndarray:
    """Return (draws, solutions) whether a solution passes all of k asserts; every solution sees the same draws."""
    seen = np.asarray(passes_of, bool)
    n = seen.shape[1]
    return np.stack([seen[:, rng.sample(range(n), min(k, n))].all(axis=1) for _ in range(draws)])


def kept_rows(solved: Sequence[Solved], drawn: np.ndarray, *, method: str, k: int) -> Rows:
    """Return precision and coverage of what a filter keeps: drawn is (draws, all tasks' solutions in order)."""
    hits, kept, covered, at = {}, {}, {}, 0
    for s in solved:
        mine = drawn[:, at : at + len(s.right)]
        at += len(s.right)
        kept[s.task.id] = float(mine.sum(axis=1).mean())
        hits[s.task.id] = float((mine & np.asarray(s.right, bool)).sum(axis=1).mean())
        covered[s.task.id] = float(mine.any(axis=1).mean())
    common: dict[str, Any] = {"model": MODEL, "benchmark": BENCHMARK, "setting": f"k={k}", "method": method}
    return [
        *ratio_rows(hits, kept, metric="precision", **common),
        *(fraction(metric="coverage", value=c, item_id=i, **common) for i, c in covered.items()),
    ]


def _oracle(task: PlusTask, inputs: int) -> Task:
    """Return a task with its base inputs and as many of its plus inputs, drawn by the task's name."""
    plus = random.Random(task.id).sample(list(task.plus), min(inputs, len(task.plus)))
    return Task(task.id, task.reference, task.entry_point, tuple(tuple(x) for x in (*task.base, *plus)), atol=task.atol)
