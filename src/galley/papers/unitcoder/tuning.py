"""M1: what training on filtered programs is worth, in the likelihood of held-out correct programs.

arXiv:2502.11460 trains on prefix -> completion pairs of programs that pass and reports pass@1. A 135M model passes nothing, so the
measure is the mean negative log-likelihood of held-out reference bodies given their prefix, in nats a token, paired item by item.
Arms: CodeGen-16B's solutions for HumanEval tasks that pass the model's own three most frequent tests (`filtered`), all of them
(`unfiltered`), and those that fail (`failing`), equal answer tokens an arm. Held out: MBPP's reference programs; no task of MBPP is in
training. Controls: the untrained base; bodies exchanged between tasks (`shuffled`). pass@k (M2) is reported as not run: it is at the
floor at this size.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from galley.data.code_benchmarks import read_mbpp
from galley.data.fetched import present
from galley.evaluate.induction import answer_nll
from galley.models.answers import SftExample
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.papers.unitcoder.export import prefix_and_body
from galley.papers.unitcoder.plan import Plan
from galley.stage import Job
from galley.tables.items import Rows, absent, count, scored, unreached
from galley.tables.ledger import Ledger, leave
from galley.train.sft import SftConfig, fitting, train_sft

ARMS = ("filtered", "unfiltered", "failing", "shuffled")
STEP_TOKENS = 1000  # answer tokens of a step
KEEP = 3  # a filtered program passes its task's three most frequent asserts


def run_tuning(job: Job, *, base: Path, programs: Path, sources: Path, device: str) -> None:
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
            _arm, arm, seed, base=base, examples=pools.get(arm, []), heldout=heldout, plan=plan, dtype=job.spec.dtype, device=where
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
) -> tuple[Rows, dict[str, int]]:
    """Return the held-out likelihoods of one arm after its training, with the answer tokens that it saw."""
    tokenizer = load_tokenizer(base)
    model = load_model(base, dtype=getattr(torch, dtype), device=device)
    tokens = 0
    chosen: list[SftExample] = []
    if arm != "base":
        pairs = [SftExample(*pair) for pair in examples]
        chosen = [pairs[i] for i in fitting(pairs, tokenizer, max_tokens=plan.tuning.max_length)]
        steps = max(1, plan.tuning.tokens // STEP_TOKENS)
        config = SftConfig(steps=steps, answer_tokens=STEP_TOKENS, lr=plan.tuning.lr, batch_size=8, max_tokens=plan.tuning.max_length,
                           warmup_steps=max(1, steps // 10), dtype=plan.tuning.dtype, seed=seed, state_every=5)  # fmt: skip
        log = train_sft(model, tokenizer, chosen, config, state=state)
        tokens = int(log["answer_tokens"].sum())
    model.eval()
    nll = answer_nll(model, tokenizer, [SftExample(*pair) for pair in heldout.values()])
    rows: Rows = [
        scored(arm, "MBPP", "answer_nll", value, unit="nats/token", item_id=name) for name, value in zip(heldout, nll, strict=True)
    ]
    return [*rows, count(arm, "MBPP", "answer_tokens_seen", tokens), count(arm, "MBPP", "programs", len(chosen))], {"tokens": tokens}


def _fit(pairs: Mapping[str, tuple[str, str]], tokenizer, plan: Plan) -> list[str]:
    names = list(pairs)
    return [names[i] for i in fitting([SftExample(*pairs[n]) for n in names], tokenizer, max_tokens=plan.tuning.max_length)]


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
