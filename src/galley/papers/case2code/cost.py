"""What a scale would cost: jobs, disk and rough compute, from the plan alone; nothing is run.

Source: ours; CPU figures were seen on one core of a busy machine, GPU hours are a model.
"""

from __future__ import annotations

from pathlib import Path

from galley.data.sources import load_sources
from galley.papers.case2code.plan import SOURCES, Plan

FUNCTION_CPU_S = 0.12  # a function's three runs of 24 to 64 calls, processes included
PARSE_CPU_S = {"sympy": 16.0, "networkx": 4.0, "more_itertools": 0.2}  # reading a package's files and filtering them
GUESS = {"sympy": 390, "networkx": 120, "more_itertools": 20, "stdlib": 370, "algorithms_wheel": 345}  # functions after the filters
STEP_CPU_S = 0.00021  # the character model, per answer token of a step
CORE_TRAIN = 70  # tokens a second of one core, SmolLM2-135M with bf16 products
PROMPT_RATIO = 3.0  # tokens of an example per answer token
GPU_FLOPS = 150e12  # 16-bit operations a second that one A100 reaches: a model, not a measurement


def functions(plan: Plan) -> int:
    """Return about how many functions are executed."""
    wanted = plan.functions
    found = sum(GUESS.get(n, 100) for n in (*wanted.wheels, *wanted.packages)) + GUESS["stdlib"] * wanted.stdlib
    return wanted.limit or found


def jobs(plan: Plan) -> dict[str, int]:
    """Return the number of jobs of each rule, in the order of the flow."""
    n = len(plan.models)
    shards = plan.tuning.shards if plan.tuning else 0
    return {"fetch_source": len(SOURCES), "prepare_model": n, "case2code_synthesize": 1, "case2code_check": 1,
            "case2code_sequences": plan.sequences.shards, "case2code_tune": n * shards, "table": 1}  # fmt: skip


def cpu_minutes(plan: Plan) -> dict[str, float]:
    """Return the rough CPU-minutes of each stage without GPUs."""
    run = functions(plan) * FUNCTION_CPU_S + sum(PARSE_CPU_S.get(p, 3.0) for p in plan.functions.packages) + 8
    wanted = plan.sequences
    char = len(plan.sequence_runs()) * wanted.steps * wanted.answer_tokens * STEP_CPU_S
    found = {"synthesis and checks": 1.5 * run / 60, "character models": char / 60}
    if plan.tuning:
        tokens = plan.tuning.steps * plan.tuning.answer_tokens * PROMPT_RATIO
        found["fine-tuning"] = len(plan.tuning_runs()) * tokens / CORE_TRAIN / 60
    return found


def missing(plan: Plan) -> list[str]:
    """Return what the plan lacks to run as the paper did."""
    lacks = [
        f"models.{name}.revision: the hub commit (40 hex digits) is not set, and a branch is refused"
        for name, m in plan.models.items()
        if m.kind == "hub" and m.revision is None
    ]
    if plan.functions.hub is not None and plan.functions.hub.revision is None:
        lacks.append("functions.hub.revision: the data set's commit (40 hex digits) is not set, and a branch is refused")
    if any(m.gpus > 1 for m in plan.models.values()):
        lacks.append("fine-tuning runs in one process on one device in this version")
    return lacks


def describe(plan: Plan, *, scale: str, sources: Path) -> str:
    """Return the plan's cost as text."""
    registry = load_sources(sources)
    names = [*SOURCES, *(m.source for m in plan.models.values() if m.source)]
    lines = [f"case2code at {scale} scale", "", "jobs:"] + [f"  {rule}: {n}" for rule, n in jobs(plan).items() if n]
    lines += ["", "downloads:"] + [f"  {name}: {registry[name].bytes / 1e6:.1f} MB" for name in names]
    lines += [f"  {m.repo} (hub): {2 * m.params_m / 1e3:.1f} GB in 16 bits" for m in plan.models.values() if m.repo]
    lines += ["", "compute:", f"  about {functions(plan):,} functions, each run three times on up to {plan.inputs.cases} inputs"]
    gpu = any(m.gpus for m in plan.models.values())
    lines += [f"  {stage}: about {n:.2g} CPU-minutes" for stage, n in cpu_minutes(plan).items() if not (gpu and stage == "fine-tuning")]
    for name, m in plan.models.items():
        if m.gpus and plan.tuning:
            tokens = plan.tuning.steps * plan.tuning.answer_tokens * PROMPT_RATIO * len(plan.tuning_runs())
            lines.append(f"  {name}: about {6 * m.params_m * 1e6 * tokens / GPU_FLOPS / 3600:.2g} GPU-hours (a model, not a measurement)")
    disk = sum(m.params_m * 1e6 * (4 if m.dtype == "float32" else 2) for m in plan.models.values()) + sum(registry[n].bytes for n in names)
    lines += ["", f"disk: about {disk / 1e9:.2g} GB"]
    lacks = missing(plan)
    if lacks:
        lines += ["", "missing:"] + [f"  {text}" for text in lacks]
    return "\n".join(lines)
