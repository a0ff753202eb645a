"""What the UnitCoder recipe computes at a scale: programs in the sandbox, replies of language models, tokens of the fine-tuning.

Source: ours. Executions are counted from the plan; seconds are a model from seen runs, not a measurement of this machine.
"""

from __future__ import annotations

from galley.cost import Takes
from galley.papers.unitcoder.plan import Plan

RUN_S = 0.033  # CPU seconds of one program in the sandbox with its tests, over the laptop run of 2026-11-29
TOKEN_S_PER_M = 6e6 / 20e9  # CPU seconds of one training token per million parameters: 6 operations each at 20 GFLOP/s
ARMS = 4  # of the fine-tuning (M1)
LISTS = 2  # package lists whose functions go through the pipeline
FAILING = 0.45  # share of programs that fail at first and are debugged, about


def replies(plan: Plan) -> int:
    """Return about how many replies the plan's language models give: tests, refinements, and three a round for what fails."""
    if plan.agents.kind == "stand_in":
        return 0
    return round(LISTS * plan.agents.functions * (2 + FAILING * plan.pipeline.rounds * plan.pipeline.proposals))


def executions(plan: Plan) -> dict[str, int]:
    """Return about how many programs each stage runs."""
    rounds = plan.pipeline.rounds * max(plan.pipeline.tries, plan.pipeline.proposals) * 2  # guided and blind
    programs = len(plan.debugging.models) * plan.debugging.tasks
    models = replies(plan)
    return {
        **({"pipeline with language models": models} if models else {}),
        "pipeline": round(2 * plan.pipeline.functions * (3 + FAILING * rounds)),
        "mutants": 2 * plan.mutants.tasks * plan.mutants.per_task,
        "model tests": 5 * 164 * plan.model_tests.solutions,
        "debugging": round(programs * (4 + FAILING * rounds)),
    }


def takes(plan: Plan, effort: int) -> list[Takes]:
    """Return the work of the sandbox, by kind of program, and of the fine-tuning, whose tokens no effort multiplies."""
    found = [Takes(f"programs, {stage}", n * RUN_S / 60) for stage, n in executions(plan).items()]
    if replies(plan):
        found.append(Takes(f"replies of {plan.agents.model}", None, rests_on="the endpoint's work"))
    runs = (ARMS + len(plan.post_training)) * plan.seeds
    for name, m in plan.models.items():
        minutes = runs * plan.tuning.tokens * m.params_m * TOKEN_S_PER_M / 60
        guess = Takes(f"{name}, fine-tuning", gpu_hours=runs * m.gpu_hours, rests_on="the recipe's gpu_hours of an arm and seed, a guess")
        found.append(guess if m.gpus else Takes(f"{name}, fine-tuning", minutes))
    return found


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    lines = ["Programs in the sandbox"]
    lines += [f"  {stage}: about {n:,}" for stage, n in executions(plan).items()]
    if replies(plan):
        lines += [f"Replies of {plan.agents.model}: about {replies(plan):,}, of up to 2,048 tokens each"]
    tuned = f"{ARMS + len(plan.post_training)} arms, seeds: {plan.seeds}, {plan.tuning.tokens:,} answer tokens each"
    return lines + [f"Fine-tuning of {name}: {tuned}" for name in plan.models]


def lacks(plan: Plan) -> list[str]:
    """Return what else the plan needs to run as the paper did."""
    found = []
    if plan.agents.kind == "endpoint":
        found.append(f"agents.url: an endpoint that serves {plan.agents.model} must answer at {plan.agents.url}")
    if any(m.gpus for m in plan.models.values()):
        if plan.answers and "bigcodebench_all" in plan.answers.benchmarks:
            found.append("BigCodeBench's 139 libraries; without them set answers.benchmarks to bigcodebench, its 286 tasks that need none")
        found.append("fine-tuning runs in one process on one device in this version")
        found.append("the paper's corpus, its 500k programs and its training settings are not published (N1)")
    return found
