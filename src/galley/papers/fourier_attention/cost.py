"""What a scale would cost: jobs, disk and rough compute, from the plan alone; nothing is run.

Source: ours. Two floating-point operations per parameter and prompt token, and one decode pass a method and answer token.
"""

from __future__ import annotations

from pathlib import Path

from galley.data.sources import load_sources
from galley.models.spec import Model
from galley.papers.fourier_attention.plan import Plan

CORE_FLOPS = 30e9  # float32 operations a second of one x86 core without AVX-512 in prefill, seen over a whole laptop run
GPU_FLOPS = 150e12  # 16-bit operations a second that one A100 reaches in prefill: a model, not a measurement
STEP_S_PER_M = 0.0012  # CPU seconds of one decode step per million parameters, the rebuilt middle included
ANSWER = 6  # tokens of an answer, about
TEXT = ("paul_graham_essays", "shakespeare")


def prompts(plan: Plan) -> int:
    """Return the needle prompts of one model."""
    grid = plan.needles
    return len(grid.lengths) * len(grid.depths) * grid.repeats


def prompt_tokens(plan: Plan) -> int:
    """Return the tokens that one model prefills: needles and calibration."""
    grid, cal = plan.needles, plan.calibration
    return sum(grid.lengths) * len(grid.depths) * grid.repeats + cal.prompts * cal.tokens


def jobs(plan: Plan) -> dict[str, int]:
    """Return the number of jobs of each rule, in the order of the flow."""
    n, scratch = len(plan.models), sum(m.kind == "scratch" for m in plan.models.values())
    return {
        "prepare_corpus": 1,
        "train_scratch_model": scratch,
        "prepare_model": n - scratch,
        "fourier_attention_inspect": n,
        "fourier_attention_needles": n * plan.shards,
        "table": 1,
    }


def cpu_minutes(plan: Plan, model: Model) -> float:
    """Return the rough CPU-minutes of one model without GPUs."""
    flops = 2 * model.params_m * 1e6 * prompt_tokens(plan)
    steps = prompts(plan) * len(plan.methods) * ANSWER
    return (flops / CORE_FLOPS + steps * STEP_S_PER_M * model.params_m) / 60


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
    registry = load_sources(sources)
    names = [*TEXT, *(m.source for m in plan.models.values() if m.source)]
    lines = [f"fourier_attention at {scale} scale", "", "jobs:"]
    lines += [f"  {rule}: {n}" for rule, n in jobs(plan).items() if n]
    lines += ["", "downloads:"] + [f"  {name}: {registry[name].bytes / 1e6:.1f} MB" for name in names]
    lines += [f"  {m.repo} (hub): {2 * m.params_m / 1e3:.1f} GB in 16 bits" for m in plan.models.values() if m.repo]
    lines += ["", "compute:", f"  {prompts(plan)} needle prompts and {len(plan.methods)} methods a model; one prefill a prompt"]
    for name, m in plan.models.items():
        if m.gpus:
            hours = 2 * m.params_m * 1e6 * prompt_tokens(plan) / GPU_FLOPS / 3600
            lines.append(f"  {name}: about {hours:.2g} GPU-hours of prefill (a model, not a measurement)")
        else:
            lines.append(f"  {name}: about {cpu_minutes(plan, m):.2g} CPU-minutes")
    disk = sum(m.params_m * 1e6 * (4 if m.dtype == "float32" else 2) for m in plan.models.values()) + sum(registry[n].bytes for n in names)
    lines += ["", f"disk: about {disk / 1e9:.2g} GB"]
    lacks = missing(plan)
    if lacks:
        lines += ["", "missing:"] + [f"  {text}" for text in lacks]
    return "\n".join(lines)
