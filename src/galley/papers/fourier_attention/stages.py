"""The stages of the FourierAttention recipe, in the order of the flow: what each reads of the plan, what it takes, whose code it is.

arXiv:2506.11886. A prompt is prefilled once and all methods are scored on it, so prompts are spread over the shards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.options import BaseOption, DeviceOption, SourcesOption, corpus_of, file
from galley.papers.fourier_attention.cost import prompts
from galley.papers.fourier_attention.plan import Plan
from galley.stage import Job, Stages

stage = Stages("fourier_attention")
CUT = ("sinks", "local", "local_fraction", "local_min", "orders", "reals_fraction", "max_new_tokens")  # how a prompt is cut
ERRORS = file(
    "errors.safetensors of `galley fourier-attention inspect`",
    inputs.tensors("legt", "moments", "official", "ours"),
    example="{out}/errors.safetensors",
)
ErrorsOption = Annotated[Path, typer.Option(help="errors.safetensors of the inspect stage", callback=ERRORS)]
CELLS = inputs.csv_table("table", "model", "method", "setting", "benchmark", number="value")
VALUES = file("the recipe's paper_values.csv", CELLS, example="recipes/{recipe}/paper_values.csv")
ValuesOption = Annotated[Path, typer.Option(help="the paper's numbers, paper_values.csv of the recipe", callback=VALUES)]
CalibrationOption = Annotated[Path, corpus_of("calibration")]
HeldoutOption = Annotated[Path, corpus_of("heldout")]


@stage(sources=("fourier_channel_lists",))
def published(job: Job, paper: ValuesOption, sources: SourcesOption) -> None:
    """Hold what the authors published to itself: printed averages, orders and memory (E6, E7, M1), shipped lists of channels (L1 to L3)."""
    from galley.papers.fourier_attention.published import run_published

    run_published(job, paper=paper, sources=sources)


@stage("calibration", "data_seed", *CUT, each=("model",))
def inspect(job: Job, base: BaseOption, corpus: CalibrationOption, device: DeviceOption = "auto") -> None:
    """Calibrate the compressed channels and check the claims that need no scored prompt (E1 to E5, D1 to D3)."""
    from galley.papers.fourier_attention.inspect import inspect_base

    inspect_base(job, base=base, corpus=corpus, device=device)


@stage(
    "methods", "needles", "words", "needlebench", "data_seed", *CUT,
    each=("model", "shard"), units=lambda plan: prompts(plan, "needles"),
)  # fmt: skip
def needles(job: Job, base: BaseOption, corpus: HeldoutOption, errors: ErrorsOption, device: DeviceOption = "auto") -> None:
    """Read one shard's needle prompts through every method's cache (finished prompts are kept when it is interrupted)."""
    from galley.papers.fourier_attention.needles import run_needles

    run_needles(job, base=base, corpus=corpus, errors=errors, device=device)


def _longbench(plan: Plan) -> tuple[str, ...]:
    return ("longbench_config", "longbench_multi_news", *(("hub_longbench",) if plan.whole_longbench else ()))


@stage(
    "methods", "longbench", "ruler", "words", "data_seed", *CUT,
    each=("model", "shard"), sources=_longbench, units=lambda plan: prompts(plan, "tasks"),
)  # fmt: skip
def tasks(
    job: Job, base: BaseOption, corpus: HeldoutOption, errors: ErrorsOption, sources: SourcesOption, device: DeviceOption = "auto"
) -> None:
    """Read one shard's LongBench and RULER questions through every method's cache (finished ones are kept when it is interrupted)."""
    from galley.papers.fourier_attention.tasks import run_tasks

    run_tasks(job, base=base, corpus=corpus, errors=errors, sources=sources, device=device)
