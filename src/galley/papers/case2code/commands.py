"""The stages of the Case2Code recipe on the command line, each from files to files; no logic here.

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
    SourcesOption,
    UnsafeOption,
    WorkersOption,
)
from galley.recipe import read_plan_of

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The stages of the Case2Code recipe.")


@app.command()
def synthesize(
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    workers: WorkersOption = 1,
    unsafe: UnsafeOption = False,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Turn functions into cases: filter, write inputs, run twice, select, split, export (what ran is kept)."""
    from galley.papers.case2code.build import build

    plan = read_plan_of("case2code", scale, folder=RECIPES, seeds=seeds, effort=effort)
    build(out=out, sources=sources, plan=plan, scale=scale, workers=workers, unsafe=unsafe)


@app.command()
def check(
    cases: Annotated[Path, typer.Option(help="cases.jsonl of the synthesis")],
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    workers: WorkersOption = 1,
    unsafe: UnsafeOption = False,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Check the exact claims and score the official test's own programs and baselines (E1 to E4)."""
    from galley.papers.case2code.checks import check_paper

    plan = read_plan_of("case2code", scale, folder=RECIPES, seeds=seeds, effort=effort)
    check_paper(cases=cases, sources=sources, out=out, plan=plan, scale=scale, workers=workers, unsafe=unsafe)


@app.command()
def sequences(
    out: OutOption,
    shard: ShardOption = 0,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Train one shard's character models from scratch and score induction on held-out programs (D2 to D4)."""
    from galley.papers.case2code.sequences import run_sequences

    plan = read_plan_of("case2code", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_sequences(out=out, plan=plan, scale=scale, shard=shard)


@app.command()
def tune(
    model: ModelOption,
    base: BaseOption,
    cases: Annotated[Path, typer.Option(help="cases.jsonl of the synthesis")],
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    shard: ShardOption = 0,
    unsafe: UnsafeOption = False,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Fine-tune one shard's arms of a real model and score the induction gap before and after (D1, D4 to D6)."""
    from galley.papers.case2code.tune import run_tune

    plan = read_plan_of("case2code", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_tune(base=base, cases=cases, sources=sources, out=out, plan=plan, model_name=model, scale=scale, shard=shard,
             unsafe=unsafe, device=device)  # fmt: skip
