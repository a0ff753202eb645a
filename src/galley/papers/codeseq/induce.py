"""Induction from scratch: a character model learns programs from their values, and to correct a draft by a failed case.

arXiv:2510.14620 claims that programs of sequences teach induction; this is its smallest form. D1 shows the first values of a program
of five families and asks for its expression, which is judged on hidden values too; held out are parameter combinations and one
whole family, and the control learns from values that belong to other programs. D2 compares answers from a draft's own failed
case with answers from another problem's (retry.py), at equal answer tokens. Trainings are dealt to shards; each keeps what it finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError, Stopwatch, atomic_path, code_digest, digest
from galley.papers.codeseq.plan import CharTraining, Plan
from galley.papers.codeseq.retry import ambiguous_programs, direct_examples, reflection_examples, split_by_prompt, two_steps
from galley.synthesize.sequence_families import (
    ALPHABET,
    IntegerProgram,
    all_programs,
    is_correct,
    shuffle_values,
    split_programs,
    write_prompt,
)
from galley.tables.rows import item_frame, write_items, write_runs
from galley.train.char_model import build_char_model, complete
from galley.train.sft import SftConfig, SftExample, train_sft

PAPER, CONTEXT, LONGEST_ANSWER = "codeseq", 128, 24
DRAFTS = 6  # wrong drafts per program and epoch in the training data of D2


@dataclass(frozen=True)
class Task:
    """One training: which experiment, which arm, which seed."""

    experiment: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Return the task's name as a file is called."""
        return f"{self.experiment}-{self.arm.replace(':', '_')}-{self.seed}"


def tasks(plan: Plan) -> list[Task]:
    """Return the trainings, in an order in which dealing them out in turn spreads the work."""
    arms = []
    if plan.induction is not None:
        arms += [("induction", "matched", plan.seeds), ("induction", "control:shuffled", plan.induction.control_seeds)]
    if plan.reflection is not None:
        arms += [("reflection", "with_cases", plan.seeds), ("reflection", "without_cases", plan.reflection.control_seeds)]
    return [Task(experiment, arm, seed) for experiment, arm, seeds in arms for seed in range(seeds)]


def run_induce(*, out: Path, plan: Plan, scale: str, shard: int) -> None:
    """Write induce-<shard>.items.parquet and .runs.csv; trainings that an interrupted run had finished are kept."""
    if shard >= plan.shards:
        raise GalleyError(f"shard is {shard}; this scale has shards 0 to {plan.shards - 1}")
    base = digest([code_digest(__name__), plan.data_seed, scale])
    common = {"paper": PAPER, "scale": scale, "model": "char-350k", "device": "cpu"}
    frames, runs = [], []
    for task in tasks(plan)[shard :: plan.shards]:
        training = plan.induction if task.experiment == "induction" else plan.reflection
        assert training is not None
        key = digest([base, vars(task), training.model_dump()])
        done = out / "state" / key / f"{task.name}.parquet"
        if not done.exists():
            watch = Stopwatch()
            rows, tokens = train_task(task, training, data_seed=plan.data_seed, state=out / "state" / key / "training")
            facts = {"stage": task.experiment, "method": task.arm, "setting": "", "seed": task.seed, "threads": torch.get_num_threads(),
                     "tokens": tokens, **watch.read()}  # fmt: skip
            frame = item_frame(rows, **common, run_id=key, seed=task.seed, backend="torch")
            write_runs(pd.DataFrame([{**common, "run_id": key, **facts}]), done.with_suffix(".csv"))
            with atomic_path(done) as part:
                frame.to_parquet(part)
        frames.append(pd.read_parquet(done))
        runs.append(pd.read_csv(done.with_suffix(".csv"), keep_default_na=False))
    write_items(pd.concat(frames, ignore_index=True), out / f"induce-{shard}.items.parquet")
    write_runs(pd.concat(runs, ignore_index=True), out / f"induce-{shard}.runs.csv")


