"""The stages of the MHA2MLA recipe on the command line, each from files to files; no logic here.

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

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The stages of the MHA2MLA recipe.")


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
    """Check the exact claims (A1 to A6) on real tensors and measure the norms of the rotary pairs."""
    from galley.models.device import resolve_device
    from galley.models.spec import spec_of
    from galley.papers.mha2mla.experiment import calibrate_base
    from galley.papers.mha2mla.structure import check_structure

    plan = read_plan_of("mha2mla", scale, folder=RECIPES, seeds=seeds, effort=effort)
    where = resolve_device(device, model=model, gpus=spec_of(plan.models, model).gpus)
    calibrate_base(base=base, corpus=corpus, out=out, plan=plan, model_name=model, device=where)
    check_structure(base=base, out=out, plan=plan, model_name=model, scale=scale, device=where)


@app.command()
def arms(
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
    """Convert, fine-tune, score and benchmark the arms of one shard (finished arms are kept when it is interrupted)."""
    from galley.papers.mha2mla.shard import run_shard

    plan = read_plan_of("mha2mla", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_shard(base=base, corpus=corpus, sources=sources, out=out, plan=plan, model_name=model, scale=scale, shard=shard, device=device)
