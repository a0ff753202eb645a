"""M1: what training on filtered programs is worth, in the likelihood of held-out correct programs.

arXiv:2502.11460 trains on prefix -> completion pairs of programs that pass and reports pass@1. A 135M model passes nothing, so the
measure is the mean negative log-likelihood of held-out reference bodies given their prefix, in nats a token, paired item by item. At the
paper's scale the arms also answer code benchmarks (M2).
Arms: CodeGen-16B's solutions for HumanEval tasks that pass the model's own three most frequent tests (`filtered`), all of them
(`unfiltered`), and those that fail (`failing`), equal answer tokens an arm. Held out: MBPP's reference programs; no task of MBPP is in
training. Control: bodies exchanged between tasks (`shuffled`). Beside it: the untrained base.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from galley.data.code_benchmarks import read_mbpp
from galley.data.fetched import present
from galley.evaluate.induction import answer_nll
from galley.models.answers import SftExample
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.papers.unitcoder.answers import answer_rows
from galley.papers.unitcoder.export import prefix_and_body
from galley.papers.unitcoder.plan import Plan
from galley.stage import Job
from galley.tables.items import Rows, absent, count, scored, unreached
from galley.tables.ledger import Ledger, leave
from galley.train.sft import SftConfig, fitting, train_sft

ARMS = ("filtered", "unfiltered", "failing", "shuffled")
KEEP = 3  # a filtered program passes its task's three most frequent asserts


def run_tuning(job: Job, *, base: Path, programs: Path, sources: Path, device: str, unsafe: bool = False) -> None:
    """Write tuning.items.parquet and tuning.runs.csv; finished arms are kept when it is interrupted."""
    plan = job.plan
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    pools = arms(_read(programs), seed=plan.data_seed)
    if not pools or not present(sources / "mbpp"):
        reason = unreached("mbpp" if pools else "codet")
        leave(job, [absent(arm, "MBPP", "answer_nll", reason) for arm in ("base", *ARMS)], backend="torch", device=device_name(where))
        return
    tokenizer = load_tokenizer(base)
    heldout = heldout_pairs(sources, n=plan.tuning.heldout, seed=plan.data_seed)
    heldout = {name: heldout[name] for name in _fit(heldout, tokenizer, plan)}
    ledger = Ledger(job, backend="torch", device=device_name(where), inputs={"base": base, "programs": programs, "mbpp": sources / "mbpp"})
    for arm, seed in [("base", 0), *((arm, seed) for seed in range(plan.seeds) for arm in ARMS)]:
        work = partial(
            _arm,
            arm,
            seed,
            base=base,
            examples=pools.get(arm, []),
            heldout=heldout,
            plan=plan,
            dtype=job.spec.dtype,
            device=where,
            sources=sources,
            unsafe=unsafe,
        )
        ledger.unit(f"{arm}-{seed}", work, method=arm, seed=seed)
    ledger.write()


def arms(programs: Sequence[dict], *, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Return each arm's (prefix, body) pairs; none when there are no programs. Copies of a body within a task count once."""
    pairs: dict[str, list[tuple[str, tuple[str, str]]]] = defaultdict(list)
    seen = set()
    for row in programs:
        cut = prefix_and_body(row["code"], row["entry_point"])
        if cut is None or (row["task_id"], cut[1]) in seen or not row["passes"]:
            continue
        seen.add((row["task_id"], cut[1]))
        pairs["unfiltered"].append((row["task_id"], cut))
        pairs["filtered" if all(row["passes"][:KEEP]) else "failing"].append((row["task_id"], cut))
    if not pairs:
        return {}
    bodies = [cut[1] for _, cut in pairs["unfiltered"]]
    random.Random(seed).shuffle(bodies)
    found = {arm: [cut for _, cut in pairs[arm]] for arm in ("filtered", "unfiltered", "failing")}
    found["shuffled"] = [(cut[0], body) for (_, cut), body in zip(pairs["unfiltered"], bodies, strict=True)]
    return found


def heldout_pairs(sources: Path, *, n: int, seed: int) -> dict[str, tuple[str, str]]:
    """Return MBPP reference programs as (prefix, body) by task, the request in a comment before the function."""
    tasks = read_mbpp(sources / "mbpp")
    random.Random(seed).shuffle(tasks)
    found = {}
    for task in tasks:
        cut = prefix_and_body(task.reference, task.entry_point)
        if cut is not None:
            found[task.id] = (f"# {task.text}\n{cut[0]}", cut[1])
        if len(found) == n:
            break
    return found


def _arm(
    arm: str,
    seed: int,
    state: Path,
    *,
    base: Path,
    examples: Sequence[tuple[str, str]],
    heldout: Mapping[str, tuple[str, str]],
    plan: Plan,
    dtype: str,
    device: torch.device,
    sources: Path,
    unsafe: bool,
) -> tuple[Rows, dict[str, int]]:
    """Return the held-out likelihoods of one arm after its training, its answers where the plan has some, and the tokens that it saw."""
    model, tokenizer, facts, rows = trained(arm, seed, state, base=base, examples=examples, plan=plan, dtype=dtype, device=device)
    nll = answer_nll(model, tokenizer, [SftExample(*pair) for pair in heldout.values()])
    rows += [scored(arm, "MBPP", "answer_nll", value, unit="nats/token", item_id=name) for name, value in zip(heldout, nll, strict=True)]
    if arm != "base":  # the base answers in the post-training; HumanEval's tasks are in this training
        but = ("HumanEval", "BigCodeBench")
        rows += answer_rows(arm, model, tokenizer, plan=plan, sources=sources, folder=state, unsafe=unsafe, but=but)
    return [{**row, "trained": arm != "base"} for row in rows], facts


def trained(
    arm: str, seed: int, state: Path, *, base: Path, examples: Sequence[tuple[str, str]], plan: Plan, dtype: str, device: torch.device
) -> tuple[Any, Any, dict[str, int], Rows]:
    """Return the base, fine-tuned on (prefix, body) pairs where the arm is not `base`; its tokenizer; what it saw, as facts and as rows."""
    tokenizer, tuning = load_tokenizer(base), plan.tuning
    model = load_model(base, dtype=getattr(torch, dtype), device=device)
    chosen: list[SftExample] = []
    tokens, seen = 0, Rows()
    if arm != "base":
        pairs = [SftExample(*pair) for pair in examples]
        chosen = [pairs[i] for i in fitting(pairs, tokenizer, max_tokens=tuning.max_length)]
        steps = max(1, tuning.tokens // tuning.step_tokens)
        config = SftConfig(steps=steps, answer_tokens=tuning.step_tokens, lr=tuning.lr, batch_size=8, max_tokens=tuning.max_length,
                           warmup_steps=max(1, steps // 10), dtype=tuning.dtype, seed=seed, state_every=max(5, steps // 20))  # fmt: skip
        tokens = int(train_sft(model, tokenizer, chosen, config, state=state)["answer_tokens"].sum())
        seen = [count(arm, "training", "answer_tokens_seen", tokens), count(arm, "training", "programs", len(chosen))]
    model.eval()
    return model, tokenizer, {"tokens": tokens}, seen


def _fit(pairs: Mapping[str, tuple[str, str]], tokenizer, plan: Plan) -> list[str]:
    names = list(pairs)
    return [names[i] for i in fitting([SftExample(*pairs[n]) for n in names], tokenizer, max_tokens=plan.tuning.max_length)]


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
