"""The stages of the FourierAttention recipe on the command line, each from files to files; no logic here.

Source: ours.
"""

from __future__ import annotations

import typer

from galley.options import (
    RECIPES,
    BaseOption,
    CorpusOption,
    DeviceOption,
    EffortOption,
    ModelOption,
    OutOption,
    ScaleOption,
    SeedsOption,
    ShardOption,
    SourcesOption,
)
from galley.recipe import read_plan_of

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The stages of the FourierAttention recipe.")


@app.command()
def inspect(
    model: ModelOption,
    base: BaseOption,
    corpus: CorpusOption,
    out: OutOption,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Calibrate the compressed channels and check the claims that need one prompt (E1 to E6, D1 to D3)."""
    from galley.papers.fourier_attention.checks import check_paper

    plan = read_plan_of("fourier_attention", scale, folder=RECIPES, seeds=seeds, effort=effort)
    values = RECIPES / "fourier_attention/paper_values.csv"
    check_paper(base=base, corpus=corpus, out=out, plan=plan, model_name=model, scale=scale, paper_values=values, device=device)


@app.command()
def needles(
    model: ModelOption,
    base: BaseOption,
    corpus: CorpusOption,
    out: OutOption,
    shard: ShardOption = 0,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Read one shard's needle prompts through every method's cache (finished prompts are kept when it is interrupted)."""
    from galley.papers.fourier_attention.experiment import run_needles

    plan = read_plan_of("fourier_attention", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_needles(base=base, corpus=corpus, out=out, plan=plan, model_name=model, scale=scale, shard=shard, device=device)


@app.command()
def tasks(
    model: ModelOption,
    base: BaseOption,
    corpus: CorpusOption,
    sources: SourcesOption,
    out: OutOption,
    shard: ShardOption = 0,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Read one shard's LongBench and RULER questions through every method's cache (finished ones are kept when it is interrupted)."""
    from galley.papers.fourier_attention.tasks import run_tasks

    plan = read_plan_of("fourier_attention", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_tasks(base=base, corpus=corpus, sources=sources, out=out, plan=plan, model_name=model, scale=scale, shard=shard, device=device)
