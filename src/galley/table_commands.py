"""What is judged and measured, on the command line: tables, verdicts, certificates, benches; no logic here.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from galley import inputs
from galley.artifact import GalleyError, file_lock, sole
from galley.evaluate.certificates import COLUMNS as CERTIFIED
from galley.options import (
    RECIPES,
    SOURCES,
    EffortOption,
    RecipeArgument,
    ScaleOption,
    SeedsOption,
    SourcesOption,
    fetched_sources,
    file,
    folder,
    model_folder,
    new_csv,
    new_file,
    new_folder,
    number,
    one_of,
    some_of,
)
from galley.seen import say

if TYPE_CHECKING:
    from galley.plan import Plan
    from galley.stage import Stages

app = typer.Typer(rich_markup_mode=None)
claims_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check verdicts.")
app.add_typer(claims_app, name="claims")
RESULTS = folder("a folder of results; make it with `galley run RECIPE` or snakemake")
PARTS = ("decode", "convert", "train", "workflow")  # of the bench of mha2mla
CERTIFICATES = new_csv(*CERTIFIED, only=True)
BENCH = new_file(inputs.any_of(inputs.csv_table("part", "metric", "ours", "goal"), inputs.csv_table("measure", "who", "value", "goal")))
BENCHES = ("mha2mla", "fourier_attention", "synthesis", "sandbox", "reliability")
BENCHED = Path("results/laptop/models/smollm2-135m-instruct")


@app.command(
    epilog="Example:  galley table codeseq --scale smoke --items results/smoke/codeseq/*.items.parquet"
    " --runs results/smoke/codeseq/*.runs.csv --results my/results"
)
def table(
    recipe: RecipeArgument,
    items: Annotated[
        list[Path], typer.Option(help="tidy item files, several after one flag", callback=file("items files of a stage", inputs.parquet))
    ],
    runs: Annotated[
        list[Path],
        typer.Option(help="run files, several after one flag", callback=file("runs files of a stage", inputs.csv_table("run_id"))),
    ],
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
    results: Annotated[Path, typer.Option(help="folder that the table and its pages are added to", callback=new_folder())] = Path(
        "results"
    ),
    sources: Annotated[
        Path | None,
        typer.Option(help="folder with the records of fetched sources; default: results/sources", callback=fetched_sources()),
    ] = None,
) -> None:
    """Judge the claims and write the table, its renderings, the figures and the certificate, of all that the plan's jobs leave."""
    from galley.plan import read_plan_of
    from galley.stage import stages_of
    from galley.tables.planned import check_jobs
    from galley.tables.publish import publish

    plan, stages = read_plan_of(recipe, scale, folder=RECIPES, seeds=seeds, effort=effort), stages_of(recipe)
    check_jobs(stages.planned(plan), items=items, runs=runs, recipe=recipe, scale=scale, seeds=seeds, effort=effort)
    gone = out_of_reach(plan, stages, sources=sources or SOURCES)
    with file_lock(results / f"table_{recipe}.csv"):
        publish(recipe, items=items, runs=runs, scale=scale, folder=RECIPES / recipe, results=results, absent=gone)


def out_of_reach(plan: Plan, stages: Stages, *, sources: Path) -> list[tuple[str, str]]:
    """Return the sources of a plan that were out of reach, each with what would supply it."""
    from galley import cost
    from galley.data.fetched import recorded_absent

    gone = recorded_absent(sources)
    names = cost.sources(plan, stages) if gone else []
    return [(name, gone[name]) for name in names if name in gone]


@claims_app.command("check", epilog="Example:  galley claims check mha2mla --scale smoke")
def claims_check(
    recipe: RecipeArgument,
    scale: ScaleOption = "laptop",
    results: Annotated[Path, typer.Option(help="folder with the recipe's table", callback=RESULTS)] = Path("results"),
    complete: Annotated[bool, typer.Option("--complete", help="fail on what could not be checked for want of a source, too")] = False,
) -> None:
    """Compare the verdicts with the expected ones and see that every control flips its claim."""
    from galley.tables.check import check_file, report

    if not (results / f"claims_{recipe}.csv").is_file():
        raise GalleyError(
            f"--results is {results}, which has no claims_{recipe}.csv; make the table first: galley run {recipe} --scale {scale}"
        )
    found = check_file(results / f"claims_{recipe}.csv", RECIPES / recipe / "claims.yaml", scale)
    lines, passes = report(recipe, scale, found, complete=complete)
    for line in lines:
        say(line, err=not passes)
    if not passes:
        raise typer.Exit(1)


@app.command(epilog="Example:  galley certify --sources results/sources --out my/certificates.csv --limit 10")
@sole
def certify(
    sources: SourcesOption = SOURCES,
    out: Annotated[Path, typer.Option(help="csv to write", callback=CERTIFICATES)] = Path("results/table_certificates.csv"),
    limit: Annotated[int, number(2, 100_000, help="items per benchmark; from 2, since answers are exchanged")] = 50,
) -> None:
    """Score every evaluator on gold and on corrupted answers."""
    from galley.evaluate.certify import write_certificates

    write_certificates(sources=sources, out=out, limit=limit)


@app.command(
    epilog="Examples:  galley bench mha2mla --model results/laptop/models/smollm2-135m-instruct --parts decode\n\ngalley bench sandbox"
)
def bench(
    recipe: Annotated[str, typer.Argument(help=f"one of {', '.join(BENCHES)}", callback=one_of(*BENCHES))],
    out: Annotated[Path | None, typer.Option(help="default: results/bench_<recipe>.csv", callback=BENCH)] = None,
    model: Annotated[
        Path | None, typer.Option(help=f"mha2mla: the base model's directory; default: {BENCHED}", callback=model_folder())
    ] = None,
    parts: Annotated[str, typer.Option(help="mha2mla: decode, convert, train, workflow", callback=some_of(*PARTS))] = ",".join(PARTS),
    device: Annotated[str, typer.Option(help="cpu or cuda (mha2mla: of the decode part)", callback=one_of("cpu", "cuda"))] = "cpu",
    programs: Annotated[int, number(10, 100_000_000, help="synthesis: how many programs are streamed")] = 100_000,
    kills: Annotated[int, number(1, 10_000, help="reliability: how many kills, over all recipes at smoke scale")] = 50,
) -> None:
    """Measure ratios against named peers, interleaved in one run."""
    out = out or Path(f"results/bench_{recipe}.csv")
    if recipe == "mha2mla":
        from galley.papers.mha2mla.bench import run_bench

        run_bench(base=model or BENCHED, out=out, parts=parts.split(","), device=device)
    elif recipe == "fourier_attention":
        from galley.kernels.bench import write_bench

        write_bench(out, device=device)
    elif recipe == "synthesis":
        from galley.synthesize.bench import write_bench as write_synthesis_bench

        write_synthesis_bench(out, programs=programs)
    elif recipe == "reliability":
        from galley.reliability import write_bench as write_reliability_bench

        write_reliability_bench(out, kills=kills)
    else:
        from galley.sandbox.bench import write_bench as write_sandbox_bench

        write_sandbox_bench(out)
