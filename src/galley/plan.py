"""What every recipe's plan has, and how one scale of it is read: seeds asked for, effort, the commits of hub repositories.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from galley.artifact import GalleyError
from galley.data.revisions import Pin, read_pins
from galley.models.spec import Model
from galley.recipe import EFFORT, HowMany, Strict, load_plan, marked, plan_module, recipe_names
from galley.stage import stages_of


class Plan(Strict):
    """One scale of a recipe, resolved; a paper's own plan adds its fields."""

    models: dict[str, Model] = Field(default_factory=dict)
    seeds: HowMany = Field(default=1, ge=1)
    shards: HowMany = Field(default=1, ge=1, description="jobs over which a stage's work is spread")
    data_seed: int = 0

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Name the way out where a stage reads what it did not declare."""
            if name in type(self).model_fields:
                raise GalleyError(f"plan.{name} is read by a stage that does not declare it; add {name!r} to its @stage(...)")
            return super().__getattr__(name)


P = TypeVar("P", bound=Plan)
S = TypeVar("S", bound=Strict)


def read_plan_of(recipe: str, scale: str, *, folder: Path = Path("recipes"), seeds: int | None = None, effort: int = 1) -> Any:
    """Return one scale's plan of a recipe; GalleyError for an unknown one, or seeds for one that trains nothing."""
    names = recipe_names(folder)
    if recipe not in names:
        raise GalleyError(f"recipe is {recipe!r}; known recipes: {', '.join(names)}")
    if seeds not in (None, 1) and not stages_of(recipe).trains:
        raise GalleyError(f"seeds is {seeds}; {recipe} trains nothing, so it takes 1; add items with effort={seeds}")
    return read_plan(Path(folder) / recipe / "recipe.yaml", scale, model=plan_module(recipe).Plan, seeds=seeds, effort=effort)


def read_plan(path: Path, scale: str, *, model: type[P], seeds: int | None = None, effort: int = 1) -> P:
    """Read and check the plan of one scale; `effort` multiplies what the plan marks, `seeds` replaces the recipe's number."""
    if seeds is not None and seeds < 1:
        raise GalleyError(f"seeds is {seeds}; it takes a whole number from 1")
    plan = pinned(load_plan(path, scale=scale, model=model), read_pins(path.parent.parent))
    return grown(plan if seeds is None else plan.model_copy(update={"seeds": seeds}), effort)


def grown(part: S, effort: int) -> S:
    """Return a part of a plan with every number that effort multiplies multiplied."""
    update: dict[str, Any] = {name: getattr(part, name) * effort for name in marked(type(part), EFFORT) if getattr(part, name) is not None}
    update |= {name: grown(value, effort) for name, value in part if isinstance(value, Strict)}
    return part.model_copy(update=update)


def pinned(part: S, pins: Mapping[str, Pin]) -> S:
    """Return a part of a plan with the commits of recipes/revisions.yaml, where the recipe itself names none."""
    update: dict[str, Any] = {}
    for name, value in part:
        if isinstance(value, Strict):
            update[name] = pinned(value, pins)
        elif isinstance(value, dict):
            update[name] = {key: pinned(one, pins) if isinstance(one, Strict) else one for key, one in value.items()}
    repo = repo_of(part)
    if repo is not None and repo in pins and part.revision is None:  # type: ignore[attr-defined]
        update["revision"] = pins[repo].commit
    return part.model_copy(update=update)


def repo_of(part: Strict) -> str | None:
    """Return the hub repository that a part of a plan takes at a commit; None where it takes none."""
    return part.repo if {"repo", "revision"} <= set(type(part).model_fields) else None  # type: ignore[attr-defined]


def repos(part: Strict, *, where: str = "") -> list[tuple[str, str, str | None]]:
    """Return the hub repositories that a plan takes: the field that names it, the repository, its commit."""
    found = []
    for name, value in part:
        inner = value if isinstance(value, dict) else {"": value}
        found += [
            one for key, each in inner.items() if isinstance(each, Strict) for one in repos(each, where=f"{where}.{name}.{key}".strip("."))
        ]
    repo = repo_of(part)
    return [(where, repo, part.revision), *found] if repo else found  # type: ignore[attr-defined]
