"""Induction learnt from scratch: a character model on integer programs, with their own cases and with another program's (D2 to D4).

arXiv:2407.12504 claims that programs with their cases teach induction; this is its smallest form. The arms: `matched` cases;
`shuffled`, values that belong to another program; `one_case`, prompts that repeat a single value, which is what inputs without
diversity leave. One model sees different numbers of shown values, so that D3 compares numbers, not trainings. Controls: a matched
model before it is trained, and after it on prompts that show another program's values.

Source: ours, on galley.synthesize.sequence_families.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from galley.evaluate.induction import induction_gap
from galley.models.answers import SftExample
from galley.papers.case2code.plan import Sequences
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
from galley.tables.ledger import Ledger, Rows
from galley.train.char_model import build_char_model, complete
from galley.train.sft import SftConfig, train_sft

BENCHMARK, CONTEXT, LONGEST = "integer_programs", 128, 24


def run_sequences(job: Job) -> None:
    """Write sequences-<shard>.items.parquet and .runs.csv; arms that an interrupted run had finished are kept."""
    plan = job.plan
    assert plan.sequences is not None
    ledger = Ledger(job, backend="torch", model="char-0.35m")
    for arm, seed in job.mine(plan.sequence_runs()):
        work = partial(train_arm, arm, seed, wanted=plan.sequences, data_seed=plan.data_seed)
        ledger.unit(f"{arm}-{seed}", work, method=arm, seed=seed)
    ledger.write()


def train_arm(arm: str, seed: int, state: Path | None = None, *, wanted: Sequences, data_seed: int) -> tuple[Rows, dict[str, int]]:
    """Train one arm and score it on held-out programs; return its rows and the tokens that it saw."""
    split = split_programs(all_programs(), held_out=wanted.held_out, family=None, seed=data_seed)
    learnt = shuffle_values(split.train, seed=data_seed + seed) if arm == "shuffled" else list(split.train)
    model, tokenizer = build_char_model(ALPHABET, seed=seed, context=CONTEXT, n_heads=2)
    config = SftConfig(
        steps=wanted.steps, answer_tokens=wanted.answer_tokens, lr=wanted.lr, batch_size=128, max_tokens=CONTEXT,
        warmup_steps=max(1, wanted.steps // 50), decay_steps=wanted.steps // 2, weight_decay=wanted.weight_decay, seed=seed, state_every=50,
    )  # fmt: skip
    held, most, rows = split.combinations, max(wanted.shown), list[dict]()
    if arm == "matched":
        rows += score(model, tokenizer, held, method="control:untrained", arm=arm, shown=most, seed=data_seed)
    log = train_sft(model, tokenizer, [_example(p, arm, k) for p in learnt for k in wanted.shown], config, state=state)
    for shown in sorted(set(wanted.shown)):
        rows += score(model, tokenizer, held, method=arm, arm=arm, shown=shown, seed=data_seed)
    if arm == "matched":
        others = shuffle_values(held, seed=data_seed + 1)
        rows += score(model, tokenizer, held, method="control:other_values", arm=arm, shown=most, seed=data_seed, seen=others)
    return [{**row, "trained": True} for row in rows], {"tokens": int(log["tokens"].sum())}  # another seed: other weights, other scores


def _example(program: IntegerProgram, arm: str, shown: int) -> SftExample:
    values: Sequence[int] = program.shown[:shown]
    if arm == "one_case":
        values = [program.shown[-1]] * shown
    return SftExample(write_prompt(values, shown=shown), program.expression)


def score(
    model, tokenizer, programs: Sequence[IntegerProgram], *, method: str, arm: str, shown: int, seed: int,
    seen: Sequence[IntegerProgram] | None = None,
) -> Rows:  # fmt: skip
    """Return for each program: whether the model's expression gives all judged values, the answer's likelihood and the induction gap.

    `seen` are the programs whose values the prompts show, where they are not its own.
    """
    examples = [SftExample(_example(s, arm, shown).prompt, p.expression) for p, s in zip(programs, seen or programs, strict=True)]
    answers = complete(model, tokenizer, [e.prompt for e in examples], max_new_tokens=LONGEST)
    gap = induction_gap(model, tokenizer, examples, seed=seed, batch_size=64)
    rows: Rows = []
    for program, text, own, more in zip(programs, answers, gap.own, gap.gap, strict=True):
        for metric, value in (("pass_rate", float(is_correct(text, program.values))), ("answer_nll", own), ("induction_gap", more)):
            rows.append({"method": method, "setting": f"shown={shown}", "benchmark": BENCHMARK, "metric": metric,
                         "item_id": program.expression, "score": float(value)})  # fmt: skip
    return rows
