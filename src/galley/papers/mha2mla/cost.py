"""What a scale would cost: jobs, downloads, disk, tokens and rough compute, from the plan alone; nothing is run.

Source: ours. Six floating-point operations per parameter and token of training and two of scoring, the usual
count for a dense decoder; GPU-hours are the recipe's own figures per arm. The text says what each figure rests on.
"""

from __future__ import annotations

from pathlib import Path

from galley.data.hub import hub_data_of
from galley.data.revisions import read_pins
from galley.data.sources import Source, load_sources
from galley.papers.mha2mla.plan import Arm, Model, Plan

WIDTH = {"float32": 4, "bfloat16": 2, "autocast": 4}  # bytes a parameter
OPTIONAL = ("paul_graham_essays", "piqa_valid", "hellaswag_fixture", "longbench_config", "longbench_multi_news", "shakespeare")
HUB_BENCHMARKS = ("hub_mmlu", "hub_arc", "hub_openbookqa", "hub_hellaswag", "hub_winogrande", "hub_longbench")
TEXTS = {"stdlib": None, "pydoc": None, "shakespeare": "shakespeare", "essays": "paul_graham_essays"}  # corpus part -> its source
CACHES = 6  # the continuation is read through the plain cache and five quantised ones
CHOICE_TOKENS = 64  # a commonsense question with one of its choices, about
COMMONSENSE = ((1838, 2), (100, 4))  # items and choices of PIQA and of the HellaSwag items, the data in reach
LONGBENCH = 200  # items of multi_news, the task whose data is in reach
STATE_EVERY = 100  # steps between states that a run leaves (galley.train.loop): shorter runs leave none
CORE_FLOPS = 50e9  # float32 operations a second of one x86 core without AVX-512, seen over a whole laptop run
START_S = 6.0  # CPU seconds to import torch and transformers
INSPECT_S_PER_M = 0.75  # CPU seconds of the exact checks, per million parameters


def jobs(plan: Plan) -> dict[str, int]:
    """Return the number of jobs of each rule, in the order of the flow."""
    n, scratch = len(plan.models), sum(m.kind == "scratch" for m in plan.models.values())
    return {
        "fetch_source": len(OPTIONAL) + len(HUB_BENCHMARKS) * on_hub(plan),
        "prepare_corpus": 1,
        "train_scratch_model": scratch,
        "prepare_model": n - scratch,
        "mha2mla_inspect": n,
        "mha2mla_arms": n * plan.shards,
        "table": 1,
    }


def weight_bytes(model: Model) -> float:
    """Return the bytes of a model's weights as they are stored."""
    return model.params_m * 1e6 * WIDTH[model.dtype]


def training_tokens(plan: Plan, model: Model) -> int:
    """Return the fine-tuning tokens of one arm and one seed."""
    batch = model.tokens_per_step or plan.training.batch_size * (model.seq_len or plan.training.seq_len)
    return batch * steps_of(plan, model)


def steps_of(plan: Plan, model: Model) -> int:
    """Return the fine-tuning steps of one arm."""
    return model.steps or plan.training.steps


def runs_of(arm: Arm, plan: Plan) -> int:
    """Return how often an arm runs: once a seed, or once when nothing is trained."""
    return plan.seeds if arm.train else 1


def scored_tokens(plan: Plan, arm: Arm, model: Model) -> int:
    """Return about how many tokens one run of an arm scores: held-out windows, and its benchmarks up to their limits."""
    held, bench = plan.heldout, plan.benchmarks
    passes = 2 if arm.train else 1  # at the start and at the end
    points = len(range(plan.training.eval_every, steps_of(plan, model), plan.training.eval_every)) if arm.train else 0
    tokens = (passes * held.windows + points * held.curve_windows) * held.window_tokens
    if arm.benchmark:
        tokens += sum(min(bench.commonsense_limit, items) * choices for items, choices in COMMONSENSE) * CHOICE_TOKENS
        tokens += min(bench.longbench_limit, LONGBENCH) * bench.longbench_max_length
        tokens += sum(bench.needle_lengths) * len(bench.needle_depths)
        tokens += CACHES * bench.continuation_windows * (bench.continuation_prefix + bench.continuation_tokens)
    return tokens


