"""A command for each stage that a paper declares: its own options, and those that say which plan and where to.

Source: ours.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer

from galley.artifact import GalleyError, file_lock
from galley.data.fetched import refuse_absent
from galley.options import RECIPES, EffortOption, MissingOption, ModelOption, OutFolderOption, ScaleOption, SeedsOption, ShardOption, there
from galley.plan import read_plan_of
from galley.recipe import SCALES
from galley.stage import Stage, Stages, stages_of

EACH = {
    "model": inspect.Parameter("model", inspect.Parameter.KEYWORD_ONLY, annotation=ModelOption),
    "shard": inspect.Parameter("shard", inspect.Parameter.KEYWORD_ONLY, annotation=ShardOption, default=0),
}

MISSING = inspect.Parameter("missing", inspect.Parameter.KEYWORD_ONLY, annotation=MissingOption, default="stop")


def group(stages: Stages) -> typer.Typer:
    """Return the commands of a recipe's stages."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=stages.doc)
    for stage in stages.values():
        app.command(stage.name.replace("_", "-"), cls=StageCommand)(command(stage))
    return app


class StageCommand(typer.core.TyperCommand):
    """A stage's command, whose help ends in a call of it at its smallest scale."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the call; nothing outside a checkout, where there are no recipes."""
        *_, recipe, name = ctx.command_path.replace("-", "_").split()
        with contextlib.suppress(GalleyError):
            words = example(stages_of(recipe)[name], {param.name: param for param in self.params})
            formatter.write("\n  Example (`snakemake -p` shows every call):\n    " + " \\\n      ".join(words) + "\n")


def example(stage: Stage, params: Mapping[str, Any]) -> list[str]:
    """Return a call of a stage in parts: the first scale, model and shard that have a job, and the options that must be given."""
    plans = ((scale, read_plan_of(stage.recipe, scale, folder=RECIPES)) for scale in SCALES)
    scale, plan = next((scale, plan) for scale, plan in plans if stage.jobs(plan))
    model, results = next(iter(plan.models), ""), f"results/{scale}/{stage.recipe}"
    out = f"{results}/{model}" if "model" in stage.each else results
    values = {
        "scale": scale,
        "model": model,
        "shard": 0,
        "out": out,
        "base": f"results/{scale}/models/{model}",
        "sources": "results/sources",
    }
    if hasattr(plan, "corpus"):
        values["corpus"] = f"results/{scale}/{plan.corpus.name}"
    given = [name for name, param in params.items() if param.required or name in ("scale", *stage.each)]
    texts = {name: getattr(params[name].callback, "example", "") or f"{results}/{name}" for name in given}
    every = {name: values.get(name, text.format(results=results, out=out, recipe=stage.recipe)) for name, text in texts.items()}
    return [f"galley {stage.command}", *(f"{params[name].opts[0]} {value}" for name, value in every.items())]


def command(stage: Stage) -> Callable[..., None]:
    """Return a function with the stage's options that resolves the plan and runs the stage."""

    def run(
        *, out: OutFolderOption, scale: ScaleOption = "laptop", seeds: SeedsOption = None, effort: EffortOption = 1, **given: Any
    ) -> None:
        plan = read_plan_of(stage.recipe, scale, folder=RECIPES, seeds=seeds, effort=effort)
        job = stage.job(plan, scale=scale, out=out, **{name: given.pop(name) for name in stage.each})
        missing = given.pop("missing", "accept")
        check_sources(stage, plan, model=job.model, sources=given.get("sources"), missing=missing)
        with file_lock(job.out / job.name):
            stage.run(job, **given)

    own = list(inspect.signature(run, eval_str=True).parameters.values())[:-1]
    spread = [EACH[name] for name in stage.each]
    every = [as_option(p) for p in (*spread, *own, *stage.takes.values(), *([MISSING] if stage.essential else []))]
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in every}
    run.__doc__ = stage.run.__doc__
    return run


def check_sources(stage: Stage, plan: Any, *, model: str, sources: Path | None, missing: str) -> None:
    """See that the fetched sources of a job have the bytes that were fetched, and that those which it cannot do without are there."""
    names = stage.sources_of(plan, model=model)
    if names and sources is None and stage.essential:
        raise GalleyError(
            f"--sources is not given, and {stage.command} reads {', '.join(names)} by this plan; name the folder of fetched sources"
        )
    if names and sources is not None:
        refuse_absent(names, sources=sources, what=f"what `galley {stage.command}` makes", missing=missing if stage.essential else "accept")


def as_option(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter as an option: typer takes a bare one without a default for an argument."""
    told = get_origin(parameter.annotation) is Annotated
    option = typer.Option(callback=there()) if parameter.annotation in (Path, Path | None) else typer.Option()
    annotation = parameter.annotation if told else Annotated[parameter.annotation, option]
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
