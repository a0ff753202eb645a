"""The benchmarks of section 4 on the original and the converted models: quality and quantised caches.

arXiv:2502.14837, section 4.1 (commonsense), 4.3 (LongBench with quantised caches), and needles (ours). Tables 1 and 2 print plain means
of tasks: here a task's items share its weight. What the data in reach does not allow is one `not_run` row with its reason, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import Cache, PreTrainedModel

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
from galley.papers.mha2mla.plan import BENCHMARKS, HUB_BENCHMARKS, Arm, Plan, runs_of
from galley.stage import Job
from galley.tables.ledger import Ledger
from galley.tables.paper_values import read_paper_values

COMMONSENSE, LONGBENCH = "commonsense_avg", "longbench_avg"
METHOD = "2-norm+joint"  # whose printed numbers a conversion that is not fine-tuned is held to
Caches = dict[str, Callable[[], Cache] | None]
QUANTISERS = {
    "hqq-int4": ("hqq", 4),
    "hqq-int2": ("hqq", 2),
    "quanto-int4": ("quanto", 4),
    "quanto-int2": ("quanto", 2),
    "control:1bit": ("rtn", 1),
}


def benchmark_arms(
    ledger: Ledger, arms: Sequence[Arm], *, base: Path, corpus: Path, sources: Path, paper: Path, device: torch.device
) -> None:
    """Add the benchmarked arms to the ledger; a run is that of its model's bytes, of the sources that are there and of printed numbers."""
    found = {name: sha256_tree(sources / name) for name in (*BENCHMARKS, *HUB_BENCHMARKS) if present(sources / name)}
    values = read_paper_values(paper)
    printed = values[(values["model"] == ledger.job.model) & values["benchmark"].isin([COMMONSENSE, LONGBENCH])]
    numbers = {(v["method"], v["setting"], v["benchmark"]): v["value"] for v in printed.to_dict("records")}
    for arm, seed in [(one, seed) for one in arms if one.benchmark for seed in runs_of(one, ledger.job.plan.seeds)]:
        model = model_of(arm, seed, ledger.job.out) if arm.convert or arm.train else base
        held_to = arm.method if arm.train or not arm.convert else METHOD
        mine = {(setting, benchmark): value for (method, setting, benchmark), value in numbers.items() if method == held_to}
        work = partial(_benchmark, arm, job=ledger.job, model=model, base=base, corpus=corpus, sources=sources, printed=mine, device=device)
        given = [sha256_tree(model), found, sorted(map(str, mine.items()))]
        ledger.unit(f"benchmark:{arm.name}-{seed}", work, method=arm.method, setting=arm.setting("final"), seed=seed, given=given)


