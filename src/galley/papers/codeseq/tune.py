"""Tuning a real model: on functions of sequences given their terms (M1), and on solutions with or without reflections (M2).

arXiv:2510.14620, section 4. M1 is its induction claim as far as a small model carries a signal: the prompt shows terms, the answer is
the function, and what is scored on held-out groups of sequences is the induction gap and whether a written function gives the hidden
terms too. The control learns functions beside terms of others. M2 compares solutions with and without the failed
attempts before them, at equal answer tokens; its control learns solutions of other problems. Where the plan says so models also take the
GTG test, whole and of recent sequences alone, and answer code benchmarks (N).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from galley.data.fetched import present
from galley.evaluate.code.generate import generate_samples
from galley.evaluate.code.score import score_file
from galley.evaluate.induction import answer_nll, induction_gap
from galley.llm.local import HFBackend
from galley.models.answers import SftExample
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.papers.codeseq.canonical import group_sequences, hold_out
from galley.papers.codeseq.gtg import recent, run_gtg
from galley.papers.codeseq.judge import Judge
from galley.papers.codeseq.plan import Functions, Plan, Tuning
from galley.papers.codeseq.problems import from_json
from galley.papers.codeseq.solvers import ModelSolver
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program
from galley.stage import Job
from galley.stats import derangement
from galley.synthesize.journal import Journal
from galley.tables.items import Rows, absent, scored, unreached
from galley.tables.ledger import Ledger
from galley.train.sft import SftConfig, fitting, train_sft

HEAD = "def f(n):"
ARMS = (
    ("functions", "matched"),
    ("functions", "control:shuffled"),
    ("solutions", "with_reflections"),
    ("solutions", "without_reflections"),
    ("solutions", "control:other_problem"),
)


@dataclass(frozen=True)
class Item:
    """A function with its terms from the first index on."""

    id: str
    source: str
    terms: tuple[int, ...]


def read_items(path: Path) -> list[Item]:
    """Return the functions that the synthesis stage ran."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Item(row["id"], row["source"], tuple(map(int, row["terms"]))) for row in rows]


def example_of(item: Item, *, terms: Sequence[int], wanted: Functions) -> SftExample:
    """Return terms -> function; the function's head belongs to the prompt, since it says nothing."""
    names = ", ".join(f"f({n})" for n in range(wanted.first, wanted.first + 3))
    shown = ", ".join(map(str, terms[: wanted.shown]))
    return SftExample(f"# {names}, ... = {shown}\n{HEAD}", item.source.removeprefix(HEAD))


