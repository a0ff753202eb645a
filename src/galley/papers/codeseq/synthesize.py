"""The synthesis stage: sequences -> problems -> solutions with reflections -> solvability -> training data and the GTG test.

arXiv:2510.14620, section 3. Everything streams: a chunk of problems is in memory, programs run once (the journal), and the files are
written whole at the end, so that a killed stage goes on and ends in the same bytes. The GTG problems are of groups of sequences
(canonical form) that no training problem is of; a training problem or function that a benchmark has is dropped too (overlap.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_path, write_json
from galley.data.decontaminate import Index
from galley.data.fetched import present
from galley.data.syntax import ast_key
from galley.evaluate.code.pass_at_k import pass_at_k
from galley.llm.backend import Backend
from galley.papers.codeseq.canonical import group_sequences, hold_out
from galley.papers.codeseq.checks import (
    advantage_rows,
    analytic_rows,
    check_references,
    gtg_rows,
    problem_rows,
    shortcut_rows,
    trivial_rows,
)
from galley.papers.codeseq.functions import SequenceFunction, compute_terms, read_functions
from galley.papers.codeseq.judge import Judge
from galley.papers.codeseq.overlap import benchmark_index
from galley.papers.codeseq.plan import Endpoint, Functions, Plan
from galley.papers.codeseq.problems import Problem, to_json
from galley.papers.codeseq.prompts import problem_text
from galley.papers.codeseq.records import Record, generated_records, informative, read_records
from galley.papers.codeseq.reflect import Trajectory, roll_out, sft_sample, solve_all, with_other_cases
from galley.papers.codeseq.solvability import for_rl, solvability, tag
from galley.papers.codeseq.solvers import ModelSolver, SearchSolver, Solver
from galley.papers.codeseq.writing import Guide, ModelWriter, TemplateWriter, Writer, write_problems
from galley.sandbox.pool import Sandbox
from galley.stage import Job
from galley.synthesize.journal import Journal
from galley.tables.items import Rows, absent, scored
from galley.tables.ledger import leave

LARGEST_SHOWN = 10**12  # of a term that a prompt shows
FILES = ("problems", "sft", "sft_plain", "rl", "gtg", "functions")


@dataclass
class Collected:
    """What the stage gathers: lines of the output files, written as they come; rows of the table; counts by reason."""

    files: Mapping[str, TextIO]
    rows: Rows = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def write(self, name: str, line: str) -> None:
        """Add a line to a file."""
        self.files[name].write(line + "\n")
        self.counts[f"lines {name}"] += 1


def run_synthesize(job: Job, *, sources: Path | None, workers: int, unsafe: bool) -> None:
    """Write problems, sft, sft_plain, rl, gtg and functions (.jsonl), synthesis.json (counts), synthesize.items.parquet and .runs.csv.

    `sources` is a folder of fetched sources (oeis_records, oeissequences, humaneval, mbpp); where the plan wants OEIS sequences and
    they are absent, the rows say `not_run` and why.
    """
    plan, out = job.plan, job.out
    backend = _backend(plan.synthesis.endpoint, out / "state" / "replies")
    solver: Solver = ModelSolver(backend) if plan.synthesis.solver == "endpoint" and backend else SearchSolver()
    with ExitStack() as stack:
        parts = {name: stack.enter_context(atomic_path(out / f"{name}.jsonl")) for name in FILES}
        got = Collected({name: stack.enter_context(part.open("w", encoding="utf-8")) for name, part in parts.items()})
        index = benchmark_index(sources)
        sequences = list(_sequences(plan, sources=sources, counts=got.counts))
        usable = _usable(sources, wanted=plan.functions, index=index, seed=plan.data_seed, counts=got.counts)
        isolation = "none ran"
        if sequences or usable:
            sandbox = stack.enter_context(Sandbox(workers=workers, unsafe=unsafe))
            journal = stack.enter_context(Journal(job.state / "programs.sqlite"))
            isolation = sandbox.isolation
        if usable and plan.functions:
            _functions(usable, wanted=plan.functions, sandbox=sandbox, journal=journal, got=got)
        if sequences:
            _synthesize(sequences, plan=plan, solver=solver, backend=backend, judge=Judge(sandbox, journal), index=index, got=got)
        else:
            reason = "the OEIS records are absent: set GALLEY_MIRROR, or take `sequences: generated`"
            got.rows.append(absent(solver.name, "GTG", "points", reason))
    got.rows += analytic_rows(rollouts=plan.synthesis.rollouts)
    write_json(out / "synthesis.json", {"counts": dict(sorted(got.counts.items())), "isolation": isolation, "solver": solver.name})
    leave(job, got.rows, backend=f"{solver.name}, sandbox {isolation}", threads=workers)


def _backend(endpoint: Endpoint | None, cache: Path) -> Backend | None:
    if endpoint is None:
        return None
    from galley.llm import EndpointBackend

    return EndpointBackend(
        endpoint.url, endpoint.model, key_env=endpoint.key_env, requests_per_minute=endpoint.requests_per_minute,
        workers=endpoint.workers, cache=cache,
    )  # fmt: skip


def _sequences(plan: Plan, *, sources: Path | None, counts: Counter[str]) -> Iterator[Record]:
    """Yield the plan's records that pass the filters, in seeded order; references are added where a function computes a sequence."""
    if plan.synthesis.sequences == "generated":
        found: Iterable[Record] = generated_records()
    else:
        if sources is None or not present(sources / "oeis_records"):
            return
        path, known = sources / "oeis_records" / "records_1000.jsonl.gz", {}
        if present(sources / "oeissequences"):
            known = {f.id: f.code for f in read_functions(sources / "oeissequences", builtins_only=False, counts=Counter())}
        found = (_with_reference(r, known) for r in read_records(path, counts=counts))
    kept = list(informative(found, counts=counts))
    yield from _drawn(kept, plan.synthesis.problems, seed=plan.data_seed)
    if plan.synthesis.generated:
        yield from _drawn(list(informative(generated_records(), counts=counts)), plan.synthesis.generated, seed=plan.data_seed)


