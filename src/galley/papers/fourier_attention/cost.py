"""What a scale would cost: jobs, downloads, disk and rough compute, from the plan alone; nothing is run.

Source: ours. Prefill: two floating-point operations per parameter and prompt token. Decode: one pass over the weights a step, and known
tokens in one or two passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from galley.data.sources import load_sources
from galley.models.spec import Model
from galley.papers.fourier_attention.plan import LongBench, Needles, Plan

CORE_FLOPS = 60e9  # float32 operations a second of one x86 core without AVX-512 in prefill, seen over a whole laptop run
GPU_FLOPS = 150e12  # 16-bit operations a second that one A100 reaches in prefill: a model, not a measurement
GPU_BYTES = 1.5e12  # bytes a second that one A100 reads in decode: a model, not a measurement
READ_S_PER_M = 0.005  # CPU seconds a method takes to be filled and to read an answer, per million parameters
STEP_S_PER_M = 0.0006  # CPU seconds of one decode step per million parameters
PASSES = 4  # decode passes to read a known answer: one where the cache takes all tokens at once, several where it does not
TEXT = ("paul_graham_essays", "shakespeare", "longbench_config", "longbench_multi_news")
HUB = {"hub_longbench": 114e6}  # bytes, about: the archive of all tasks, at paper scale
SAMPLES = 3750  # of LongBench's sixteen English tasks
ANSWER = 100  # tokens of a LongBench answer, about
UUID = 40  # tokens of RULER's longest answers, about


@dataclass(frozen=True)
class Work:
    """Prompts of one kind: how many, their tokens in all, methods that read them, and steps of generated answers."""

    what: str
    prompts: int
    tokens: int
    reads: int
    steps: int


def grid(wanted: Needles) -> tuple[int, int]:
    """Return a grid's prompts and tokens."""
    cells = len(wanted.depths) * wanted.repeats
    return len(wanted.lengths) * cells, sum(wanted.lengths) * cells


def work(plan: Plan, *, scale: str) -> list[Work]:
    """Return what one model reads, by kind of prompt; LongBench's numbers are upper bounds."""
    everyone = len(plan.methods)

    def count(names: list[str] | None) -> int:
        return everyone if names is None else len(names)

    bench, ruler, long = plan.needlebench, plan.ruler, plan.longbench
    n_needles, needle_tokens = grid(plan.needles)
    n_bench, bench_tokens = grid(bench)
    puzzles, items = len(ruler.tasks) * ruler.limit, longbench_items(long, scale=scale)
    audits = 2 * items if long.audit else 0
    answer = min(ANSWER, long.new_tokens or ANSWER)
    return [
        Work("calibration", plan.calibration.prompts, plan.calibration.prompts * plan.calibration.tokens, 0, 0),
        Work("needle", n_needles, needle_tokens, n_needles * everyone, 0),
        Work("NeedleBench", n_bench, bench_tokens, n_bench * count(bench.methods), n_bench * count(bench.methods) * bench.new_tokens),
        Work(
            "LongBench",
            items + audits,
            (items + audits) * long.max_length,
            items * everyone + audits * len(long.audit),
            items * count(long.generate) * answer,
        ),
        Work(
            "RULER",
            puzzles,
            puzzles * ruler.length,
            puzzles * count(ruler.methods),
            puzzles * count(ruler.generate) * min(ruler.new_tokens, UUID),
        ),
    ]


def longbench_items(wanted: LongBench, *, scale: str) -> int:
    """Return the items that the scale can read: all tasks from the hub at paper scale, elsewhere one task."""
    return min(SAMPLES, 16 * wanted.limit) if scale == "paper" else min(200, wanted.limit)


def jobs(plan: Plan) -> dict[str, int]:
    """Return the number of jobs of each rule, in the order of the flow."""
    n, scratch = len(plan.models), sum(m.kind == "scratch" for m in plan.models.values())
    return {
        "prepare_corpus": 1,
        "train_scratch_model": scratch,
        "prepare_model": n - scratch,
        "fourier_attention_inspect": n,
        "fourier_attention_needles": n * plan.shards,
        "fourier_attention_tasks": n * plan.shards,
        "table": 1,
    }


def cpu_minutes(work: list[Work], model: Model) -> float:
    """Return the rough CPU-minutes of one model without GPUs."""
    prefill = 2e6 * model.params_m * sum(w.tokens for w in work) / CORE_FLOPS
    return (prefill + model.params_m * sum(w.reads * READ_S_PER_M + w.steps * STEP_S_PER_M for w in work)) / 60


def gpu_hours(work: list[Work], model: Model) -> tuple[float, float]:
    """Return the rough GPU-hours of prefill and of decode."""
    prefill = 2e6 * model.params_m * sum(w.tokens for w in work) / GPU_FLOPS
    decode = 2e6 * model.params_m / GPU_BYTES * sum(w.reads * PASSES + w.steps for w in work)
    return prefill / 3600, decode / 3600


def missing(plan: Plan) -> list[str]:
    """Return what this version lacks for the plan to run as the paper did."""
    lacks = [
        f"models.{name}: {m.repo} has no commit in revisions.yaml, and a branch is refused: run `galley pin fourier_attention`"
        for name, m in plan.models.items()
        if m.kind == "hub" and m.revision is None
    ]
    lacks += [
        f"models.{name}: {m.repo} is gated: accept its licence on the hub and set HF_TOKEN" for name, m in plan.models.items() if m.gated
    ]
    return lacks


def describe(plan: Plan, *, scale: str, sources: Path) -> str:
    """Return the plan's cost as text."""
    registry, todo = load_sources(sources), work(plan, scale=scale)
    names = [*TEXT, *(m.source for m in plan.models.values() if m.source)]
    lines = [f"fourier_attention at {scale} scale", "", "jobs:"]
    lines += [f"  {rule}: {n}" for rule, n in jobs(plan).items() if n]
    lines += ["", "downloads:"] + [f"  {name}: {registry[name].bytes / 1e6:.1f} MB" for name in names]
    hub = HUB if scale == "paper" else {}
    lines += [f"  {name} (hub): about {size / 1e6:.0f} MB" for name, size in hub.items()]
    lines += [f"  {m.repo} (hub): {2 * m.params_m / 1e3:.1f} GB in 16 bits" for m in plan.models.values() if m.repo]
    lines += ["", f"compute, a model ({len(plan.methods)} methods, one prefill a prompt):"]
    lines += [
        f"  {w.what}: {w.prompts:,} prompts, {w.tokens / 1e6:.3g} M tokens, {w.reads:,} answers read, {w.steps:,} steps" for w in todo
    ]
    for name, m in plan.models.items():
        if m.gpus:
            prefill, decode = gpu_hours(todo, m)
            lines.append(f"  {name}: about {prefill:.2g} GPU-hours of prefill and {decode:.2g} of decode (a model, not a measurement)")
        else:
            lines.append(f"  {name}: about {cpu_minutes(todo, m):.2g} CPU-minutes")
    disk = sum(m.params_m * 1e6 * (4 if m.dtype == "float32" else 2) for m in plan.models.values())
    disk += sum(registry[n].bytes for n in names) + sum(hub.values())
    lines += ["", f"disk: about {disk / 1e9:.2g} GB"]
    lacks = missing(plan)
    if lacks:
        lines += ["", "missing:"] + [f"  {text}" for text in lacks]
    return "\n".join(lines)
