"""The stages of the UnitCoder recipe on the command line, each from files to files; no logic here.

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
    SourcesOption,
    WorkersOption,
)
from galley.recipe import read_plan_of

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The stages of the UnitCoder recipe.")
FunctionsOption = Annotated[Path, typer.Option(help="functions.jsonl of the corpus stage")]


@app.command()
def corpus(
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Filter the functions of the corpus by package, drop copies and benchmark overlaps, count by reason (E5)."""
    from galley.papers.unitcoder.corpus import make_corpus

    plan = read_plan_of("unitcoder", scale, folder=RECIPES, seeds=seeds, effort=effort)
    make_corpus(sources=sources, out=out, plan=plan, scale=scale)


@app.command()
def pipeline(
    out: OutOption,
    corpus: FunctionsOption,
    workers: WorkersOption = 1,
    model: Annotated[Path | None, typer.Option(help="directory of the plan's local model, where its agents are one")] = None,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Run the pipeline on functions with seeded faults and check its exact claims (E1 to E4); a killed run goes on where it was."""
    from galley.papers.unitcoder.synthesis import run_pipeline

    plan = read_plan_of("unitcoder", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_pipeline(corpus=corpus, out=out, plan=plan, scale=scale, workers=workers, model=model)


@app.command()
def mutants(
    out: OutOption,
    corpus: FunctionsOption,
    sources: SourcesOption = Path("results/sources"),
    workers: WorkersOption = 1,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Keep mutants that pass k random tests and judge them by all (D1, D4)."""
    from galley.papers.unitcoder.mutation import run_mutants

    plan = read_plan_of("unitcoder", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_mutants(corpus=corpus, sources=sources, out=out, plan=plan, scale=scale, workers=workers)


@app.command()
def model_tests(
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    workers: WorkersOption = 1,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Filter model-written solutions by model-written tests and judge them by HumanEval+ (D2, D4)."""
    from galley.papers.unitcoder.model_tests import run_model_tests

    plan = read_plan_of("unitcoder", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_model_tests(sources=sources, out=out, plan=plan, scale=scale, workers=workers)


@app.command()
def debugging(
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    workers: WorkersOption = 1,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """Take real programs through the debug rounds and judge what passes by hidden tests (D3, D4)."""
    from galley.papers.unitcoder.debugging import run_debugging

    plan = read_plan_of("unitcoder", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_debugging(sources=sources, out=out, plan=plan, scale=scale, workers=workers)


@app.command()
def tuning(
    model: ModelOption,
    base: BaseOption,
    programs: Annotated[Path, typer.Option(help="programs.jsonl of the model-tests stage")],
    out: OutOption,
    sources: SourcesOption = Path("results/sources"),
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    device: DeviceOption = "auto",
) -> None:
    """Fine-tune on filtered, unfiltered and failing programs with equal tokens and compare likelihoods (M1)."""
    from galley.papers.unitcoder.tuning import run_tuning

    plan = read_plan_of("unitcoder", scale, folder=RECIPES, seeds=seeds, effort=effort)
    run_tuning(model_name=model, base=base, programs=programs, sources=sources, out=out, plan=plan, scale=scale, device=device)
