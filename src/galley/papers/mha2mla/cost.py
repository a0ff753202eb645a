"""What the MHA2MLA recipe computes at a scale: tokens, GPU-hours or CPU time, the state of its trainings; from the plan alone.

Source: ours. Six floating-point operations per parameter and token of training and two of scoring, the usual
count for a dense decoder; GPU-hours are the recipe's own figures per arm.
"""

from __future__ import annotations

from galley.cost import CORE_FLOPS, Takes, weight_bytes
from galley.disk import size
from galley.models.spec import Model
from galley.papers.mha2mla.plan import Arm, Plan, arms_of, runs_of

WIDTH = {"float32": 4, "bfloat16": 2, "autocast": 4}  # bytes a parameter in training
TEXTS = ("stdlib", "pydoc", "shakespeare", "essays")  # parts of the corpus that there is text for
OPERATIONS = "6 operations a parameter and trained token, 2 a scored one"
CACHES = 6  # the continuation is read through the plain cache and five quantised ones
CHOICE_TOKENS = 64  # a commonsense question with one of its choices, about
COMMONSENSE = ((1838, 2), (100, 4))  # items and choices of PIQA and of the HellaSwag items, the data in reach
LONGBENCH = 200  # items of multi_news, the task whose data is in reach
STATE_EVERY = 100  # steps between states that a run leaves (galley.train.loop): shorter runs leave none
INSPECT_S_PER_M = 0.75  # CPU seconds of the exact checks, per million parameters


def training_tokens(plan: Plan, model: Model) -> int:
    """Return the fine-tuning tokens of one arm and one seed."""
    batch = model.tokens_per_step or plan.training.batch_size * (model.seq_len or plan.training.seq_len)
    return batch * steps_of(plan, model)


def steps_of(plan: Plan, model: Model) -> int:
    """Return the fine-tuning steps of one arm."""
    return model.steps or plan.training.steps


def arms(plan: Plan, name: str) -> list[Arm]:
    """Return the arms of a model as they are run."""
    return arms_of(plan.arms, name, tuned=plan.training.models)


def scored_tokens(plan: Plan, arm: Arm, model: Model) -> int:
    """Return about how many tokens one run of an arm scores: held-out windows, and its benchmarks up to their limits."""
    held, bench = plan.heldout, plan.benchmarks
    passes = 2 if arm.train else 1  # at the start and at the end
    points = len(range(plan.training.eval_every, steps_of(plan, model), plan.training.eval_every)) if arm.train else 0
    tokens = (passes * held.windows + points * held.curve_windows) * held.window_tokens
    if arm.benchmark:
        tokens += sum(min(bench.commonsense_limit, items) * choices for items, choices in COMMONSENSE) * CHOICE_TOKENS
        tokens += (1 + len(bench.longbench_caches)) * min(bench.longbench_limit, LONGBENCH) * bench.longbench_max_length
        tokens += sum(bench.needle_lengths) * len(bench.needle_depths)
        tokens += CACHES * bench.continuation_windows * (bench.continuation_prefix + bench.continuation_tokens)
    return tokens


def cpu_minutes(plan: Plan, name: str) -> float:
    """Return the rough CPU-minutes of a model's exact checks and arms without GPUs, over all cores."""
    model = plan.models[name]
    flops = 2.0 * plan.calibration.sequences * plan.calibration.seq_len
    for arm in arms(plan, name):
        run = 6 * training_tokens(plan, model) * arm.train + 2 * scored_tokens(plan, arm, model)
        flops += run * len(runs_of(arm, plan.seeds))
    return (flops * model.params_m * 1e6 / CORE_FLOPS + INSPECT_S_PER_M * model.params_m) / 60


def trainings(plan: Plan, name: str) -> int:
    """Return how often a model is fine-tuned, over arms and seeds."""
    return sum(len(runs_of(arm, plan.seeds)) for arm in arms(plan, name) if arm.train)


def gpu_hours(plan: Plan, name: str, effort: int = 1) -> float:
    """Return the rough GPU-hours of all fine-tuned arms and seeds of a model; the recipe's own are those of effort 1."""
    return effort * plan.models[name].gpu_hours * trainings(plan, name)


def takes(plan: Plan, effort: int) -> list[Takes]:
    """Return the work of each model: its arms, on GPUs by the recipe's own figures, else by operations."""
    paper = "the recipe's gpu_hours of an arm (the paper's hardware and times); evaluation comes on top"
    return [
        Takes(f"{name}, arms", gpu_hours=gpu_hours(plan, name, effort), rests_on=paper)
        if m.gpus
        else Takes(
            f"{name}, checks and arms", cpu_minutes(plan, name), rests_on="6 operations a parameter and trained token, 2 a scored one"
        )
        for name, m in plan.models.items()
    ]


def state_bytes(plan: Plan) -> float:
    """Return the bytes that the arms keep at their fullest, beside sources, text and base models."""
    total = 0.0
    for name, model in plan.models.items():
        mine = arms(plan, name)
        kept = sum(len(runs_of(arm, plan.seeds)) for arm in mine if arm.benchmark and (arm.convert or arm.train))  # the benchmarked models
        side_by_side = min(plan.shards, len(mine))
        total += kept * weight_bytes(model)
        arm = model.params_m * 1e6 * WIDTH[plan.training.dtype]
        if steps_of(plan, model) > STATE_EVERY:  # a running arm keeps its weights and Adam's two moments, the next of them beside
            total += side_by_side * 6 * arm
        if model.gpus:  # a launch's start and end; its text is one file for all arms
            total += side_by_side * 2 * arm + 4 * training_tokens(plan, model)
    return total


def compute(plan: Plan) -> list[str]:
    """Return what a scale computes, as lines."""
    lines = [f"Seeds: {plan.seeds}; shards a model: {plan.shards}", ""]
    lines += [f"{'Model':<24}{'arms':>6}{'fine-tunings':>14}{'tokens of each':>16}{'scored tokens':>16}{'weights':>12}"]
    total = 0
    for name, m in plan.models.items():
        scored = sum(scored_tokens(plan, arm, m) * len(runs_of(arm, plan.seeds)) for arm in arms(plan, name))
        runs = trainings(plan, name)
        tokens = training_tokens(plan, m) if runs else 0
        total += tokens * runs
        lines.append(f"{name:<24}{len(arms(plan, name)):>6}{runs:>14}{tokens:>16,}{scored:>16,}{size(weight_bytes(m)):>12}")
    return [*lines, "", f"Fine-tuning tokens in all: {total:,}", f"Disk of the arms, in the disk below: up to {size(state_bytes(plan))}"]


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
