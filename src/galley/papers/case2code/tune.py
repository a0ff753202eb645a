"""A real model trained on functions with their own cases, with another function's, and with none (D1, D4 to D6, N, T).

arXiv:2407.12504, section 4, at the size of a laptop: greedy answers of a 135M model are near 0, so induction is measured by likelihood,
paired function by function. Induction gap: the answer's likelihood given its own cases against another function's, under its own name.
All arms see the same functions in the same order and equally many answer tokens. At the paper's size arms answer the official test
(N) and code benchmarks (T). Controls, of the arm of own cases: two other functions' cases against each other, and solutions under the
prompt of another task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from galley.artifact import GalleyError
from galley.data.code_benchmarks import read_humaneval, read_mbpp
from galley.data.fetched import present
from galley.evaluate.code.generate import generate_samples
from galley.evaluate.code.samples import write_samples
from galley.evaluate.code.score import score_file
from galley.evaluate.induction import answer_nll, induction_gap
from galley.llm.local import HFBackend
from galley.models.answers import SftExample
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.papers.case2code.dataset import Item, anonymous, examples, read_items
from galley.papers.case2code.official import (
    OfficialTask,
    constant_outputs,
    extract_code,
    inputs_of,
    is_right,
    lookup_outputs,
    outputs_of,
    read_official,
)
from galley.papers.case2code.plan import Plan
from galley.papers.case2code.prompts import LEAD_IN
from galley.papers.case2code.select import Selection
from galley.sandbox.pool import Sandbox
from galley.stage import Job
from galley.stats import derangement
from galley.tables.items import unreached
from galley.tables.ledger import Ledger, Rows
from galley.train.sft import SftConfig, fitting, train_sft

OWN = "tuned:own"  # the arm that the paper proposes
SUITES = ("base", "plus")
ASK = "Use the argument names of the examples: the function is called with keyword arguments."


def run_tune(job: Job, *, base: Path, cases: Path, sources: Path, unsafe: bool, device: str) -> None:
    """Write tune-<shard>.items.parquet and .runs.csv; arms and seeds that an interrupted run had finished are kept."""
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    data = Data(cases, sources, job.plan, load_tokenizer(base))
    inputs = {"base": base, "cases": cases, **{name: sources / name for name in ("case2code_test", "humaneval", "mbpp")}}
    ledger = Ledger(job, backend="torch", device=device_name(where), inputs=inputs)
    for arm, seed in job.mine([*job.plan.tuning_runs(), ("before", 0), ("zero_shot", 0)]):
        work = partial(_arm, arm, seed, data=data, base=base, dtype=job.spec.dtype, device=where, sources=sources, unsafe=unsafe)
        ledger.unit(f"{arm}-{seed}", work, method=arm, seed=seed)
    ledger.write()


def _arm(
    arm: str, seed: int, state: Path, *, data: Data, base: Path, dtype: str, device: torch.device, sources: Path, unsafe: bool
) -> tuple[Rows, dict[str, int]]:
    """Return an arm's scores after its training, and the tokens that it saw; `before` and `zero_shot` are the untrained model's."""
    model = load_model(base, dtype=getattr(torch, dtype), device=device)
    official = partial(official_test_rows, model, data.tokenizer, sources / "case2code_test", plan=data.plan, unsafe=unsafe)
    if arm == "zero_shot":
        return official(method="zero_shot"), {"tokens": 0}
    trained, method = arm != "before", "before" if arm == "before" else f"tuned:{arm}"
    tokens = data.train(model, arm, seed=seed, state=state) if trained else 0
    rows = [*data.score(model.float(), method), *benchmark_rows(model, data, sources, method=method, folder=state, unsafe=unsafe)]
    if trained and data.plan.zero_shot is not None and data.plan.zero_shot.after:
        rows += official(method=method)
    return [{**row, "trained": trained} for row in rows], {"tokens": tokens}


class Data:
    """What all arms train on and are scored with: functions that fit, benchmark solutions."""

    def __init__(self, cases: Path, sources: Path, plan: Plan, tokenizer: Any) -> None:
        assert plan.tuning is not None
        self.tokenizer, self.plan, self.tuning, self.max_tokens = tokenizer, plan, plan.tuning, plan.tuning.max_tokens
        options: dict[str, Any] = {"seed": plan.data_seed, "heldout": plan.heldout, "min_hidden": plan.inputs.min_hidden}
        self.train_items = self._fit(read_items(cases, "train", **options))
        self.held_items = self._fit(read_items(cases, "heldout", **options))[: plan.tuning.heldout_items]
        if len(self.train_items) < 2 or len(self.held_items) < 2:
            raise GalleyError(
                f"{len(self.train_items)} training and {len(self.held_items)} held-out functions fit into {self.max_tokens} tokens; "
                "raise tuning.max_tokens or add functions"
            )
        self.benchmarks = _solutions(sources, count=plan.tuning.benchmark_items)

    def _fit(self, items: list[Item], *, seed: int = 0) -> list[Item]:
        """Return the items of which the own, the exchanged and the nameless prompt all fit: every arm sees the same functions."""
        while len(items) > 1:  # who is exchanged with whom depends on who is left
            fit = [
                set(fitting(examples(items, seed=seed, cases=c), self.tokenizer, max_tokens=self.max_tokens)) for c in ("own", "shuffled")
            ]
            kept = [item for i, item in enumerate(items) if i in fit[0] & fit[1]]
            if len(kept) == len(items):
                break
            items = kept
        return items

    def train(self, model: Any, arm: str, *, seed: int, state: Path) -> int:
        """Fine-tune on an arm's examples; return the tokens seen. Prompts are drawn anew for every seed, functions' order too."""
        wanted = self.tuning
        made = examples(self._fit(self.train_items, seed=seed), seed=seed, cases=arm)
        config = SftConfig(
            steps=wanted.steps, answer_tokens=wanted.answer_tokens, lr=wanted.lr, batch_size=wanted.batch_size, max_tokens=self.max_tokens,
            warmup_steps=max(1, wanted.steps // 10), decay_steps=wanted.steps // 2, dtype=wanted.dtype, seed=seed, state_every=10,
        )  # fmt: skip
        return int(train_sft(model, self.tokenizer, made, config, state=state)["tokens"].sum())

    def score(self, model: Any, method: str) -> Iterator[dict]:
        """Yield the induction gap; for the untrained model and the arm of own cases also without names and with one repeated case."""
        main = method in ("before", OWN)
        yield from self._gap_rows(model, method, "names", self.held_items)
        if main:
            yield from self._gap_rows(model, method, "anonymous", [anonymous(item) for item in self.held_items])
            yield from self._repeated_rows(model, method)
        if main or method == "tuned:none":
            yield from self._benchmark_rows(model, method)

    def _gap_rows(self, model: Any, method: str, setting: str, items: list[Item]) -> Iterator[dict]:
        others = examples(items, seed=0, cases="shuffled")  # another function's cases under the own name
        scored = {method: (examples(items, seed=0), others)}
        if method == OWN:
            scored["control:other_cases"] = (others, examples(items, seed=0, cases="shuffled", draw=1))
        for name, (given, against) in scored.items():
            gap = induction_gap(model, self.tokenizer, given, seed=0, others=[e.prompt for e in against], batch_size=8)
            for item, nll, more in zip(items, gap.own, gap.gap, strict=True):
                yield _row(name, setting, "own_test", "answer_nll", nll, item_id=item.sample.id)
                yield _row(name, setting, "own_test", "induction_gap", more, item_id=item.sample.id)

    def _repeated_rows(self, model: Any, method: str) -> Iterator[dict]:
        """D4: the likelihood when the first shown case stands in the place of all."""
        items = [
            replace(i, selection=Selection(i.selection.shown[:1] * len(i.selection.shown), i.selection.hidden)) for i in self.held_items
        ]
        for item, nll in zip(items, answer_nll(model, self.tokenizer, examples(items, seed=0), batch_size=8), strict=True):
            yield _row(method, "one_case", "own_test", "answer_nll", nll, item_id=item.sample.id)

    def _benchmark_rows(self, model: Any, method: str) -> Iterator[dict]:
        """D6: the likelihood of canonical solutions; the control puts them under another task's prompt."""
        for benchmark, solutions in self.benchmarks.items():
            if not solutions:
                yield _row(method, "", benchmark, "answer_nll", float("nan"), status="not_run", reason=unreached(benchmark))
                continue
            scored = {method: [e for _, e in solutions]}
            if method == OWN and len(solutions) > 1:
                other = derangement(len(solutions), seed=0)
                scored["control:other_task"] = [
                    SftExample(solutions[j][1].prompt, e.answer) for j, (_, e) in zip(other, solutions, strict=True)
                ]
            for who, asked in scored.items():
                scores = answer_nll(model, self.tokenizer, asked, batch_size=8)
                for (name, _), nll in zip(solutions, scores, strict=True):
                    yield _row(who, "", benchmark, "answer_nll", nll, item_id=name)


