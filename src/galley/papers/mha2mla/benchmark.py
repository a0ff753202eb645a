"""The benchmarks of section 4 on the original and the converted models: quality and quantised caches.

arXiv:2502.14837, section 4.1 (commonsense), 4.3 (LongBench with quantised caches), and needles (ours).
What the data in reach does not allow is one `not_run` row with its reason, never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from galley.artifact import sha256_tree
from galley.caches.quantized import make_quantized_cache
from galley.data import benchmarks as readers
from galley.data.corpus import read_split
from galley.data.fetched import present
from galley.evaluate.commonsense import evaluate_commonsense
from galley.evaluate.likelihood import cached_continuation, heldout_windows
from galley.evaluate.long.longbench import evaluate_longbench
from galley.evaluate.long.needle import evaluate_needles
from galley.models.loading import load_model, load_tokenizer
from galley.papers.mha2mla.experiment import model_of
from galley.papers.mha2mla.plan import BENCHMARKS, HUB_BENCHMARKS, Arm, Plan
from galley.stage import Job
from galley.tables.ledger import Ledger

QUANTISERS = {
    "hqq-int4": ("hqq", 4),
    "hqq-int2": ("hqq", 2),
    "quanto-int4": ("quanto", 4),
    "quanto-int2": ("quanto", 2),
    "control:1bit": ("rtn", 1),
}


def benchmark_arms(ledger: Ledger, arms: Sequence[Arm], *, base: Path, corpus: Path, sources: Path, device: torch.device) -> None:
    """Add the benchmarked arms to the ledger; a run is that of its model's bytes and of the sources that are there."""
    found = {name: sha256_tree(sources / name) for name in (*BENCHMARKS, *HUB_BENCHMARKS) if present(sources / name)}
    for arm in (arm for arm in arms if arm.benchmark):
        model = model_of(arm, ledger.job.out) if arm.convert else base
        work = partial(_benchmark, arm, job=ledger.job, model=model, base=base, corpus=corpus, sources=sources, device=device)
        given = [sha256_tree(model), found]
        ledger.unit(f"benchmark:{arm.name}", work, method=arm.method, setting=arm.setting("final"), given=given)


def _benchmark(
    arm: Arm, folder: Path, *, job: Job, model: Path, base: Path, corpus: Path, sources: Path, device: torch.device
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of one arm's model on all benchmarks."""
    plan, tokenizer = job.plan, load_tokenizer(base)
    loaded = load_model(model, dtype=getattr(torch, job.spec.dtype), device=device)
    scores = [
        commonsense(loaded, tokenizer, sources=sources, plan=plan),
        longbench(loaded, tokenizer, sources=sources, plan=plan),
        needles(loaded, tokenizer, corpus=corpus, plan=plan),
    ]
    frames = [frame.assign(method=arm.method, setting=arm.setting("final")) for frame in scores]
    cached = continuation(loaded, tokenizer, corpus=corpus, plan=plan).assign(method=arm.method)
    control = cached["setting"].str.startswith("control:")
    cached.loc[control, "method"] = cached.loc[control, "setting"]
    cached.loc[control, "setting"] = arm.method
    return pd.concat([*frames, cached], ignore_index=True), {}


def commonsense(model: PreTrainedModel, tokenizer, *, sources: Path, plan: Plan) -> pd.DataFrame:
    """The six tasks of Table 1, as far as their data is in reach."""
    data: dict[str, list[dict] | None] = dict.fromkeys(("mmlu", "arc", "openbookqa", "winogrande"))
    data["piqa"] = readers.read_piqa(sources / "piqa_valid") if present(sources / "piqa_valid") else None
    fixture = sources / "hellaswag_fixture"
    data["hellaswag"] = readers.read_hellaswag(fixture) if present(fixture) else None
    for task in ("mmlu", "arc", "openbookqa", "hellaswag", "winogrande"):  # the whole task, where the hub gave it
        if present(sources / f"hub_{task}"):
            data[task] = readers.read_jsonl(sources / f"hub_{task}" / "items.jsonl", fields=())
    return evaluate_commonsense(model, tokenizer, data=data, limit=plan.benchmarks.commonsense_limit, batch_size=8)


def longbench(model: PreTrainedModel, tokenizer, *, sources: Path, plan: Plan) -> pd.DataFrame:
    """LongBench by the paper's protocol on the tasks in reach."""
    prompts: dict[str, str] = {}
    maxlen: dict[str, int] = {}
    if present(sources / "longbench_config"):
        prompts, maxlen = readers.read_longbench_config(sources / "longbench_config")
    cap = plan.benchmarks.longbench_max_new_tokens
    tasks: dict[str, list[dict[str, Any]] | None] = {}
    for task in maxlen:
        for folder in (sources / "hub_longbench", sources / f"longbench_{task}"):
            if present(folder) and (folder / f"{task}.jsonl").exists():
                tasks[task] = readers.read_longbench(folder, task)
                break
    return evaluate_longbench(
        model,
        tokenizer,
        task_items=tasks,
        prompts=prompts,
        maxlen={task: min(n, cap or n) for task, n in maxlen.items()},
        protocol="paper",
        limit=plan.benchmarks.longbench_limit,
        max_length=plan.benchmarks.longbench_max_length,
    )


def needles(model: PreTrainedModel, tokenizer, *, corpus: Path, plan: Plan) -> pd.DataFrame:
    """Needles in held-out prose (essays where they are in reach)."""
    prose = [d["text"] for d in read_split(corpus, "heldout") if d["source"] in ("essays", "shakespeare")]
    haystack = prose or [d["text"] for d in read_split(corpus, "heldout")]
    budget = plan.benchmarks
    return evaluate_needles(
        model,
        tokenizer,
        haystack=haystack,
        lengths=budget.needle_lengths,
        depths=budget.needle_depths,
        seed=plan.data_seed,
    )


def continuation(model: PreTrainedModel, tokenizer, *, corpus: Path, plan: Plan) -> pd.DataFrame:
    """D4: bits per byte of a continuation read through the cache, at 16 bits and quantised."""
    budget = plan.benchmarks
    windows = heldout_windows(
        read_split(corpus, "heldout"),
        tokenizer,
        n_windows=budget.continuation_windows,
        window_tokens=budget.continuation_prefix + budget.continuation_tokens,
        seed=plan.data_seed,
    )
    frames = [cached_continuation(model, windows, prefix_tokens=budget.continuation_prefix, make_cache=None).assign(setting="16bit")]
    for setting, (backend, nbits) in QUANTISERS.items():
        residual = budget.quant_residual

        def make(backend: str = backend, nbits: int = nbits, residual: int = residual):
            return make_quantized_cache(model, backend=backend, nbits=nbits, residual_length=residual)

        frames.append(
            cached_continuation(model, windows, prefix_tokens=budget.continuation_prefix, make_cache=make).assign(setting=setting)
        )
    return pd.concat(frames, ignore_index=True)