def train_task(task: Task, training: CharTraining, *, data_seed: int, state: Path | None = None) -> tuple[list[dict], int]:
    """Train one arm and score it; return its rows and the tokens that it saw."""
    model, tokenizer = build_char_model(ALPHABET, seed=task.seed, context=CONTEXT, n_heads=training.n_heads)
    config = SftConfig(
        steps=training.steps, answer_tokens=training.answer_tokens, lr=training.lr, batch_size=512, max_tokens=CONTEXT,
        warmup_steps=max(1, training.steps // 50), decay_steps=training.steps // 2, weight_decay=training.weight_decay, seed=task.seed,
        state_every=50,
    )  # fmt: skip
    if task.experiment == "induction":
        split = split_programs(all_programs(), held_out=training.held_out, family=training.family, seed=data_seed)
        learnt = list(split.train) if task.arm == "matched" else shuffle_values(split.train, seed=data_seed + task.seed)
        log = train_sft(model, tokenizer, direct_examples(learnt, shown=training.shown), config, state=state)
        sides = {"combinations": split.combinations, "family": split.family, "train": split.train[: len(split.combinations)]}
        rows = [
            row for setting, programs in sides.items() for row in solved_rows(task.arm, model, tokenizer, programs, setting, training.shown)
        ]
    else:
        learnt, held = split_by_prompt(
            ambiguous_programs(training.largest), shown=training.shown, held_out=training.held_out, seed=data_seed
        )
        log = train_sft(model, tokenizer, retry_examples(learnt, task.arm, shown=training.shown, seed=data_seed), config, state=state)
        rows = retry_rows(task.arm, model, tokenizer, held, shown=training.shown, seed=task.seed)
    return rows, int(log["tokens"].sum())


def retry_examples(programs: Sequence[IntegerProgram], arm: str, *, shown: int, seed: int) -> list[SftExample]:
    """Return D2's training data: direct answers, and for `with_cases` answers after a wrong draft and its failed case, about as many."""
    direct = direct_examples(programs, shown=shown)
    if arm == "without_cases":
        return direct
    told = reflection_examples(programs, shown=shown, drafts=DRAFTS, seed=seed)
    return direct * max(1, round(len(told) / len(direct))) + told


def solved_rows(
    arm: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, programs: Sequence[IntegerProgram], setting: str, shown: int
) -> list[dict]:
    """Return for each program whether the model's expression gives all judged values."""
    prompts = [write_prompt(p.values, shown=shown) for p in programs]
    answers = complete(model, tokenizer, prompts, max_new_tokens=LONGEST_ANSWER)
    return [{"method": arm, "benchmark": "families", "metric": "pass_rate", "setting": setting, "item_id": p.expression,
             "score": float(is_correct(a, p.values))} for a, p in zip(answers, programs, strict=True)]  # fmt: skip


def retry_rows(
    arm: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, programs: Sequence[IntegerProgram], *, shown: int, seed: int
) -> list[dict]:
    """Return for each held-out program: right at once, after its own failed case, after another's, and at a second draw instead."""

    def greedy(prompts: Sequence[str]) -> list[str]:
        return complete(model, tokenizer, prompts, max_new_tokens=LONGEST_ANSWER)

    tried = two_steps(programs, greedy, shown=shown, seed=seed)
    again = complete(model, tokenizer, [write_prompt(p.values, shown=shown) for p in programs], max_new_tokens=LONGEST_ANSWER,
                     temperature=1.0, seed=seed)  # fmt: skip
    rows = []
    for program, t, draw in zip(programs, tried, again, strict=True):
        scores = {"draft": t.draft, "own_case": t.true_feedback, "other_case": t.other_feedback,
                  "second_draw": t.draft or is_correct(draw, program.values)}  # fmt: skip
        rows += [{"method": arm, "benchmark": "retry", "metric": "pass_rate", "setting": setting, "item_id": program.expression,
                  "score": float(score)} for setting, score in scores.items()]  # fmt: skip
    return rows