def _solutions(sources: Path, *, count: int) -> dict[str, list[tuple[str, SftExample]]]:
    """Return the first canonical solutions of HumanEval and of MBPP's test split, as prompt and answer."""
    found: dict[str, list[tuple[str, SftExample]]] = {"humaneval": [], "mbpp": []}
    if present(sources / "humaneval"):
        for task in read_humaneval(sources / "humaneval")[:count]:
            found["humaneval"].append((task.id, SftExample(task.prompt, task.reference[len(task.prompt) :])))
    if present(sources / "mbpp"):
        for other in read_mbpp(sources / "mbpp", split="test")[:count]:
            found["mbpp"].append((other.id, SftExample(other.prompt, other.reference)))
    return found


def benchmark_rows(model: Any, data: Data, sources: Path, *, method: str, folder: Path, unsafe: bool) -> Rows:
    """T: greedy answers to code benchmarks, a row a task by the base and by the plus tests, in EvalPlus's conventions."""
    assert data.plan.zero_shot is not None
    rows: Rows = []
    for name in data.tuning.benchmarks:
        if not present(sources / name):
            rows += [_row(method, suite, name, "pass_rate", float("nan"), status="not_run", reason=unreached(name)) for suite in SUITES]
            continue
        backend = HFBackend(model, data.tokenizer, batch_size=data.plan.zero_shot.batch_size)
        answers, limit = folder / f"{name}.jsonl", data.tuning.benchmark_tasks
        generate_samples(name, backend, sources=sources, out=answers, limit=limit)
        judged = {method: answers}
        if method == OWN:
            judged["control:next_answers"] = _exchanged(answers, folder / f"{name}.next.jsonl")
        for who, file in judged.items():
            scores = folder / f"{file.stem}.scores"
            score_file(name, file, sources=sources, out=scores, partial=limit is not None, unsafe=unsafe)
            found = _json_lines(scores / "results.jsonl")
            rows += [_row(who, r["suite"], name, "pass_rate", float(r["verdict"] == "pass"), item_id=r["task_id"]) for r in found]
    return rows


