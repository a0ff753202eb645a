"""The one command line: a command per stage, each from files to files; no logic here.

Heavy imports happen inside the commands, so that `galley --help` stays quick.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from galley import inputs, papers, prepare_commands, stage_commands, table_commands, usage
from galley.artifact import sole
from galley.evaluate.code import commands as code_commands
from galley.interruption import ending
from galley.kernels import commands as kernel_commands
from galley.options import (
    RECIPES,
    EffortOption,
    RecipeArgument,
    RecipeOrAllArgument,
    ScaleOption,
    SeedsOption,
    file,
    model_folder_or_name,
    number,
    one_of,
    replaced,
)
from galley.plan import read_plan_of
from galley.recipe import SCALES, recipe_names
from galley.redact import guard_streams
from galley.run import WithWords, run
from galley.sandbox import commands as sandbox_commands
from galley.seen import say
from galley.stage import stages_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""Reproduce an LLM paper's experiment, with a verdict on every claim.

    The usual way in is a table:  snakemake --cores all results/table_mha2mla.csv

    What each would cost:  galley plan

    Your own model:  galley convert-mla --model DIR --out DIR --d-kv 16

    Each command below is also a stage of a rule; a rule's log shows its exact call.""",
)
for paper in pkgutil.iter_modules(papers.__path__):  # each paper brings its own stages, once they are written
    if importlib.util.find_spec(f"galley.papers.{paper.name}.stages") is None:
        continue
    app.add_typer(stage_commands.group(stages_of(paper.name)), name=paper.name.replace("_", "-"))
app.command(cls=WithWords, epilog="Example:  galley run mha2mla --scale smoke")(run)
app.add_typer(prepare_commands.app)  # fetch, prepare-corpus, train-scratch, prepare-model
app.add_typer(table_commands.app)  # table, claims check, certify, bench
app.add_typer(code_commands.app)  # code-eval, code-generate, code-certify, code-parity
app.add_typer(kernel_commands.app)  # build-kernel, kernels-table
app.add_typer(sandbox_commands.app)  # sandbox doctor, run-programs


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=usage.versions, help="say galley's version and its packages'")
    ] = False,
) -> None:
    """Take the options that no command is needed for."""


@app.command(
    epilog="Example:  galley convert-mla --model my/smollm2 --out my/smollm2-mla --d-kv 16\n\n"
    "Partial RoPE alone:  galley convert-mla --model my/smollm2 --out my/smollm2-partial --rope-pairs 4"
)
@sole
def convert_mla(
    model: Annotated[str, typer.Option(help="a Hugging Face directory or hub id", callback=model_folder_or_name())],
    out: Annotated[Path, typer.Option(help="where the converted directory goes", callback=replaced())],
    d_kv: Annotated[int | None, number(1, 65536, help="latent width per KV head; omit for partial RoPE only")] = None,
    rope_strategy: Annotated[
        str, typer.Option(help="high, low, uniform or 2-norm", callback=one_of("high", "low", "uniform", "2-norm"))
    ] = "2-norm",
    rope_pairs: Annotated[int | None, number(1, 65536, help="rotary pairs kept per head; default d_h/16")] = None,
    svd: Annotated[str, typer.Option(help="joint or split", callback=one_of("joint", "split"))] = "joint",
    balance: Annotated[
        str, typer.Option(help="balanced (paper) or one_sided (authors' code)", callback=one_of("balanced", "one_sided"))
    ] = "balanced",
    expand_gqa: Annotated[bool, typer.Option(help="repeat KV heads to MHA first")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="text file or .jsonl for 2-norm; default: the standard library's text",
            callback=file("a text file or a .jsonl", inputs.text),
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16", callback=one_of("float32", "bfloat16"))] = "float32",
    revision: Annotated[str | None, typer.Option(help="hub commit, 40 hex digits")] = None,
    positions: Annotated[
        int | None, number(2, 2**31 - 1, help="longest context it is for; default: the model's. A sliding window must be no shorter")
    ] = None,
) -> None:
    """Convert a Llama-type model of your own to multi-head latent attention."""
    from galley.papers.mha2mla.own_model import convert_own_model

    say(
        convert_own_model(
            model, out=out, d_kv=d_kv, strategy=rope_strategy, r=rope_pairs, svd=svd, balance=balance, expand_gqa=expand_gqa,
            calibration=calibration, dtype=dtype, revision=revision, positions=positions,
        )
    )  # fmt: skip


@app.command(
    epilog="Example:  galley lm-eval --model hf --model_args pretrained=my/smollm2-mla --tasks piqa",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def lm_eval(context: typer.Context) -> None:
    """Run lm-eval with its own flags; converted models load as `--model hf --model_args pretrained=DIR`."""
    from galley.evaluate.lm_eval_cli import run_lm_eval

    run_lm_eval(context.args)


@app.command(epilog="Examples:  galley plan\n\ngalley plan mha2mla --scale paper --seeds 3")
def plan(
    recipe: RecipeOrAllArgument = "all",
    scale: Annotated[
        str | None, typer.Option(help="smoke, laptop or paper; default: laptop, of all recipes every scale", callback=one_of(*SCALES))
    ] = None,
    seeds: SeedsOption = None,
    effort: EffortOption = 1,
) -> None:
    """List jobs, downloads, disk, CPU time and GPU-hours without running anything: of one recipe, or a page of all."""
    from galley.cost_page import describe, overview

    if recipe == "all":
        say(overview(recipe_names(RECIPES), [scale] if scale else SCALES, recipes=RECIPES, seeds=seeds, effort=effort))
        return
    resolved = read_plan_of(recipe, scale or "laptop", folder=RECIPES, seeds=seeds, effort=effort)
    say(describe(resolved, stages_of(recipe), scale=scale or "laptop", recipes=RECIPES, seeds=seeds, effort=effort))


@app.command(epilog="Example:  galley pin mha2mla --scale paper")
def pin(recipe: RecipeArgument, scale: ScaleOption = "paper") -> None:
    """Ask the hub for the commits of a recipe's models and data sets and write recipes/revisions.yaml."""
    import datetime

    from galley.cost import repositories
    from galley.data.revisions import pin_repos

    models, data = repositories(read_plan_of(recipe, scale, folder=RECIPES), stages_of(recipe), recipes=RECIPES)
    for line in pin_repos(models, data, recipes=RECIPES, today=datetime.date.today()):
        say(line)


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
    guard_streams()
    with ending():
        raise SystemExit(usage.run(app, spread(sys.argv[1:])))


if __name__ == "__main__":
    main()