def cpu_minutes(plan: Plan) -> float:
    """Return the rough CPU-minutes of a scale that runs without GPUs, over all cores."""
    seconds = START_S * (sum(jobs(plan).values()) - jobs(plan)["fetch_source"])
    for model in plan.models.values():
        flops = 0.0
        if model.scratch is not None:
            s = model.scratch
            flops += 6 * s.steps * s.batch_size * s.context
        flops += 2 * plan.calibration.sequences * plan.calibration.seq_len
        for arm in plan.arms:
            run = 6 * training_tokens(plan, model) * arm.train + 2 * scored_tokens(plan, arm, model)
            flops += run * runs_of(arm, plan)
        seconds += flops * model.params_m * 1e6 / CORE_FLOPS + INSPECT_S_PER_M * model.params_m
    return seconds / 60


def gpu_hours(plan: Plan, model: Model) -> float:
    """Return the rough GPU-hours of all fine-tuned arms and seeds of a model."""
    return model.gpu_hours * sum(runs_of(arm, plan) for arm in plan.arms if arm.train)


def disk_bytes(plan: Plan, registry: dict[str, Source]) -> float:
    """Return the bytes that a run leaves or needs at its fullest: sources twice (cache and copy), text, weights, training state."""
    fetched = [registry[name].bytes for name in (*OPTIONAL, *wheels(plan)) if name in registry]
    total = 2.0 * sum(fetched) + sum(plan.corpus.max_bytes.values()) + plan.corpus.mixture_bytes
    kept = 1 + sum(arm.benchmark and arm.convert for arm in plan.arms)  # the base and each benchmarked arm's model
    side_by_side = min(plan.shards, len(plan.arms))
    for model in plan.models.values():
        total += kept * weight_bytes(model)
        arm = model.params_m * 1e6 * WIDTH[plan.training.dtype]
        if steps_of(plan, model) > STATE_EVERY:  # a running arm keeps its weights and Adam's two moments, the next of them beside
            total += side_by_side * 6 * arm
        if model.gpus:  # a launch's start and end; its text is one file for all arms
            total += side_by_side * 2 * arm + 4 * training_tokens(plan, model)
    return total


def wheels(plan: Plan) -> list[str]:
    """Return the registered sources that the plan's models come from."""
    return [m.source for m in plan.models.values() if m.source is not None]


def on_hub(plan: Plan) -> bool:
    """Return whether the plan takes models, and so text and benchmarks, from the hub."""
    return any(model.kind == "hub" for model in plan.models.values())


def missing(plan: Plan, registry: dict[str, Source], *, recipes: Path) -> list[str]:
    """Return what the recipe or this version still lacks for the plan to run as the paper did."""
    lacks = [
        f"models.{name}: {m.repo} has no commit in revisions.yaml, and a branch is refused: run `galley pin mha2mla`"
        for name, m in plan.models.items()
        if m.kind == "hub" and m.revision is None
    ]
    pins = read_pins(recipes)
    data = hub_data_of("mha2mla", plan.corpus.mixture, recipes=recipes) if on_hub(plan) else []
    lacks += [f"{repo} has no commit in revisions.yaml: run `galley pin mha2mla`" for repo in data if repo not in pins]
    lacks += [
        f"models.{name}: {m.repo} is gated: accept its licence on the hub and set HF_TOKEN" for name, m in plan.models.items() if m.gated
    ]
    lacks += [f"corpus.max_bytes.{part}: no source is registered for this text" for part in plan.corpus.max_bytes if part not in TEXTS]
    lacks += [f"{name}: source {source!r} is not registered" for name in plan.models for source in wheels(plan) if source not in registry]
    for name, m in plan.models.items():
        batch = max(1, m.gpus) * plan.training.batch_size * (m.seq_len or plan.training.seq_len)
        if m.tokens_per_step is not None and m.tokens_per_step % batch:
            lacks.append(
                f"models.{name}.tokens_per_step is {m.tokens_per_step:,}, which {max(1, m.gpus)} processes x batch_size "
                f"{plan.training.batch_size} ({batch:,} tokens) do not divide"
            )
    return lacks


