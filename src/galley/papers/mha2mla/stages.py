"""The stages of the MHA2MLA recipe, in the order of the flow: what each reads of the plan, what it takes, whose code it is.

arXiv:2502.14837. What an arm needs shares a process, because importing torch costs more than a small stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.options import BaseOption, DeviceOption, SourcesOption, corpus_of, file
from galley.papers.mha2mla.plan import BENCHMARKS, HUB_BENCHMARKS, Plan, arms_of, runs_of
from galley.stage import Job, Stages

stage = Stages("mha2mla")
NORMS = file("norms.safetensors of `galley mha2mla inspect`", inputs.tensors("q", "k"), example="{out}/norms.safetensors")
NormsOption = Annotated[Path, typer.Option(help="norms.safetensors of the inspect stage", callback=NORMS)]
CELLS = inputs.csv_table("table", "model", "method", "setting", "benchmark", number="value")
VALUES = file("the recipe's paper_values.csv", CELLS, example="recipes/{recipe}/paper_values.csv")
ValuesOption = Annotated[Path, typer.Option(help="the paper's numbers, paper_values.csv of the recipe", callback=VALUES)]
CalibrationOption = Annotated[Path, corpus_of("calibration")]
CorpusOption = Annotated[Path, corpus_of("train", "heldout")]


@stage("rope_fraction", "calibration", "data_seed", each=("model",))
def inspect(job: Job, base: BaseOption, corpus: CalibrationOption, device: DeviceOption = "auto") -> None:
    """Check what needs the base model alone (A1 to A7) on real tensors and measure the norms of the rotary pairs."""
    from galley.papers.mha2mla.inspect import inspect_base

    inspect_base(job, base=base, corpus=corpus, device=device)


def _benchmarks(plan: Plan) -> tuple[str, ...]:
    return (*BENCHMARKS, *HUB_BENCHMARKS) if any(model.kind == "hub" for model in plan.models.values()) else BENCHMARKS


def _trainings(plan: Plan) -> int:
    """Return how often the models that are left in the plan are fine-tuned."""
    arms = [arm for model in plan.models for arm in arms_of(plan.arms, model, tuned=plan.training.models)]
    return sum(len(runs_of(arm, plan.seeds)) for arm in arms if arm.train)


@stage(
    "rope_fraction", "arms", "training", "heldout", "benchmarks", "seeds", "data_seed",
    each=("model", "shard"), sources=_benchmarks, units=_trainings,
)  # fmt: skip
def arms(
    job: Job, base: BaseOption, corpus: CorpusOption, norms: NormsOption, sources: SourcesOption, paper: ValuesOption,
    device: DeviceOption = "auto",
) -> None:  # fmt: skip
    """Convert, fine-tune, score and benchmark the arms of one shard (finished arms are kept when it is interrupted)."""
    from galley.papers.mha2mla.arms import run_arms
    from galley.train import worker  # noqa: F401  where several processes train, this is what they run

    run_arms(job, base=base, corpus=corpus, norms=norms, sources=sources, paper=paper, device=device)