def _drawn(records: list[Record], count: int, *, seed: int) -> Iterator[Record]:
    order = np.random.default_rng(seed).permutation(len(records))
    yield from (records[i] for i in order[:count])


def _with_reference(record: Record, known: dict[str, str]) -> Record:
    return replace(record, reference=known[record.id]) if record.id in known else record


def _usable(
    sources: Path | None, *, wanted: Functions | None, index: Index | None, seed: int, counts: Counter[str]
) -> list[SequenceFunction]:
    """Return the functions to run: short ones of the module that no benchmark has, in seeded order, at most `limit`."""
    if wanted is None or sources is None or not present(sources / "oeissequences"):
        return []
    dropped: Counter[str] = Counter()
    found = read_functions(sources / "oeissequences", builtins_only=wanted.builtins_only, counts=dropped)
    short = [f for f in found if len(f.code) <= wanted.longest]
    if index is not None:
        hits = [index.hit(f.source, key=ast_key(f.source)) for f in short]
        dropped.update(f"in {name}" for name in hits if name)
        short = [f for f, name in zip(short, hits, strict=True) if name is None]
    order = np.random.default_rng(seed).permutation(len(short))[: wanted.limit]
    counts.update(
        {f"functions {reason}": n for reason, n in dropped.items()} | {"functions short": len(short), "functions tried": len(order)}
    )
    return [short[i] for i in order]


def _functions(usable: list[SequenceFunction], *, wanted: Functions, sandbox: Sandbox, journal: Journal, got: Collected) -> None:
    """Run the functions and keep those with enough different terms of a size that a prompt can show."""
    computed = compute_terms(usable, sandbox, journal, first=wanted.first, count=wanted.terms, call_cpu_s=wanted.call_cpu_s)
    for function, terms in tqdm(computed, desc="functions", total=len(usable), mininterval=10):
        reason = "too_few_terms" if len(terms) < wanted.terms else "little_variety" if len(set(terms)) < 3 else "kept"
        reason = "big_terms" if reason == "kept" and max(map(abs, terms)) >= LARGEST_SHOWN else reason
        got.counts[f"functions {reason}" if reason != "kept" else "functions with terms"] += 1
        if reason == "kept":
            row = {"id": function.id, "source": function.code, "terms": [str(t) for t in terms]}
            got.write("functions", json.dumps(row, sort_keys=True))


