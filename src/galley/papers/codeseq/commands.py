"""The stages of the CodeSeq recipe on the command line, each from files to files; no logic here.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley.options import (
    RECIPES,
    BaseOption,
    DeviceOption,
    EffortOption,
    ModelOption,
    OutOption,
    ScaleOption,
    SeedsOption,
    ShardOption,
    UnsafeOption,
    WorkersOption,
)
from galley.recipe import read_plan_of

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The stages of the CodeSeq recipe.")


@app.command()
def synthesize(
    out: OutOption,
    sources: Annotated[Path | None, typer.Option(help="folder of fetched sources")] = None,
    workers: WorkersOption = 1,
    unsafe: UnsafeOption = False,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Turn sequences into verified problems, solutions with reflections, RL data and the GTG test (what ran is kept)."""
    from galley.papers.codeseq.synthesis import run_synthesis

    plan = read_plan_of("codeseq", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_synthesis(out=out, plan=plan, scale=scale, workers=workers, sources=sources, unsafe=unsafe)


@app.command()
def induce(
    out: OutOption,
    shard: ShardOption = 0,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Train one shard's character models from scratch and score induction and retries (finished trainings are kept)."""
    from galley.papers.codeseq.induce import run_induce

    plan = read_plan_of("codeseq", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_induce(out=out, plan=plan, scale=scale, shard=shard)


@app.command()
def tune(
    model: ModelOption,
    base: BaseOption,
    synthesis: Annotated[Path, typer.Option(help="folder of the synthesis stage")],
    out: OutOption,
    shard: ShardOption = 0,
    workers: WorkersOption = 1,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Tune one shard's arms of a real model on sequence functions and on solutions, and score what was held out."""
    from galley.papers.codeseq.tune import run_tune

    plan = read_plan_of("codeseq", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_tune(base=base, synthesis=synthesis, out=out, plan=plan, model_name=model, scale=scale, shard=shard,
             workers=workers, device=device)  # fmt: skip
