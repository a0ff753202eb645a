"""The stages of the MHA2MLA recipe, in the order of the flow: what each reads of the plan, what it takes, whose code it is.

arXiv:2502.14837. What an arm needs shares a process, because importing torch costs more than a small stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.options import BaseOption, DeviceOption, SourcesOption, corpus_of, file
from galley.papers.mha2mla.plan import BENCHMARKS, HUB_BENCHMARKS, Plan
from galley.stage import Job, Stages

stage = Stages("mha2mla")
NORMS = file("norms.safetensors of `galley mha2mla inspect`", inputs.tensors("q", "k"), example="{out}/norms.safetensors")
NormsOption = Annotated[Path, typer.Option(help="norms.safetensors of the inspect stage", callback=NORMS)]
CalibrationOption = Annotated[Path, corpus_of("calibration")]
CorpusOption = Annotated[Path, corpus_of("train", "heldout")]


@stage("rope_fraction", "calibration", "data_seed", each=("model",))
def inspect(job: Job, base: BaseOption, corpus: CalibrationOption, device: DeviceOption = "auto") -> None:
    """Check the exact claims (A1 to A6) on real tensors and measure the norms of the rotary pairs."""
    from galley.papers.mha2mla.inspect import inspect_base

    inspect_base(job, base=base, corpus=corpus, device=device)


def _benchmarks(plan: Plan) -> tuple[str, ...]:
    return (*BENCHMARKS, *HUB_BENCHMARKS) if any(model.kind == "hub" for model in plan.models.values()) else BENCHMARKS


@stage(
    "rope_fraction", "arms", "training", "heldout", "benchmarks", "seeds", "data_seed",
    each=("model", "shard"), sources=_benchmarks, units=lambda plan: sum(plan.seeds for arm in plan.arms if arm.train),
)  # fmt: skip
def arms(
    job: Job, base: BaseOption, corpus: CorpusOption, norms: NormsOption, sources: SourcesOption, device: DeviceOption = "auto"
) -> None:
    """Convert, fine-tune, score and benchmark the arms of one shard (finished arms are kept when it is interrupted)."""
    from galley.papers.mha2mla.arms import run_arms
    from galley.train import worker  # noqa: F401  where several processes train, this is what they run

    run_arms(job, base=base, corpus=corpus, norms=norms, sources=sources, device=device)
