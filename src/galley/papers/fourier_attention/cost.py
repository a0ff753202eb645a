"""What the FourierAttention recipe computes at a scale: prompts, answers read through every cache, generated steps.

Source: ours. Prefill: two floating-point operations per parameter and prompt token. Decode: one pass over the weights a step, and known
tokens in one or two passes.
"""

from __future__ import annotations

from dataclasses import dataclass

from galley.cost import Takes
from galley.models.spec import Model
from galley.papers.fourier_attention.plan import Needles, Plan

CORE_FLOPS = 60e9  # float32 operations a second of one x86 core without AVX-512 in prefill, seen over a whole laptop run
GPU_FLOPS = 150e12  # 16-bit operations a second that one A100 reaches in prefill: a model, not a measurement
GPU_BYTES = 1.5e12  # bytes a second that one A100 reads in decode: a model, not a measurement
READ_S_PER_M = 0.005  # CPU seconds a method takes to be filled and to read an answer, per million parameters
READ_S = 0.005  # and whatever the model, seen with the smallest one
STEP_S_PER_M = 0.0006  # CPU seconds of one decode step per million parameters
PASSES = 4  # decode passes to read a known answer: one where the cache takes all tokens at once, several where it does not
SAMPLES = 3750  # of LongBench's sixteen English tasks
ANSWER = 100  # tokens of a LongBench answer, about
UUID = 40  # tokens of RULER's longest answers, about


@dataclass(frozen=True)
class Work:
    """Prompts of one kind: which stage reads them, how many, their tokens, answers read in all caches, steps of generated answers."""

    stage: str
    what: str
    prompts: int
    tokens: int
    reads: int
    steps: int


def grid(wanted: Needles) -> tuple[int, int]:
    """Return a grid's prompts and tokens."""
    cells = len(wanted.depths) * wanted.repeats
    return len(wanted.lengths) * cells, sum(wanted.lengths) * cells


def work(plan: Plan) -> list[Work]:
    """Return what one model reads, by kind of prompt; LongBench's numbers are upper bounds."""
    everyone = len(plan.methods)

    def count(names: list[str] | None) -> int:
        return everyone if names is None else len(names)

    bench, ruler, long = plan.needlebench, plan.ruler, plan.longbench
    n_needles, needle_tokens = grid(plan.needles)
    n_bench, bench_tokens = grid(bench)
    puzzles, items = len(ruler.tasks) * ruler.limit, longbench_items(plan)
    audits = 2 * items if long.audit else 0
    answer = min(ANSWER, long.new_tokens or ANSWER)
    return [
        Work("inspect", "calibration", plan.calibration.prompts, plan.calibration.prompts * plan.calibration.tokens, 0, 0),
        Work("needles", "needle", n_needles, needle_tokens, n_needles * everyone, 0),
        Work("needles", "NeedleBench", n_bench, bench_tokens, n_bench * count(bench.methods),
             n_bench * count(bench.methods) * bench.new_tokens),
        Work("tasks", "LongBench", items + audits, (items + audits) * long.max_length,
             items * count(long.methods) + audits * len(long.audit), items * count(long.generate) * answer),
        Work("tasks", "RULER", puzzles, puzzles * ruler.length, puzzles * count(ruler.methods),
             puzzles * count(ruler.generate) * min(ruler.new_tokens, UUID)),
    ]  # fmt: skip


def longbench_items(plan: Plan) -> int:
    """Return the items that can be read: of all tasks where they come from the hub, elsewhere of one."""
    limit = plan.longbench.limit
    return min(SAMPLES, 16 * limit) if plan.whole_longbench else min(200, limit)


def prompts(plan: Plan, stage: str) -> int:
    """Return how many prompts a stage reads with one model."""
    return sum(w.prompts for w in work(plan) if w.stage == stage)


def cpu_minutes(work: list[Work], model: Model) -> float:
    """Return the rough CPU-minutes of one model without GPUs."""
    prefill = 2e6 * model.params_m * sum(w.tokens for w in work) / CORE_FLOPS
    reads, steps = sum(w.reads for w in work), sum(w.steps for w in work)
    return (prefill + reads * READ_S + model.params_m * (reads * READ_S_PER_M + steps * STEP_S_PER_M)) / 60


def gpu_hours(work: list[Work], model: Model) -> tuple[float, float]:
    """Return the rough GPU-hours of prefill and of decode."""
    prefill = 2e6 * model.params_m * sum(w.tokens for w in work) / GPU_FLOPS
    decode = 2e6 * model.params_m / GPU_BYTES * sum(w.reads * PASSES + w.steps for w in work)
    return prefill / 3600, decode / 3600


def takes(plan: Plan, effort: int) -> list[Takes]:
    """Return the work of each model; the plan's prompts are those of the effort already."""
    todo, found = work(plan), []
    for name, m in plan.models.items():
        prefill, decode = gpu_hours(todo, m)
        rests = f"{prefill:.2g} of prefill, {decode:.2g} of decode on one A100: a model, not a measurement"
        on_gpu = Takes(f"{name}, prompts", gpu_hours=prefill + decode, rests_on=rests)
        found.append(on_gpu if m.gpus else Takes(f"{name}, prompts", cpu_minutes(todo, m)))
    return found


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    return [f"A model's prompts ({len(plan.methods)} methods, one prefill a prompt)"] + [
        f"  {w.what}: {w.prompts:,} prompts, {tokens(w.tokens)} tokens, {w.reads:,} answers read, {w.steps:,} steps" for w in work(plan)
    ]


def tokens(n: int) -> str:
    """Return a number of tokens as people read it."""
    return f"{n / 1e6:,.1f} M" if n >= 1e6 else f"{n:,}"


def lacks(plan: Plan) -> list[str]:
    """Return what else the plan needs to run as the paper did: nothing."""
    return []
