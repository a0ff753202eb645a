"""What a scale would cost: jobs, downloads and rough compute, from the plan alone; nothing is run.

Source: ours. Executions are counted from the plan; seconds are a model from seen runs, not a measurement of this machine.
"""

from __future__ import annotations

from pathlib import Path

from galley.data.sources import load_sources
from galley.papers.unitcoder.plan import SOURCES, Plan

RUN_S = 0.02  # CPU seconds of one program in the sandbox with its tests, about
TOKEN_S_PER_M = 6e6 / 20e9  # CPU seconds of one training token per million parameters: 6 operations each at 20 GFLOP/s
FAILING = 0.45  # share of programs that fail at first and are debugged, about


def replies(plan: Plan) -> int:
    """Return about how many replies the plan's language models give: tests, refinements, and three a round for what fails."""
    if plan.agents.kind == "stand_in":
        return 0
    return round(plan.agents.functions * (2 + FAILING * plan.pipeline.rounds * plan.pipeline.proposals))


def executions(plan: Plan) -> dict[str, int]:
    """Return about how many programs each stage runs."""
    rounds = plan.pipeline.rounds * max(plan.pipeline.tries, plan.pipeline.proposals)
    programs = len(plan.debugging.models) * plan.debugging.tasks
    models = replies(plan)
    return {
        **({"pipeline with language models": models} if models else {}),
        "pipeline": round(2 * plan.pipeline.functions * (3 + FAILING * rounds)),
        "mutants": 2 * plan.mutants.tasks * plan.mutants.per_task,
        "model tests": 4 * 164 * plan.model_tests.solutions,
        "debugging": round(programs * (4 + FAILING * rounds)),
    }


def jobs(plan: Plan) -> dict[str, int]:
    """Return the number of jobs of each rule, in the order of the flow."""
    stages = ("corpus", "pipeline", "mutants", "model_tests", "debugging")
    return {
        "fetch_source": len(SOURCES),
        "prepare_model": len(plan.models),
        **{f"unitcoder_{stage}": 1 for stage in stages},
        "unitcoder_tuning": len(plan.models),
        "table": 1,
    }


def missing(plan: Plan) -> list[str]:
    """Return what this version lacks for the plan to run as the paper did."""
    lacks = [
        f"models.{name}.revision: the hub commit (40 hex digits) is not set, and a branch is refused"
        for name, m in plan.models.items()
        if m.kind == "hub" and m.revision is None
    ]
    if plan.agents.kind == "endpoint":
        lacks.append(f"agents.url: an endpoint that serves {plan.agents.model} must answer at {plan.agents.url}")
    if any(m.gpus for m in plan.models.values()):
        lacks.append("the paper's corpus, its 500k programs and its training settings are not published (N1)")
    return lacks


def describe(plan: Plan, *, scale: str, sources: Path) -> str:
    """Return the plan's cost as text."""
    registry = load_sources(sources)
    lines = [f"unitcoder at {scale} scale", "", "jobs:"]
    lines += [f"  {rule}: {n}" for rule, n in jobs(plan).items() if n]
    names = [*SOURCES, *(m.source for m in plan.models.values() if m.source)]
    lines += ["", "downloads:"] + [f"  {name}: {registry[name].bytes / 1e6:.1f} MB" for name in names]
    lines += [f"  {m.repo} (hub): {2 * m.params_m / 1e3:.1f} GB in 16 bits" for m in plan.models.values() if m.repo]
    lines += ["", "programs in the sandbox:"]
    lines += [f"  {stage}: about {n:,}, {n * RUN_S / 60:.2g} CPU-minutes" for stage, n in executions(plan).items()]
    if replies(plan):
        lines += ["", f"replies of {plan.agents.model}: about {replies(plan):,}, of up to 2,048 tokens each"]
    lines += ["", "fine-tuning:"]
    for name, m in plan.models.items():
        minutes = 4 * plan.seeds * plan.tuning.tokens * m.params_m * TOKEN_S_PER_M / 60
        lines.append(f"  {name}: 4 arms, {plan.seeds} seeds, {plan.tuning.tokens:,} answer tokens each: about {minutes:.2g} CPU-minutes")
    lacks = missing(plan)
    if lacks:
        lines += ["", "missing:"] + [f"  {text}" for text in lacks]
    return "\n".join(lines)
