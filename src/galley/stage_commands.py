"""A command for each stage that a paper declares: its own options, and those that say which plan and where to.

Source: ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_origin

import typer

from galley.options import RECIPES, EffortOption, ModelOption, OutOption, ScaleOption, SeedsOption, ShardOption
from galley.plan import read_plan_of
from galley.stage import Stage, Stages

EACH = {
    "model": inspect.Parameter("model", inspect.Parameter.KEYWORD_ONLY, annotation=ModelOption),
    "shard": inspect.Parameter("shard", inspect.Parameter.KEYWORD_ONLY, annotation=ShardOption, default=0),
}


def group(stages: Stages) -> typer.Typer:
    """Return the commands of a recipe's stages."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=stages.doc)
    for stage in stages.values():
        app.command(stage.name.replace("_", "-"))(command(stage))
    return app


def command(stage: Stage) -> Callable[..., None]:
    """Return a function with the stage's options that resolves the plan and runs the stage."""

    def run(*, out: OutOption, scale: ScaleOption = "laptop", seeds: SeedsOption = None, effort: EffortOption = 1, **given: Any) -> None:
        plan = read_plan_of(stage.recipe, scale, folder=RECIPES, seeds=seeds, effort=effort)
        job = stage.job(plan, scale=scale, out=out, **{name: given.pop(name) for name in stage.each})
        stage.run(job, **given)

    own = list(inspect.signature(run, eval_str=True).parameters.values())[:-1]
    spread = [EACH[name] for name in stage.each]
    every = [as_option(p) for p in (*spread, *own, *stage.takes.values())]
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in every}
    run.__doc__ = stage.run.__doc__
    return run


def as_option(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter as an option: typer takes a bare one without a default for an argument."""
    told = get_origin(parameter.annotation) is Annotated
    annotation = parameter.annotation if told else Annotated[parameter.annotation, typer.Option()]
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
