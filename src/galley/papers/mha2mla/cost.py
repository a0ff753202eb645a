"""What the MHA2MLA recipe computes at a scale: tokens, GPU-hours or CPU-minutes, the state of its trainings; from the plan alone.

Source: ours. Six floating-point operations per parameter and token of training and two of scoring, the usual
count for a dense decoder; GPU-hours are the recipe's own figures per arm. The text says what each figure rests on.
"""

from __future__ import annotations

from galley.cost import size, weight_bytes
from galley.models.spec import Model
from galley.papers.mha2mla.plan import Arm, Plan

WIDTH = {"float32": 4, "bfloat16": 2, "autocast": 4}  # bytes a parameter in training
TEXTS = ("stdlib", "pydoc", "shakespeare", "essays")  # parts of the corpus that there is text for
CACHES = 6  # the continuation is read through the plain cache and five quantised ones
CHOICE_TOKENS = 64  # a commonsense question with one of its choices, about
COMMONSENSE = ((1838, 2), (100, 4))  # items and choices of PIQA and of the HellaSwag items, the data in reach
LONGBENCH = 200  # items of multi_news, the task whose data is in reach
STATE_EVERY = 100  # steps between states that a run leaves (galley.train.loop): shorter runs leave none
CORE_FLOPS = 50e9  # float32 operations a second of one x86 core without AVX-512, seen over a whole laptop run
START_S = 6.0  # CPU seconds to import torch and transformers
INSPECT_S_PER_M = 0.75  # CPU seconds of the exact checks, per million parameters


def training_tokens(plan: Plan, model: Model) -> int:
    """Return the fine-tuning tokens of one arm and one seed."""
    batch = model.tokens_per_step or plan.training.batch_size * (model.seq_len or plan.training.seq_len)
    return batch * steps_of(plan, model)


def steps_of(plan: Plan, model: Model) -> int:
    """Return the fine-tuning steps of one arm."""
    return model.steps or plan.training.steps


def runs_of(arm: Arm, plan: Plan) -> int:
    """Return how often an arm runs: once a seed, or once when nothing is trained."""
    return plan.seeds if arm.train else 1


def scored_tokens(plan: Plan, arm: Arm, model: Model) -> int:
    """Return about how many tokens one run of an arm scores: held-out windows, and its benchmarks up to their limits."""
    held, bench = plan.heldout, plan.benchmarks
    passes = 2 if arm.train else 1  # at the start and at the end
    points = len(range(plan.training.eval_every, steps_of(plan, model), plan.training.eval_every)) if arm.train else 0
    tokens = (passes * held.windows + points * held.curve_windows) * held.window_tokens
    if arm.benchmark:
        tokens += sum(min(bench.commonsense_limit, items) * choices for items, choices in COMMONSENSE) * CHOICE_TOKENS
        tokens += min(bench.longbench_limit, LONGBENCH) * bench.longbench_max_length
        tokens += sum(bench.needle_lengths) * len(bench.needle_depths)
        tokens += CACHES * bench.continuation_windows * (bench.continuation_prefix + bench.continuation_tokens)
    return tokens


def cpu_minutes(plan: Plan) -> float:
    """Return the rough CPU-minutes of a scale that runs without GPUs, over all cores."""
    seconds = START_S * (2 + len(plan.models) * (2 + plan.shards))  # the text and the table; a model's making, inspection and arms
    for model in plan.models.values():
        flops = 0.0
        if model.scratch is not None:
            s = model.scratch
            flops += 6 * s.steps * s.batch_size * s.context
        flops += 2 * plan.calibration.sequences * plan.calibration.seq_len
        for arm in plan.arms:
            run = 6 * training_tokens(plan, model) * arm.train + 2 * scored_tokens(plan, arm, model)
            flops += run * runs_of(arm, plan)
        seconds += flops * model.params_m * 1e6 / CORE_FLOPS + INSPECT_S_PER_M * model.params_m
    return seconds / 60


def gpu_hours(plan: Plan, model: Model) -> float:
    """Return the rough GPU-hours of all fine-tuned arms and seeds of a model."""
    return model.gpu_hours * sum(runs_of(arm, plan) for arm in plan.arms if arm.train)


def state_bytes(plan: Plan) -> float:
    """Return the bytes that the arms keep at their fullest, beside sources, text and base models."""
    converted = sum(arm.benchmark and arm.convert for arm in plan.arms)  # each benchmarked arm's model
    side_by_side = min(plan.shards, len(plan.arms))
    total = 0.0
    for model in plan.models.values():
        total += converted * weight_bytes(model)
        arm = model.params_m * 1e6 * WIDTH[plan.training.dtype]
        if steps_of(plan, model) > STATE_EVERY:  # a running arm keeps its weights and Adam's two moments, the next of them beside
            total += side_by_side * 6 * arm
        if model.gpus:  # a launch's start and end; its text is one file for all arms
            total += side_by_side * 2 * arm + 4 * training_tokens(plan, model)
    return total


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    trained = sum(arm.train for arm in plan.arms)
    lines = [f"Arms: {len(plan.arms)}, {trained} of them fine-tuned; seeds: {plan.seeds}; shards a model: {plan.shards}", ""]
    lines += [f"{'Model':<24}{'tokens an arm':>16}{'scored tokens':>16}{'weights':>12}{'GPU-hours':>11}"]
    for name, m in plan.models.items():
        scored = sum(scored_tokens(plan, arm, m) * runs_of(arm, plan) for arm in plan.arms)
        hours = f"{gpu_hours(plan, m):,.0f}" if m.gpus else "none"
        lines.append(f"{name:<24}{training_tokens(plan, m):>16,}{scored:>16,}{size(weight_bytes(m)):>12}{hours:>11}")
    total = sum(training_tokens(plan, m) for m in plan.models.values()) * sum(runs_of(arm, plan) for arm in plan.arms if arm.train)
    lines += ["", f"Fine-tuning tokens in all: {total:,}", f"Disk of the arms, beside the rest: up to {size(state_bytes(plan))}"]
    if any(m.gpus for m in plan.models.values()):
        hours = f"{sum(gpu_hours(plan, m) for m in plan.models.values()):,.0f}"
        return [
            *lines,
            f"GPU-hours: about {hours}: the recipe's gpu_hours of an arm (the paper's hardware and times)",
            "  times the fine-tuned arms and seeds. Evaluation comes on top.",
        ]
    return [
        *lines,
        f"CPU-minutes: about {cpu_minutes(plan):.0f}, half of that in wall time on two idle cores. This rests on 6 operations a parameter",
        f"  and trained token, 2 a scored token, {CORE_FLOPS / 1e9:.0f} Gflop/s a core and {START_S:.0f} s to start a job; "
        "expect a factor of two.",
    ]


def lacks(plan: Plan) -> list[str]:
    """Return what else the plan needs to run as the paper did."""
    found = [f"corpus.max_bytes.{part}: no source is registered for this text" for part in plan.corpus.max_bytes if part not in TEXTS]
    for name, m in plan.models.items():
        batch = max(1, m.gpus) * plan.training.batch_size * (m.seq_len or plan.training.seq_len)
        if m.tokens_per_step is not None and m.tokens_per_step % batch:
            found.append(
                f"models.{name}.tokens_per_step is {m.tokens_per_step:,}, which {max(1, m.gpus)} processes x batch_size "
                f"{plan.training.batch_size} ({batch:,} tokens) do not divide"
            )
    return found
