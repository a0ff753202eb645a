"""What the CodeSeq recipe computes at a scale: programs in the sandbox, character models from scratch, tokens of the tuning.

Source: ours. Six floating-point operations per parameter and trained token; prompts are about four times as long as answers.
"""

from __future__ import annotations

from galley.cost import Takes
from galley.papers.codeseq.plan import CharTraining, Plan

CHAR_FLOPS = 35e9  # operations a second of one x86 core in training the character models
TUNE_FLOPS = 65e9  # and in tuning SmolLM2-135M, with what is scored; both over the laptop run of 2026-11-25
CHAR_PARAMS, CHAR_TOKENS = 0.35e6, 3.0  # parameters, and tokens seen per answer token
PROMPT_SHARE = 3.2  # tokens seen per answer token of a real model
ARMS = 5  # tuned ones of a seed: two on functions, three on solutions
PROGRAMS = 45  # programs that a problem's rollouts, corrections and checks come to, about
PROGRAM_S = 0.006  # CPU seconds of one program, sandbox included


def trainings(plan: Plan) -> int:
    """Return the trainings from scratch."""
    return plan.seeds * sum(arms for t, arms in ((plan.induction, 3), (plan.reflection, 2)) if t is not None)


def scratch_minutes(plan: Plan) -> float:
    """Return the rough CPU-minutes of the trainings from scratch."""

    def one(training: CharTraining) -> float:
        return 6 * CHAR_PARAMS * training.steps * training.answer_tokens * CHAR_TOKENS / CHAR_FLOPS

    return plan.seeds * sum(one(t) * arms for t, arms in ((plan.induction, 3), (plan.reflection, 2)) if t is not None) / 60


def tuned_tokens(plan: Plan) -> float:
    """Return the tokens that one model sees in all of its arms."""
    t = plan.tuning
    return 0.0 if t is None else (2 * t.steps + 3 * t.solution_steps) * t.answer_tokens * PROMPT_SHARE * plan.seeds


def programs(plan: Plan) -> int:
    """Return about how many programs the synthesis runs."""
    return PROGRAMS * (plan.synthesis.problems + plan.synthesis.generated)


def takes(plan: Plan, effort: int) -> list[Takes]:
    """Return the work of the sandbox and of the trainings; the recipe's GPU-hours are those of an arm at effort 1."""
    found = [Takes("programs in the sandbox", programs(plan) * PROGRAM_S / 60)]
    if plan.synthesis.endpoint is not None:
        found.append(Takes(f"calls of {plan.synthesis.endpoint.model}", None, rests_on="the endpoint's work"))
    if trainings(plan):
        found.append(Takes(f"{trainings(plan)} character models", scratch_minutes(plan)))
    for name, m in plan.models.items():
        minutes = 6 * m.params_m * 1e6 * tuned_tokens(plan) / TUNE_FLOPS / 60
        hours = effort * ARMS * (plan.seeds if plan.tuning else 0) * m.gpu_hours
        guess = Takes(f"{name}, tuning", gpu_hours=hours, rests_on="the recipe's gpu_hours of an arm, a guess: the paper states no budget")
        found.append(guess if m.gpus else Takes(f"{name}, tuning", minutes))
    return found


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    s = plan.synthesis
    problems = s.problems + s.generated
    lines = [f"Sequences: {problems:,} at most, about {programs(plan):,} programs in the sandbox"]
    if s.endpoint is not None:
        calls = problems * (1 + 2 * s.guide + s.rounds + 1 + s.rollouts)
        lines.append(f"Calls of {s.endpoint.model}: at most {calls:,}")
    return lines + [f"Tuning of {name}: {ARMS} arms, seeds: {plan.seeds}" for name in plan.models if plan.tuning]


def lacks(plan: Plan) -> list[str]:
    """Return what else the plan needs to run as the paper did."""
    if not any(m.gpus for m in plan.models.values()):
        return []
    return [
        "tuning runs in one process in this version",
        "RL: the reward and its data are made, the policy is not trained (verl is the authors' choice)",
        "LiveCodeBench, MMLU, BBH and GaoKaoBench are not scored by this recipe",
    ]