def split_items(items: Sequence[Item], *, held_out: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Return training and held-out functions, like sequences on one side."""
    held = hold_out(group_sequences((item.id, item.terms) for item in items), wanted=held_out, seed=seed)
    return [i for i in items if i.id not in held], [i for i in items if i.id in held]


def run_tune(job: Job, *, base: Path, synthesis: Path, sources: Path | None, workers: int, unsafe: bool, device: str) -> None:
    """Write tune-<shard>.items.parquet and .runs.csv; finished arms are kept when it is interrupted."""
    plan = job.plan
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    todo: list[tuple[str, str, int]] = [("untrained", "before", 0)]
    todo += [(experiment, arm, seed) for seed in range(plan.seeds) for experiment, arm in ARMS]
    data = {name: synthesis / f"{name}.jsonl" for name in ("functions", "sft", "sft_plain", "gtg")}
    asked = {name: sources / name for name in plan.tuning.benchmarks} if sources else {}
    ledger = Ledger(job, backend="torch", device=device_name(where), inputs={"base": base, **data, **asked})
    with Sandbox(workers=workers, unsafe=unsafe) as sandbox, Journal(job.state / f"programs-{job.shard or 0}.sqlite") as journal:

        def work(state: Path, *, experiment: str, arm: str, seed: int) -> tuple[Rows, dict[str, int]]:
            model = load_model(base, dtype=getattr(torch, job.spec.dtype), device=where)
            tuned = Tuned(model, load_tokenizer(base), plan, synthesis, Judge(sandbox, journal))
            tokens = tuned.train(experiment, arm, seed=seed, state=state)
            rows = [*tuned.score(experiment, arm), scored(arm, "training", "count", tokens, unit="count", setting="tokens")]
            if experiment != "functions":
                rows += tuned.code_rows(arm, sources=sources, folder=state, workers=workers, unsafe=unsafe)
            return [{**row, "trained": arm != "before"} for row in rows], {"tokens": tokens}

        for experiment, arm, seed in job.mine(todo):
            one = partial(work, experiment=experiment, arm=arm, seed=seed)
            ledger.unit(f"{experiment}-{arm}-{seed}", one, method=arm, seed=seed)
    ledger.write()


class Tuned:
    """A model with what one arm trains and scores it on."""

    def __init__(self, model: Any, tokenizer: Any, plan: Plan, synthesis: Path, judge: Judge) -> None:
        assert plan.functions is not None and plan.tuning is not None
        self.model, self.tokenizer, self.plan, self.synthesis, self.judge = model, tokenizer, plan, synthesis, judge
        self.functions: Functions = plan.functions
        self.tuning: Tuning = plan.tuning
        items = read_items(synthesis / "functions.jsonl")
        self.learnt, self.held = split_items(items, held_out=self.functions.held_out, seed=plan.data_seed) if items else ([], [])

    def train(self, experiment: str, arm: str, *, seed: int, state: Path) -> int:
        """Tune the model on an arm's examples; return the tokens that it saw, 0 for what is not trained or has no data."""
        examples = self._examples(experiment, arm)
        if not examples:
            return 0
        t = self.tuning
        kept = fitting(examples, self.tokenizer, max_tokens=t.max_tokens)
        config = SftConfig(
            steps=t.steps if experiment == "functions" else t.solution_steps, answer_tokens=t.answer_tokens, lr=t.lr,
            batch_size=t.batch_size, max_tokens=t.max_tokens, warmup_steps=max(1, t.steps // 10), decay_steps=t.steps // 2, seed=seed,
            dtype=t.dtype, state_every=10,
        )  # fmt: skip
        log = train_sft(self.model, self.tokenizer, [examples[i] for i in kept], config, state=state)
        return int(log["tokens"].sum())

    def _examples(self, experiment: str, arm: str) -> list[SftExample]:
        if experiment == "functions":
            order = range(len(self.learnt)) if arm == "matched" else derangement(len(self.learnt), seed=self.plan.data_seed)
            return [example_of(i, terms=self.learnt[j].terms, wanted=self.functions) for i, j in zip(self.learnt, order, strict=True)]
        if experiment == "solutions":
            learnt = self._solutions("sft_plain" if arm == "without_reflections" else "sft")[::2]
            if arm == "control:other_problem" and len(learnt) > 1:
                other = derangement(len(learnt), seed=self.plan.data_seed)
                return [SftExample(learnt[j].prompt, example.answer) for j, example in zip(other, learnt, strict=True)]
            return learnt
        return []

    def _solutions(self, name: str) -> list[SftExample]:
        rows = [json.loads(line) for line in (self.synthesis / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        return [SftExample(row["prompt"] + "\n\n", row["answer"]) for row in rows]

    def score(self, experiment: str, arm: str) -> Iterator[dict[str, Any]]:
        """Yield an arm's rows; the untrained model is scored on everything."""
        if experiment != "solutions":
            yield from self._score_functions(arm)
        if experiment != "functions":
            yield from self._score_solutions(arm)
        if self.tuning.gtg and experiment != "functions":
            problems = [from_json(line) for line in (self.synthesis / "gtg.jsonl").read_text(encoding="utf-8").splitlines()]
            origin = {problem.id: problem.origin for problem in problems}
            solver = ModelSolver(HFBackend(self.model, self.tokenizer, batch_size=8))
            for name, passed in run_gtg(problems, solver, self.judge, seed=self.plan.data_seed):
                for benchmark in ("GTG", "GTG recent")[: 1 + recent(origin[name])]:
                    yield scored(arm, benchmark, "points", 100 * sum(passed) / len(passed), item_id=name)

    def code_rows(self, arm: str, *, sources: Path | None, folder: Path, workers: int, unsafe: bool) -> Rows:
        """N2, N3: greedy answers to the plan's code benchmarks, a row a task; and a row for each that this stage cannot score."""
        rows: Rows = [absent(arm, name, "acc", "this stage does not score it") for name in self.tuning.elsewhere]
        for name in self.tuning.benchmarks:
            if sources is None or not present(sources / name):
                rows.append(absent(arm, name, "pass_rate", unreached(name)))
                continue
            answers, scores = folder / f"{name}.jsonl", folder / f"{name}.scores"
            generate_samples(name, HFBackend(self.model, self.tokenizer, batch_size=8), sources=sources, out=answers)
            score_file(name, answers, sources=sources, out=scores, workers=workers, unsafe=unsafe)
            found = [json.loads(line) for line in (scores / "results.jsonl").read_text(encoding="utf-8").splitlines()]
            rows += [scored(arm, name, "pass_rate", r["verdict"] == "pass", item_id=r["task_id"]) for r in found]
        return rows

    def _score_functions(self, arm: str) -> Iterator[dict[str, Any]]:
        """M1: the induction gap of every held-out function, and whether the function that is written gives the hidden terms."""
        if not self.held:
            yield absent(arm, "functions", "induction_gap", unreached("oeissequences"))
            return
        examples = [example_of(i, terms=i.terms, wanted=self.functions) for i in self.held]
        gap = induction_gap(self.model, self.tokenizer, examples, seed=self.plan.data_seed, batch_size=self.tuning.batch_size)
        written = self._write([e.prompt for e in examples])
        for item, own, difference, passed in zip(self.held, gap.own, gap.gap, self._right(written), strict=True):
            yield scored(arm, "functions", "answer_nll", own, item_id=item.id)
            yield scored(arm, "functions", "induction_gap", difference, item_id=item.id)
            yield scored(arm, "functions", "pass_rate", passed, item_id=item.id)

    def _write(self, prompts: Sequence[str]) -> list[str]:
        """Return the functions that the model writes, greedily, each ended by a line that is not indented."""
        backend = HFBackend(self.model, self.tokenizer, batch_size=16)
        stop = ["\ndef ", "\n#", "\nprint", "\nif ", "\n\n\n"]
        answers = backend.generate(prompts, max_tokens=self.tuning.max_new_tokens, stop=stop)
        return [HEAD + a[0].text for a in answers]

    def _right(self, written: Sequence[str]) -> Iterator[bool]:
        """Yield whether each function gives all of its sequence's terms, shown and hidden."""
        indices = [[n] for n in range(self.functions.first, self.functions.first + self.functions.terms)]
        limits = Limits(cpu_s=10.0, wall_s=20.0, memory_mb=512)
        calls = Calls("f", indices, call_cpu_s=1.0, max_timeouts=1)
        programs = (Program(str(k), code, calls, limits) for k, code in enumerate(written))
        for item, outcome in zip(self.held, self.judge.sandbox.map(programs), strict=True):
            got = [c.value if c.status == "value" else None for c in outcome.calls]
            yield len(got) == len(item.terms) and all(type(g) is int and g == t for g, t in zip(got, item.terms, strict=True))

    def _score_solutions(self, arm: str) -> Iterator[dict[str, Any]]:
        """M2: the likelihood of held-out problems' correct programs, given the problem alone."""
        held = self._solutions("sft_plain")[1::2]
        kept = [held[i] for i in fitting(held, self.tokenizer, max_tokens=self.tuning.max_tokens)][: self.functions.held_out]
        for n, nll in enumerate(answer_nll(self.model, self.tokenizer, kept, batch_size=self.tuning.batch_size)):
            yield scored(arm, "solutions", "answer_nll", nll, item_id=f"problem-{n}")
