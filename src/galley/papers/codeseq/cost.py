"""What a scale would cost: jobs, downloads, disk and rough compute, from the plan alone; nothing is run.

Source: ours. Six floating-point operations per parameter and trained token; prompts are about four times as long as answers.
"""

from __future__ import annotations

from pathlib import Path

from galley.data.sources import load_sources
from galley.papers.codeseq.plan import CharTraining, Plan

CORE_FLOPS = 35e9  # float32 operations a second of one x86 core in training, seen with both model sizes
CHAR_PARAMS, CHAR_TOKENS = 0.35e6, 3.0  # parameters, and tokens seen per answer token
PROMPT_SHARE = 3.2  # tokens seen per answer token of a real model
PROGRAMS = 45  # programs that a problem's rollouts, corrections and checks come to, about
PROGRAM_S = 0.006  # CPU seconds of one program, sandbox included
SEQUENCES = ("oeis_records", "oeissequences")


def trainings(plan: Plan) -> int:
    """Return the trainings from scratch."""
    return sum(plan.seeds + t.control_seeds for t in (plan.induction, plan.reflection) if t is not None)


def jobs(plan: Plan) -> dict[str, int]:
    """Return the number of jobs of each rule, in the order of the flow."""
    fetched = len(SEQUENCES) if plan.synthesis.sequences == "oeis" else 0
    return {
        "fetch_source": fetched,
        "prepare_model": len(plan.models),
        "codeseq_synthesize": 1,
        "codeseq_induce": plan.shards if plan.induction or plan.reflection else 0,
        "codeseq_tune": len(plan.models) * plan.shards,
        "table": 1,
    }


def scratch_minutes(plan: Plan) -> float:
    """Return the rough CPU-minutes of the trainings from scratch."""

    def one(training: CharTraining) -> float:
        return 6 * CHAR_PARAMS * training.steps * training.answer_tokens * CHAR_TOKENS / CORE_FLOPS

    return sum(one(t) * (plan.seeds + t.control_seeds) for t in (plan.induction, plan.reflection) if t is not None) / 60


def tuned_tokens(plan: Plan) -> float:
    """Return the tokens that one model sees in all of its arms."""
    t = plan.tuning
    return 0.0 if t is None else 2 * (t.steps + t.solution_steps) * t.answer_tokens * PROMPT_SHARE * t.seeds


def missing(plan: Plan) -> list[str]:
    """Return what this version lacks for the plan to run as the paper did."""
    lacks = [
        f"models.{name}.revision: the hub commit (40 hex digits) is not set, and a branch is refused"
        for name, m in plan.models.items()
        if m.repo and m.revision is None
    ]
    if any(m.gpus for m in plan.models.values()):
        lacks += [
            "tuning runs in one process in this version",
            "RL: the reward and its data are made, the policy is not trained (verl is the authors' choice)",
            "HumanEval, MBPP, LiveCodeBench, MMLU, BBH and GaoKaoBench are not scored by this recipe",
        ]
    return lacks


def describe(plan: Plan, *, scale: str, sources: Path) -> str:
    """Return the plan's cost as text."""
    registry = load_sources(sources)
    names = [*(SEQUENCES if plan.synthesis.sequences == "oeis" else ()), *(m.source for m in plan.models.values() if m.source)]
    lines = [f"codeseq at {scale} scale", "", "jobs:"]
    lines += [f"  {rule}: {n}" for rule, n in jobs(plan).items() if n]
    lines += ["", "downloads:"] + ([f"  {name}: {registry[name].bytes / 1e6:.1f} MB" for name in names] or ["  none"])
    lines += [f"  {m.repo} (hub): {2 * m.params_m / 1e3:.1f} GB in 16 bits" for m in plan.models.values() if m.repo]
    problems = plan.synthesis.problems
    lines += ["", "compute:", f"  {problems:,} sequences at most, about {PROGRAMS * problems:,} short programs in the sandbox: "
              f"{PROGRAMS * problems * PROGRAM_S / 60:.2g} CPU-minutes"]  # fmt: skip
    if plan.synthesis.endpoint is not None:
        calls = problems * (1 + 2 * plan.synthesis.guide + plan.synthesis.rounds + 1 + plan.synthesis.rollouts)
        lines.append(f"  at most {calls:,} calls of {plan.synthesis.endpoint.model}")
    lines.append(f"  {trainings(plan)} character models from scratch: about {scratch_minutes(plan):.2g} CPU-minutes")
    for name, m in plan.models.items():
        if m.gpus:
            lines.append(f"  {name}: about {m.gpu_hours * m.gpus:.2g} GPU-hours an arm (a guess: the paper states no budget)")
        else:
            minutes = 6 * m.params_m * 1e6 * tuned_tokens(plan) / CORE_FLOPS / 60
            lines.append(f"  {name}: about {minutes:.2g} CPU-minutes of tuning")
    disk = sum(m.params_m * 1e6 * (4 if m.dtype == "float32" else 2) for m in plan.models.values()) + sum(registry[n].bytes for n in names)
    lines += ["", f"disk: about {disk / 1e9:.2g} GB"]
    lacks = missing(plan)
    return "\n".join(lines + (["", "missing:"] + [f"  {text}" for text in lacks] if lacks else []))
