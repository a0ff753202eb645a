"""What the CodeSeq recipe computes at a scale: programs in the sandbox, character models from scratch, tokens of the tuning.

Source: ours. Six floating-point operations per parameter and trained token; prompts are about four times as long as answers.
"""

from __future__ import annotations

from galley.papers.codeseq.plan import CharTraining, Plan

CORE_FLOPS = 35e9  # float32 operations a second of one x86 core in training, seen with both model sizes
CHAR_PARAMS, CHAR_TOKENS = 0.35e6, 3.0  # parameters, and tokens seen per answer token
PROMPT_SHARE = 3.2  # tokens seen per answer token of a real model
PROGRAMS = 45  # programs that a problem's rollouts, corrections and checks come to, about
PROGRAM_S = 0.006  # CPU seconds of one program, sandbox included


def trainings(plan: Plan) -> int:
    """Return the trainings from scratch."""
    return sum(plan.seeds + t.control_seeds for t in (plan.induction, plan.reflection) if t is not None)


def scratch_minutes(plan: Plan) -> float:
    """Return the rough CPU-minutes of the trainings from scratch."""

    def one(training: CharTraining) -> float:
        return 6 * CHAR_PARAMS * training.steps * training.answer_tokens * CHAR_TOKENS / CORE_FLOPS

    return sum(one(t) * (plan.seeds + t.control_seeds) for t in (plan.induction, plan.reflection) if t is not None) / 60


def tuned_tokens(plan: Plan) -> float:
    """Return the tokens that one model sees in all of its arms."""
    t = plan.tuning
    return 0.0 if t is None else 2 * (t.steps + t.solution_steps) * t.answer_tokens * PROMPT_SHARE * t.seeds


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    s = plan.synthesis
    problems, programs = s.problems + s.generated, PROGRAMS * (s.problems + s.generated)
    lines = [f"{problems:,} sequences at most, about {programs:,} programs in the sandbox: {programs * PROGRAM_S / 60:.2g} CPU-minutes"]
    if s.endpoint is not None:
        calls = problems * (1 + 2 * s.guide + s.rounds + 1 + s.rollouts)
        lines.append(f"at most {calls:,} calls of {s.endpoint.model}")
    if trainings(plan):
        lines.append(f"{trainings(plan)} character models from scratch: about {scratch_minutes(plan):.2g} CPU-minutes")
    for name, m in plan.models.items():
        minutes = 6 * m.params_m * 1e6 * tuned_tokens(plan) / CORE_FLOPS / 60
        work = f"{m.gpu_hours:.2g} GPU-hours an arm (a guess: the paper states no budget)" if m.gpus else f"{minutes:.2g} CPU-minutes"
        lines.append(f"tuning {name}: about {work}")
    return lines


def lacks(plan: Plan) -> list[str]:
    """Return what else the plan needs to run as the paper did."""
    if not any(m.gpus for m in plan.models.values()):
        return []
    return [
        "tuning runs in one process in this version",
        "RL: the reward and its data are made, the policy is not trained (verl is the authors' choice)",
        "HumanEval, MBPP, LiveCodeBench, MMLU, BBH and GaoKaoBench are not scored by this recipe",
    ]
