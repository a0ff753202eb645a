"""What the Case2Code recipe computes at a scale: functions that are run, character models, fine-tuning.

Source: ours; CPU figures were seen on one core of a busy machine, GPU hours are a model.
"""

from __future__ import annotations

from galley.cost import Takes
from galley.models.spec import Model
from galley.papers.case2code.plan import Plan

FUNCTION_CPU_S = 0.12  # a function's three runs of 24 to 64 calls, processes included
PARSE_CPU_S = {"sympy": 16.0, "networkx": 4.0, "more_itertools": 0.2}  # reading a package's files and filtering them
GUESS = {"sympy": 390, "networkx": 120, "more_itertools": 20, "stdlib": 370, "algorithms_wheel": 345}  # functions after the filters
STEP_CPU_S = 0.00021  # the character model, per answer token of a step
CORE_TRAIN = 38  # tokens a second of one core, SmolLM2-135M with bf16 products, over the laptop run of 2026-11-25
PROMPT_RATIO = 3.0  # tokens of an example per answer token
GPU_FLOPS = 150e12  # 16-bit operations a second that one A100 reaches: a model, not a measurement


def functions(plan: Plan) -> int:
    """Return about how many functions are executed."""
    wanted = plan.functions
    found = sum(GUESS.get(n, 100) for n in (*wanted.wheels, *wanted.packages)) + GUESS["stdlib"] * wanted.stdlib
    return wanted.limit or found


def arm_tokens(plan: Plan) -> float:
    """Return about how many tokens one arm's fine-tuning sees; 0 without one."""
    return plan.tuning.steps * plan.tuning.answer_tokens * PROMPT_RATIO if plan.tuning else 0


def cpu_minutes(plan: Plan) -> dict[str, float]:
    """Return the rough CPU-minutes of each stage without GPUs."""
    run = functions(plan) * FUNCTION_CPU_S + sum(PARSE_CPU_S.get(p, 3.0) for p in plan.functions.packages) + 8
    found = {"synthesis and checks": 1.5 * run / 60}
    if (wanted := plan.sequences) is not None:
        found["character models"] = len(plan.sequence_runs()) * wanted.steps * wanted.answer_tokens * STEP_CPU_S / 60
    if any(not m.gpus for m in plan.models.values()):
        found["fine-tuning"] = len(plan.tuning_runs()) * arm_tokens(plan) / CORE_TRAIN / 60
    return found


def gpu_hours(plan: Plan, model: Model) -> float:
    """Return the rough GPU-hours of one arm's fine-tuning: 6 operations a parameter and token."""
    return 6 * model.params_m * 1e6 * arm_tokens(plan) / GPU_FLOPS / 3600


def takes(plan: Plan, effort: int) -> list[Takes]:
    """Return the work of each stage; the plan's steps are those of the effort already."""
    arms, model = len(plan.tuning_runs()), "6 operations a parameter and token on one A100: a model, not a measurement"
    return [Takes(stage, n) for stage, n in cpu_minutes(plan).items()] + [
        Takes(f"{name}, {arms} arms", gpu_hours=arms * gpu_hours(plan, m), rests_on=model) for name, m in plan.models.items() if m.gpus
    ]


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    return [f"Programs: about {functions(plan):,} functions, each run three times on up to {plan.inputs.cases} inputs"]


def lacks(plan: Plan) -> list[str]:
    """Return what else the plan needs to run as the paper did."""
    found = []
    if plan.inputs.writer == "endpoint":
        found.append(f"inputs.base_url: an endpoint that serves {plan.inputs.model} must answer at {plan.inputs.base_url}")
    if any(m.gpus for m in plan.models.values()):
        found.append("fine-tuning runs in one process on one device in this version")
    return found
