"""Induction from scratch: a character model learns programs from their values, and to correct a draft by a failed case.

arXiv:2510.14620 claims that programs of sequences teach induction; this is its smallest form. D1 shows the first values of a program
of five families and asks for its expression, which is judged on hidden values too; held out are parameter combinations and one
whole family. Controls learn from values of other programs: any, or of the same family. D2 compares answers from a draft's own failed
case with answers from another problem's (retry.py), at equal answer tokens. Trainings are dealt to shards; each keeps what it finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.models.answers import SftExample
from galley.papers.codeseq.plan import Plan
from galley.papers.codeseq.retry import ambiguous_programs, direct_examples, reflection_examples, split_by_prompt, two_steps
from galley.stage import Job
from galley.synthesize.sequence_families import (
    ALPHABET,
    IntegerProgram,
    all_programs,
    is_correct,
    shuffle_values,
    split_programs,
    write_prompt,
)
from galley.tables.items import Rows, scored
from galley.tables.ledger import Ledger
from galley.train.char_model import build_char_model, complete
from galley.train.sft import SftConfig, train_sft

CONTEXT, LONGEST_ANSWER = 128, 24
DRAFTS = 6  # wrong drafts per program and epoch in the training data of D2


@dataclass(frozen=True)
class Task:
    """One training: which experiment, which arm, which seed."""

    experiment: str
    arm: str
    seed: int


def tasks(plan: Plan) -> list[Task]:
    """Return the trainings, in an order in which dealing them out in turn spreads the work."""
    arms = []
    if plan.induction is not None:
        arms += [("induction", arm) for arm in ("matched", "control:shuffled", "control:in_family")]
    if plan.reflection is not None:
        arms += [("reflection", arm) for arm in ("with_cases", "without_cases")]
    return [Task(experiment, arm, seed) for experiment, arm in arms for seed in range(plan.seeds)]


def run_induce(job: Job) -> None:
    """Write induce-<shard>.items.parquet and .runs.csv; finished trainings are kept when it is interrupted."""
    ledger = Ledger(job, backend="torch", model="char-350k")
    for task in job.mine(tasks(job.plan)):
        work = partial(train_task, task, plan=job.plan)
        ledger.unit(f"{task.experiment}-{task.arm}-{task.seed}", work, method=task.arm, seed=task.seed)
    ledger.write()


def train_task(task: Task, state: Path, *, plan: Plan) -> tuple[Rows, dict[str, int]]:
    """Train one arm and score it; return its rows and the tokens that it saw."""
    training = plan.induction if task.experiment == "induction" else plan.reflection
    assert training is not None
    model, tokenizer = build_char_model(ALPHABET, seed=task.seed, context=CONTEXT, n_heads=training.n_heads)
    config = SftConfig(
        steps=training.steps, answer_tokens=training.answer_tokens, lr=training.lr, batch_size=512, max_tokens=CONTEXT,
        warmup_steps=max(1, training.steps // 50), decay_steps=training.steps // 2, weight_decay=training.weight_decay, seed=task.seed,
        state_every=50,
    )  # fmt: skip
    if task.experiment == "induction":
        split = split_programs(all_programs(), held_out=training.held_out, family=training.family, seed=plan.data_seed)
        learnt = learnt_programs(task.arm, split.train, seed=plan.data_seed + task.seed)
        log = train_sft(model, tokenizer, direct_examples(learnt, shown=training.shown), config, state=state)
        sides = {"combinations": split.combinations, "family": split.family, "train": split.train[: len(split.combinations)]}
        rows = [
            row for setting, programs in sides.items() for row in solved_rows(task.arm, model, tokenizer, programs, setting, training.shown)
        ]
    else:
        learnt, held = split_by_prompt(
            ambiguous_programs(training.largest), shown=training.shown, held_out=training.held_out, seed=plan.data_seed
        )
        log = train_sft(model, tokenizer, retry_examples(learnt, task.arm, shown=training.shown, seed=plan.data_seed), config, state=state)
        rows = retry_rows(task.arm, model, tokenizer, held, shown=training.shown, seed=task.seed)
    return [{**row, "trained": True} for row in rows], {"tokens": int(log["tokens"].sum())}


def learnt_programs(arm: str, programs: Sequence[IntegerProgram], *, seed: int) -> list[IntegerProgram]:
    """Return D1's training programs: with their own values, with those of others, or with those of others of their family.

    The last knows what a family's programs look like, and of which family values are, but not with which parameters.
    """
    if arm == "matched":
        return list(programs)
    if arm == "control:shuffled":
        return shuffle_values(programs, seed=seed)
    families = sorted({program.family for program in programs})
    return [program for family in families for program in shuffle_values([p for p in programs if p.family == family], seed=seed)]


def retry_examples(programs: Sequence[IntegerProgram], arm: str, *, shown: int, seed: int) -> list[SftExample]:
    """Return D2's training data: direct answers, and for `with_cases` answers after a wrong draft and its failed case, about as many."""
    direct = direct_examples(programs, shown=shown)
    if arm == "without_cases":
        return direct
    told = reflection_examples(programs, shown=shown, drafts=DRAFTS, seed=seed)
    return direct * max(1, round(len(told) / len(direct))) + told


def solved_rows(
    arm: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, programs: Sequence[IntegerProgram], setting: str, shown: int
) -> Rows:
    """Return for each program whether the model's expression gives all judged values."""
    prompts = [write_prompt(p.values, shown=shown) for p in programs]
    answers = complete(model, tokenizer, prompts, max_new_tokens=LONGEST_ANSWER)
    return [
        scored(arm, "families", "pass_rate", is_correct(a, p.values), setting=setting, item_id=p.expression)
        for a, p in zip(answers, programs, strict=True)
    ]


def retry_rows(
    arm: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, programs: Sequence[IntegerProgram], *, shown: int, seed: int
) -> Rows:
    """Return for each held-out program: right at once, after its own failed case, after another's, and at a second draw instead."""

    def greedy(prompts: Sequence[str]) -> list[str]:
        return complete(model, tokenizer, prompts, max_new_tokens=LONGEST_ANSWER)

    tried = two_steps(programs, greedy, shown=shown, seed=seed)
    again = complete(model, tokenizer, [write_prompt(p.values, shown=shown) for p in programs], max_new_tokens=LONGEST_ANSWER,
                     temperature=1.0, seed=seed)  # fmt: skip
    rows: Rows = []
    for program, t, draw in zip(programs, tried, again, strict=True):
        scores = {"draft": t.draft, "own_case": t.true_feedback, "other_case": t.other_feedback,
                  "second_draw": t.draft or is_correct(draw, program.values)}  # fmt: skip
        rows += [scored(arm, "retry", "pass_rate", ok, setting=s, item_id=program.expression) for s, ok in scores.items()]
    return rows