def _synthesize(
    sequences: list[Record], *, plan: Plan, solver: Solver, backend: Backend | None, judge: Judge, index: Index | None, got: Collected
) -> None:
    """Fill `got`: write, check, split, solve, roll out."""
    wanted = plan.synthesis
    if wanted.writer == "endpoint" and backend is None:
        raise GalleyError("synthesis.writer is 'endpoint', but there is no synthesis.endpoint")
    writer: Writer = ModelWriter(backend) if wanted.writer == "endpoint" and backend else TemplateWriter()
    guide = Guide(backend) if wanted.guide and backend else None
    pairs = list(write_problems(sequences, writer, guide=guide, seed=plan.data_seed, counts=got.counts))
    pairs, rows = check_references(pairs, judge=judge, counts=got.counts)
    got.rows += rows
    groups = group_sequences((record.id, record.terms) for record, _ in pairs)
    held = hold_out(groups, wanted=wanted.gtg_problems, seed=plan.data_seed)
    train = [problem for record, problem in pairs if record.id not in held]
    if index is not None:
        hits = [index.hit(problem_text(problem)) for problem in train]
        got.counts.update(f"problems in {name}" for name in hits if name)
        train = [problem for problem, name in zip(train, hits, strict=True) if name is None]
    test = [problem for record, problem in pairs if record.id in held]
    got.counts["gtg"] += len(test)
    got.rows += problem_rows([p for _, p in pairs], counts=got.counts)
    got.rows += trivial_rows([p for _, p in pairs], judge=judge)
    got.rows += shortcut_rows([p for _, p in pairs], judge=judge)
    for name, problems in (("problems", train), ("gtg", test)):
        for problem in problems:
            got.write(name, to_json(problem))
    progress = tqdm(total=len(train), desc="solve", mininterval=10)
    stream = solve_all(train, solver, judge, rounds=wanted.rounds, seed=plan.data_seed)
    while part := list(islice(stream, 64)):
        _solutions(part, solver=solver, rounds=wanted.rounds, got=got)
        if isinstance(solver, SearchSolver):  # an endpoint's calls cost
            told = with_other_cases(part, solver, judge, seed=plan.data_seed)
            got.rows += [
                scored(solver.name, "solve", "pass_rate", ok, setting="corrections=1,other_case", item_id=p.id)
                for (p, _), ok in zip(part, told, strict=True)
            ]
        for problem, passed in roll_out((p for p, _ in part), solver, judge, seed=plan.data_seed, rollouts=wanted.rollouts):
            _rollouts(problem, passed, solver=solver, cut=wanted.solvability_cut, got=got)
        progress.update(len(part))
    progress.close()
    trials = roll_out(test, solver, judge, seed=plan.data_seed + 1, rollouts=wanted.rollouts)
    tested = {p.id: ok for p, ok in tqdm(trials, desc="GTG", total=len(test), mininterval=10)}
    got.rows += gtg_rows(tested, method=solver.name, origins={p.id: p.origin for p in test})


def _solutions(part: list[tuple[Problem, Trajectory]], *, solver: Solver, rounds: int, got: Collected) -> None:
    """Keep training samples with and without reflections, and whether each problem was solved by each round."""
    for problem, trajectory in part:
        got.counts["solved" if trajectory.solved else "unsolved"] += 1
        for name, reflections in (("sft", True), ("sft_plain", False)):
            sample = sft_sample(problem, trajectory, reflections=reflections)
            if sample is not None:
                got.write(name, json.dumps(sample, ensure_ascii=False, sort_keys=True))
        for after in range(rounds + 1):
            ok = trajectory.solved and len(trajectory.attempts) <= after + 1
            got.rows.append(scored(solver.name, "solve", "pass_rate", ok, setting=f"corrections={after}", item_id=problem.id))


def _rollouts(problem: Problem, passed: list[bool], *, solver: Solver, cut: float, got: Collected) -> None:
    """Keep a problem's solvability, its tag, and the problem itself where it is RL data."""
    s = solvability(passed)
    got.counts[f"tag {tag(passed)}"] += 1
    twice = pass_at_k(len(passed), sum(passed), 2)
    got.rows.append(scored(solver.name, "solve", "pass_rate", twice, setting="draws=2", item_id=problem.id))
    got.rows.append(scored(solver.name, "rollouts", "solvability", s, item_id=problem.id))
    got.rows += advantage_rows(problem.id, passed)
    if for_rl(s, cut=cut):
        row = {
            "solvability": s,
            "tag": tag(passed),
            "rollouts": len(passed),
            "backend": solver.name,
            "problem": json.loads(to_json(problem)),
        }
        got.write("rl", json.dumps(row, ensure_ascii=False, sort_keys=True))