def _benchmark(
    arm: Arm, folder: Path, *, job: Job, model: Path, base: Path, corpus: Path, sources: Path,
    printed: Mapping[tuple[str, str], float], device: torch.device,
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Return the rows of one arm's model on all benchmarks."""
    plan, tokenizer = job.plan, load_tokenizer(base)
    loaded = load_model(model, dtype=getattr(torch, job.spec.dtype), device=device)
    residual = plan.benchmarks.quant_residual
    caches: Caches = {"final": None} | {
        setting: partial(make_quantized_cache, loaded, backend=backend, nbits=nbits, residual_length=residual)
        for setting, (backend, nbits) in QUANTISERS.items()
    }
    read_through = {"final", *plan.benchmarks.longbench_caches}
    scores = [
        commonsense(loaded, tokenizer, sources=sources, plan=plan).assign(setting="final"),
        needles(loaded, tokenizer, corpus=corpus, plan=plan).assign(setting="final"),
        *longbench(loaded, tokenizer, sources=sources, plan=plan, caches={name: caches[name] for name in caches if name in read_through}),
        continuation(loaded, tokenizer, corpus=corpus, plan=plan, caches=caches),
    ]
    rows = pd.concat(scores, ignore_index=True)
    control = rows["setting"].str.startswith("control:")
    rows["method"] = rows["setting"].where(control, arm.method)
    rows["setting"] = [arm.setting(arm.method if broken else setting) for broken, setting in zip(control, rows["setting"], strict=True)]
    rows = pd.concat([rows, *minus_printed(rows, printed)], ignore_index=True)
    return rows.assign(trained=arm.train or arm.svd == "random"), {}


def task_average(frame: pd.DataFrame, *, benchmark: str) -> pd.DataFrame:
    """Return a benchmark's plain mean over its tasks as items that share their task's weight; one `not_run` row where a task has none."""
    lacking = frame.loc[frame["status"] != "ok", "benchmark"].unique()
    if len(lacking):
        row = frame.iloc[[0]].assign(item_id="", score=float("nan"), weight=1.0, status="not_run", reason=f"no mean without {lacking[0]}")
        return row.assign(benchmark=benchmark)
    tasks = frame.groupby("benchmark")["weight"]
    share = frame["weight"] / tasks.transform("sum") / len(tasks)
    return frame.assign(weight=share, item_id=frame["benchmark"] + "/" + frame["item_id"], benchmark=benchmark)


def minus_printed(rows: pd.DataFrame, printed: Mapping[tuple[str, str], float]) -> list[pd.DataFrame]:
    """Return the items of each printed mean in points, less what the paper prints for it."""
    frames = []
    for (setting, benchmark), value in printed.items():
        ours = rows[(rows["setting"] == setting) & (rows["benchmark"] == benchmark) & (rows["status"] == "ok")]
        frames.append(ours.assign(metric="minus_printed", unit="points", score=100 * (ours["score"] - value)))
    return [frame for frame in frames if len(frame)]


def commonsense(model: PreTrainedModel, tokenizer, *, sources: Path, plan: Plan) -> pd.DataFrame:
    """The six tasks of Table 1, as far as their data is in reach, and their mean."""
    data: dict[str, list[dict] | None] = dict.fromkeys(("mmlu", "arc", "openbookqa", "winogrande"))
    data["piqa"] = readers.read_piqa(sources / "piqa_valid") if present(sources / "piqa_valid") else None
    fixture = sources / "hellaswag_fixture"
    data["hellaswag"] = readers.read_hellaswag(fixture) if present(fixture) else None
    for task in ("mmlu", "arc", "openbookqa", "hellaswag", "winogrande"):  # the whole task, where the hub gave it
        if present(sources / f"hub_{task}"):
            data[task] = readers.read_jsonl(sources / f"hub_{task}" / "items.jsonl", fields=())
    frame = evaluate_commonsense(model, tokenizer, data=data, limit=plan.benchmarks.commonsense_limit, batch_size=8)
    return pd.concat([frame, task_average(frame, benchmark=COMMONSENSE)], ignore_index=True)


def longbench(model: PreTrainedModel, tokenizer, *, sources: Path, plan: Plan, caches: Caches) -> list[pd.DataFrame]:
    """LongBench by the paper's protocol on the tasks in reach, and their mean, through each cache."""
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
    frames = []
    for setting, make_cache in caches.items():
        frame = evaluate_longbench(
            model,
            tokenizer,
            task_items=tasks,
            prompts=prompts,
            maxlen={task: min(n, cap or n) for task, n in maxlen.items()},
            protocol="paper",
            limit=plan.benchmarks.longbench_limit,
            max_length=plan.benchmarks.longbench_max_length,
            make_cache=make_cache,
        )
        frames += [frame.assign(setting=setting), task_average(frame, benchmark=LONGBENCH).assign(setting=setting)]
    return frames


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


def continuation(model: PreTrainedModel, tokenizer, *, corpus: Path, plan: Plan, caches: Caches) -> pd.DataFrame:
    """D4: bits per byte of a continuation read through each cache, at 16 bits (`16bit`) and quantised."""
    budget = plan.benchmarks
    prefix = budget.continuation_prefix
    windows = heldout_windows(
        read_split(corpus, "heldout"),
        tokenizer,
        n_windows=budget.continuation_windows,
        window_tokens=prefix + budget.continuation_tokens,
        seed=plan.data_seed,
    )
    frames = [
        cached_continuation(model, windows, prefix_tokens=prefix, make_cache=make).assign(setting="16bit" if make is None else setting)
        for setting, make in caches.items()
    ]
    return pd.concat(frames, ignore_index=True)
