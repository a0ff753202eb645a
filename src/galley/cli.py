"""The one command line: a command per stage, each from files to files; no logic here.

Heavy imports happen inside the commands, so that `galley --help` stays quick.
"""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from galley import papers, stage_commands
from galley.artifact import GalleyError
from galley.evaluate.code import commands as code_commands
from galley.kernels import commands as kernel_commands
from galley.options import (
    RECIPES,
    CorpusOption,
    EffortOption,
    MirrorOption,
    OutOption,
    RecipeArgument,
    RecipeOption,
    ScaleOption,
    SeedsOption,
    SourcesOption,
)
from galley.sandbox import commands as sandbox_commands
from galley.stage import stages_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""Reproduce an LLM paper's experiment, with a verdict on every claim.

    The usual way in is a table:  snakemake --cores all results/table_mha2mla.csv

    What a run would cost:  galley plan mha2mla --scale paper

    Your own model:  galley convert-mla --model DIR --out DIR --d-kv 16

    Each command below is also a stage of a rule; a rule's log shows its exact call.""",
)
claims_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check verdicts.")
for paper in pkgutil.iter_modules(papers.__path__):  # each paper brings its own stages, once they are written
    if importlib.util.find_spec(f"galley.papers.{paper.name}.stages") is None:
        continue
    app.add_typer(stage_commands.group(stages_of(paper.name)), name=paper.name.replace("_", "-"))
app.add_typer(claims_app, name="claims")
app.add_typer(code_commands.app)  # code-eval, code-generate, code-certify, code-parity
app.add_typer(kernel_commands.app)  # build-kernel, kernels-table
app.add_typer(sandbox_commands.app)  # sandbox doctor, run-programs


def _plan(recipe: str, scale: str, *, seeds: int | None = None, effort: int = 1):
    from galley.plan import read_plan_of

    return read_plan_of(recipe, scale, folder=RECIPES, seeds=seeds, effort=effort)


@app.command()
def fetch(
    source: Annotated[str, typer.Argument(help="an id in recipes/sources.yaml")],
    out: Annotated[Path, typer.Option(help="folder to fill")],
    mirror: MirrorOption = None,
    optional: Annotated[bool, typer.Option(help="record an absent source instead of failing")] = False,
) -> None:
    """Fetch a source from the first origin that answers, checked against its sha256."""
    from galley.data.fetch import fetch as run
    from galley.data.hub_benchmarks import fetch_benchmark, is_hub_benchmark

    if is_hub_benchmark(source, recipes=RECIPES):
        typer.echo(json.dumps(fetch_benchmark(source, out=out, recipes=RECIPES, optional=optional)))
        return
    typer.echo(json.dumps(run(source, out=out, sources=RECIPES / "sources.yaml", mirror=mirror, optional=optional)))


@app.command()
def prepare_corpus(
    out: Path,
    recipe: RecipeOption,
    scale: ScaleOption = "laptop",
    shakespeare: Path | None = None,
    essays: Path | None = None,
) -> None:
    """Split text into train, calibration and held-out documents; essays are only ever held out."""
    from functools import partial

    from galley.data.corpus import prepare_corpus as run

    plan = _plan(recipe, scale)
    text, mixture = plan.corpus, None
    if text.mixture:
        from galley.data.mixture import from_hub, write_mixture

        sets = from_hub(text.mixture, recipes=RECIPES)
        settings = {"total": text.mixture_bytes, "held_fraction": text.held_fraction, "seed": plan.data_seed}
        mixture = partial(write_mixture, data=sets, weights=text.mixture, **settings)
    run(out=out, shakespeare=shakespeare, essays=essays, seed=plan.data_seed, max_bytes=text.max_bytes, mixture=mixture)


@app.command()
def train_scratch(
    model: Annotated[str, typer.Argument(help="a model of the recipe that is trained from scratch")],
    corpus: CorpusOption,
    out: OutOption,
    recipe: RecipeOption,
    scale: ScaleOption = "smoke",
) -> None:
    """Train a small Llama-style model and its tokenizer on a corpus (resumes where it stopped)."""
    from galley.train.base import train_scratch_base

    plan = _plan(recipe, scale)
    train_scratch_base(model, corpus=corpus, out=out, models=plan.models, seed=plan.data_seed)


@app.command()
def prepare_model(
    model: Annotated[str, typer.Argument(help="a model of the recipe, or a GGUF source of recipes/sources.yaml such as gemma-3-270m")],
    out: OutOption,
    recipe: Annotated[str | None, typer.Option(help="the recipe whose plan has the model; not needed for a GGUF source")] = None,
    scale: ScaleOption = "laptop",
    mirror: MirrorOption = None,
) -> None:
    """Turn a published model into a Hugging Face directory and prove that it is the same model."""
    from galley.train.base import prepare_base

    models = _plan(recipe, scale).models if recipe else {}
    prepare_base(model, out=out, models=models, sources=RECIPES / "sources.yaml", mirror=mirror)