def describe(plan: Plan, *, scale: str, sources: Path) -> str:
    """Return the plan's cost as text; GalleyError when the registry of sources cannot be read."""
    registry = load_sources(sources)
    trained = sum(arm.train for arm in plan.arms)
    lines = [f"MHA2MLA at {scale} scale: what it would take. Nothing has been run.", ""]
    lines += ["Jobs", *(f"  {rule:<22}{n:>6}" for rule, n in jobs(plan).items() if n), f"  {'in all':<22}{sum(jobs(plan).values()):>6}", ""]
    lines += [f"Arms: {len(plan.arms)}, {trained} of them fine-tuned; seeds: {plan.seeds}; shards a model: {plan.shards}", ""]
    lines += ["Downloads (once; a mirror or the cache spares them)", *_downloads(plan, registry), ""]
    lines += [f"{'Model':<24}{'tokens an arm':>16}{'scored tokens':>16}{'weights':>12}{'GPU-hours':>11}"]
    for name, m in plan.models.items():
        scored = sum(scored_tokens(plan, arm, m) * runs_of(arm, plan) for arm in plan.arms)
        hours = f"{gpu_hours(plan, m):,.0f}" if m.gpus else "none"
        lines.append(f"{name:<24}{training_tokens(plan, m):>16,}{scored:>16,}{size(weight_bytes(m)):>12}{hours:>11}")
    total_tokens = sum(training_tokens(plan, m) for m in plan.models.values()) * sum(runs_of(a, plan) for a in plan.arms if a.train)
    lines += ["", f"Fine-tuning tokens in all: {total_tokens:,}", f"Disk: about {size(disk_bytes(plan, registry))}"]
    lines += _compute(plan)
    lacks = missing(plan, registry, recipes=sources.parent)
    if lacks:
        lines += ["", "Not there yet", *(f"  {line}" for line in lacks)]
    return "\n".join([*lines, "", f"Run it:  snakemake --cores all results/table_mha2mla.csv --config scale={scale}"])


def _compute(plan: Plan) -> list[str]:
    if any(m.gpus for m in plan.models.values()):
        total = sum(gpu_hours(plan, m) for m in plan.models.values())
        return [
            f"GPU-hours: about {total:,.0f}: the recipe's gpu_hours of an arm (the paper's hardware and times)",
            "  times the fine-tuned arms and seeds. Evaluation comes on top.",
        ]
    minutes = cpu_minutes(plan)
    return [
        f"CPU-minutes: about {minutes:.0f}, half of that in wall time on two idle cores. This rests on 6 operations a parameter",
        f"  and trained token, 2 a scored token, {CORE_FLOPS / 1e9:.0f} Gflop/s a core and {START_S:.0f} s to start a job; "
        "expect a factor of two.",
    ]


def _downloads(plan: Plan, registry: dict[str, Source]) -> list[str]:
    rows = [(name, float(registry[name].bytes), registry[name].licence) for name in (*OPTIONAL, *wheels(plan)) if name in registry]
    rows += [(m.repo, weight_bytes(m), "from the hub") for m in plan.models.values() if m.repo is not None]
    mixture, total = plan.corpus.mixture, plan.corpus.mixture_bytes
    rows += [(name, total * weight / sum(mixture.values()), "text, streamed from the hub") for name, weight in mixture.items()]
    lines = [f"  {name:<28}{size(n):>12}  {note}" for name, n, note in rows]
    return [*lines, f"  {'in all':<28}{size(sum(n for _, n, _ in rows)):>12}"]


def size(n: float) -> str:
    """Return a number of bytes as people read it, in powers of ten."""
    unit, scale = next(((u, s) for u, s in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if n >= s), ("kB", 1e3))
    return f"{n / scale:.1f} {unit}"