def _exchanged(answers: Path, out: Path) -> Path:
    """Write answers with each under the id of another task; return the file."""
    rows = _json_lines(answers)
    other = derangement(len(rows), seed=0)
    write_samples(out, [{**row, "task_id": rows[j]["task_id"]} for row, j in zip(rows, other, strict=True)])
    return out


def _json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def official_test_rows(model: Any, tokenizer: Any, folder: Path, *, method: str, plan: Plan, unsafe: bool) -> Rows:
    """D1, N1: greedy answers to official tasks; with the untrained model, also its own programs and baselines on the same tasks."""
    assert plan.zero_shot is not None
    beside = ("oracle", "lookup", "constant", "control:next_program")
    methods = (method, *beside) if method == "zero_shot" else (method,)
    if not present(folder):
        reason = unreached("case2code_test")
        return [_row(m, "", "case2code_test", "pass_rate", float("nan"), status="not_run", reason=reason) for m in methods]
    tasks = read_official(folder)
    tasks = tasks[:: max(1, len(tasks) // plan.zero_shot.tasks)][: plan.zero_shot.tasks]
    asks = [f"{t.prompt.strip()}\n{ASK}" for t in tasks]
    prompts: Sequence[Any] = [f"{a}\n\n{LEAD_IN}" for a in asks]
    if method == "zero_shot" and getattr(tokenizer, "chat_template", None):  # fine-tuning was on plain text
        prompts = [[{"role": "user", "content": a}, {"role": "assistant", "content": LEAD_IN}] for a in asks]
    backend = HFBackend(model, tokenizer, batch_size=plan.zero_shot.batch_size)
    replies = [reply for (reply,) in backend.generate(prompts, max_tokens=plan.zero_shot.max_new_tokens, stop=["```"])]
    with Sandbox(unsafe=unsafe) as sandbox:
        found = {method: list(outputs_of(sandbox, zip(tasks, [extract_code(r.text) for r in replies], strict=True)))}
        if method == "zero_shot":
            found["oracle"] = list(outputs_of(sandbox, ((t, t.code) for t in tasks)))
            found["lookup"] = [lookup_outputs(t, i) for t, i in zip(tasks, list(inputs_of(sandbox, tasks)), strict=True)]
            found["constant"] = [constant_outputs(t) for t in tasks]
            other = derangement(len(tasks), seed=0) if len(tasks) > 1 else [0]
            found["control:next_program"] = list(
                outputs_of(sandbox, ((t, renamed(tasks[j], t)) for j, t in zip(other, tasks, strict=True)))
            )
    rows = [
        _row(name, "", "case2code_test", "pass_rate", float(is_right(outputs, task)), item_id=task.id)
        for name in methods
        for task, outputs in zip(tasks, found[name], strict=True)
    ]
    cut = sum(reply.finish == "length" for reply in replies) / len(replies)
    return [*rows, _row(method, "", "case2code_test", "cut_off", cut)]


def renamed(task: OfficialTask, other: OfficialTask) -> str:
    """Return a task's program under the name of another task's function."""
    return f"{task.code}\n{other.name} = {task.name}\n"


def _row(method: str, setting: str, benchmark: str, metric: str, score: float, **more: str) -> dict:
    return {"method": method, "setting": setting, "benchmark": benchmark, "metric": metric, "score": float(score), **more}