@app.command()
def convert_mla(
    model: Annotated[str, typer.Option(help="a Hugging Face directory or hub id")],
    out: Annotated[Path, typer.Option(help="where the converted directory goes")],
    d_kv: Annotated[int | None, typer.Option(help="latent width per KV head; omit for partial RoPE only")] = None,
    rope_strategy: Annotated[str, typer.Option(help="high, low, uniform or 2-norm")] = "2-norm",
    rope_pairs: Annotated[int | None, typer.Option(help="rotary pairs kept per head; default d_h/16")] = None,
    svd: Annotated[str, typer.Option(help="joint or split")] = "joint",
    balance: Annotated[str, typer.Option(help="balanced (paper) or one_sided (authors' code)")] = "balanced",
    expand_gqa: Annotated[bool, typer.Option(help="repeat KV heads to MHA first")] = False,
    calibration: Annotated[Path | None, typer.Option(help="text file or .jsonl for 2-norm; default: the standard library's text")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16")] = "float32",
    revision: Annotated[str | None, typer.Option(help="hub commit, 40 hex digits")] = None,
) -> None:
    """Convert a Llama-type model of your own to multi-head latent attention."""
    from galley.papers.mha2mla.own_model import convert_own_model

    convert_own_model(model, out=out, d_kv=d_kv, strategy=rope_strategy, r=rope_pairs, svd=svd, balance=balance, expand_gqa=expand_gqa,
                      calibration=calibration, dtype=dtype, revision=revision)  # fmt: skip


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def lm_eval(context: typer.Context) -> None:
    """Run lm-eval with its own flags; converted models load as `--model hf --model_args pretrained=DIR`."""
    from galley.evaluate.lm_eval_cli import run_lm_eval

    run_lm_eval(context.args)


@app.command()
def plan(
    recipe: RecipeArgument,
    scale: ScaleOption = "laptop",
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """List jobs, downloads, disk and rough compute without running anything."""
    from galley.cost import describe

    resolved = _plan(recipe, scale, seeds=seeds, effort=effort)
    typer.echo(describe(resolved, stages_of(recipe), scale=scale, recipes=RECIPES))


@app.command()
def pin(recipe: RecipeArgument, scale: ScaleOption = "paper") -> None:
    """Ask the hub for the commits of a recipe's models and data sets and write recipes/revisions.yaml."""
    import datetime

    from galley.cost import repositories
    from galley.data.revisions import pin_repos

    models, data = repositories(_plan(recipe, scale), stages_of(recipe), recipes=RECIPES)
    for line in pin_repos(models, data, recipes=RECIPES, today=datetime.date.today()):
        typer.echo(line)


@app.command()
def table(
    recipe: RecipeArgument,
    items: Annotated[list[Path], typer.Option(help="tidy item files, several after one flag")],
    runs: Annotated[list[Path], typer.Option(help="run files, several after one flag")],
    scale: ScaleOption = "laptop",
    results: Path = Path("results"),
) -> None:
    """Judge the claims and write the table, its renderings, the figures and the certificate."""
    from galley.tables.publish import publish

    publish(recipe, items=items, runs=runs, scale=scale, folder=RECIPES / recipe, results=results)


@claims_app.command("check")
def claims_check(recipe: RecipeArgument, scale: ScaleOption = "laptop", results: Path = Path("results")) -> None:
    """Compare the verdicts with the expected ones and see that every control flips its claim."""
    from galley.tables.claims import check_file

    problems = check_file(results / f"claims_{recipe}.csv", RECIPES / recipe / "claims.yaml", scale)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{recipe} at {scale} scale: all verdicts are as expected and every control that ran flips its claim")


@app.command()
def certify(
    sources: SourcesOption = Path("results/sources"),
    out: OutOption = Path("results/table_certificates.csv"),
    limit: Annotated[int, typer.Option(min=1, help="items per benchmark")] = 50,
) -> None:
    """Score every evaluator on gold and on corrupted answers."""
    from galley.evaluate.certify import write_certificates

    write_certificates(sources=sources, out=out, limit=limit)


@app.command()
def bench(
    recipe: str,
    out: Annotated[Path | None, typer.Option(help="default: results/bench_<recipe>.csv")] = None,
    model: Annotated[Path, typer.Option(help="mha2mla: the base model's directory")] = Path("results/laptop/models/smollm2-135m-instruct"),
    parts: Annotated[str, typer.Option(help="mha2mla: decode, convert, train, workflow")] = "decode,convert,train,workflow",
    device: Annotated[str, typer.Option(help="cpu or cuda (mha2mla: of the decode part)")] = "cpu",
    programs: Annotated[int, typer.Option(help="synthesis: how many programs are streamed")] = 100_000,
) -> None:
    """Measure ratios against named peers, interleaved in one run."""
    out = out or Path(f"results/bench_{recipe}.csv")
    if recipe == "mha2mla":
        from galley.papers.mha2mla.bench import run_bench

        run_bench(base=model, out=out, parts=parts.split(","), device=device)
    elif recipe == "fourier_attention":
        from galley.kernels.bench import write_bench

        write_bench(out, device=device)
    elif recipe == "synthesis":
        from galley.synthesize.bench import write_bench as write_synthesis_bench

        write_synthesis_bench(out, programs=programs)
    elif recipe == "sandbox":
        from galley.sandbox.bench import write_bench as write_sandbox_bench

        write_sandbox_bench(out)
    else:
        raise GalleyError(f"recipe is {recipe!r}; benches: mha2mla, fourier_attention, synthesis, sandbox")


def spread(argv: list[str]) -> list[str]:
    """Let `--items a b c` mean `--items a --items b --items c`, as a rule's file list is written."""
    out: list[str] = []
    flag = None
    for word in argv:
        if word in ("--items", "--runs"):
            flag = word
            continue
        if word.startswith("--"):
            flag = None
        if flag:
            out.append(flag)
        out.append(word)
    return out


def main() -> None:
    """Run the command line; a user's error is one clear message and exit code 2."""
    try:
        app(spread(sys.argv[1:]))
    except GalleyError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
