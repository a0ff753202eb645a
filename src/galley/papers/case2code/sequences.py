"""Induction learnt from scratch: a character model on integer programs, with their own cases and with another program's (D2 to D4).

arXiv:2407.12504 claims that programs with their cases teach induction; this is its smallest form. The arms: `matched` cases;
`shuffled`, values that belong to another program; `one_case`, prompts that repeat a single value, which is what inputs without
diversity leave. One model sees different numbers of shown values, so that D3 compares numbers, not trainings.

Source: ours, on galley.synthesize.sequence_families.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from galley.artifact import GalleyError, Stopwatch, atomic_path, code_digest, digest
from galley.evaluate.induction import induction_gap
from galley.papers.case2code.plan import Plan, Sequences
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

PAPER, BENCHMARK, CONTEXT, LONGEST = "case2code", "integer_programs", 128, 24


def run_sequences(*, out: Path, plan: Plan, scale: str, shard: int) -> None:
    """Write sequences-<shard>.items.parquet and .runs.csv; arms that an interrupted run had finished are kept."""
    wanted = plan.sequences
    if shard >= wanted.shards:
        raise GalleyError(f"shard is {shard}; this scale has shards 0 to {wanted.shards - 1}")
    key = digest([code_digest(__name__), wanted.model_dump(exclude={"shards", "control_seeds"}), plan.data_seed])
    common = {"paper": PAPER, "scale": scale, "model": "char-0.35m", "device": "cpu"}
    frames, runs = [], []
    for arm, seed in plan.sequence_runs()[shard :: wanted.shards]:
        done = out / "state" / key / f"{arm}-{seed}.parquet"
        facts_at = done.with_suffix(".csv")
        run_id = digest([key, arm, seed])
        if not (done.exists() and facts_at.exists()):
            watch = Stopwatch()
            rows, tokens = train_arm(arm, seed=seed, wanted=wanted, data_seed=plan.data_seed, state=done.with_suffix(".state"))
            facts = {"stage": "sequences", "method": arm, "setting": "", "seed": seed, "threads": torch.get_num_threads(), **watch.read()}
            write_runs(pd.DataFrame([{**common, **facts, "run_id": run_id, "tokens": tokens}]), facts_at)
            with atomic_path(done) as part:
                item_frame(rows, **common, run_id=run_id, seed=seed, backend="torch").to_parquet(part)
        frames.append(pd.read_parquet(done))
        runs.append(pd.read_csv(facts_at, keep_default_na=False))
    write_items(pd.concat(frames, ignore_index=True), out / f"sequences-{shard}.items.parquet")
    write_runs(pd.concat(runs, ignore_index=True), out / f"sequences-{shard}.runs.csv")


def train_arm(arm: str, *, seed: int, wanted: Sequences, data_seed: int, state: Path | None = None) -> tuple[list[dict], int]:
    """Train one arm and score it on held-out programs; return its rows and the tokens that it saw."""
    split = split_programs(all_programs(), held_out=wanted.held_out, family=None, seed=data_seed)
    learnt = shuffle_values(split.train, seed=data_seed + seed) if arm == "shuffled" else list(split.train)
    model, tokenizer = build_char_model(ALPHABET, seed=seed, context=CONTEXT, n_heads=2)
    config = SftConfig(
        steps=wanted.steps, answer_tokens=wanted.answer_tokens, lr=wanted.lr, batch_size=128, max_tokens=CONTEXT,
        warmup_steps=max(1, wanted.steps // 50), decay_steps=wanted.steps // 2, weight_decay=wanted.weight_decay, seed=seed, state_every=50,
    )  # fmt: skip
    log = train_sft(model, tokenizer, [_example(p, arm, k) for p in learnt for k in wanted.shown], config, state=state)
    rows = []
    for shown in sorted(set(wanted.shown)):
        rows += score(model, tokenizer, split.combinations, arm=arm, shown=shown, seed=data_seed)
    return rows, int(log["tokens"].sum())


def _example(program: IntegerProgram, arm: str, shown: int) -> SftExample:
    values: Sequence[int] = program.shown[:shown]
    if arm == "one_case":
        values = [program.shown[-1]] * shown
    return SftExample(write_prompt(values, shown=shown), program.expression)


def score(model, tokenizer, programs: Sequence[IntegerProgram], *, arm: str, shown: int, seed: int) -> list[dict]:
    """Return for each program: whether the model's expression gives all judged values, the answer's likelihood and the induction gap."""
    examples = [_example(p, arm, shown) for p in programs]
    answers = complete(model, tokenizer, [e.prompt for e in examples], max_new_tokens=LONGEST)
    gap = induction_gap(model, tokenizer, examples, seed=seed, batch_size=64)
    rows = []
    for program, text, own, more in zip(programs, answers, gap.own, gap.gap, strict=True):
        for metric, value in (("pass_rate", float(is_correct(text, program.values))), ("answer_nll", own), ("induction_gap", more)):
            rows.append({"method": arm, "setting": f"shown={shown}", "benchmark": BENCHMARK, "metric": metric,
                         "item_id": program.expression, "score": float(value)})  # fmt: skip
    return rows
