"""What every recipe's plan has, and how one scale of it is read: seeds asked for, effort, the commits of hub repositories.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from galley.artifact import GalleyError
from galley.data.revisions import Pin, read_pins
from galley.models.spec import Model, ModelName
from galley.recipe import EFFORT, MOST, HowMany, Strict, known_recipe, load_plan, marked, plan_module
from galley.stage import stages_of


class Plan(Strict):
    """One scale of a recipe, resolved; a paper's own plan adds its fields."""

    models: dict[ModelName, Model] = Field(default_factory=dict)
    seeds: HowMany = Field(default=1, ge=1, le=MOST)
    shards: HowMany = Field(default=1, ge=1, le=MOST, description="jobs over which a stage's work is spread")
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
    known_recipe(recipe, folder)
    _asked(seeds=seeds, effort=effort)
    if seeds not in (None, 1) and not stages_of(recipe).trains:
        raise GalleyError(f"seeds is {seeds}; {recipe} trains nothing, so it takes 1; add items with effort={seeds}")
    path = Path(folder) / recipe / "recipe.yaml"
    return read_plan(path, scale, model=plan_module(recipe).Plan, seeds=seeds, effort=effort, name=recipe)


def _asked(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if (number is None and name == "seeds") or (type(number) is int and 1 <= number <= MOST):  # True is an int to isinstance
            continue
        raise GalleyError(f"{name} is {number!r}; it takes a whole number from 1 to {MOST}")


def read_plan(path: Path, scale: str, *, model: type[P], seeds: int | None = None, effort: int = 1, name: str | None = None) -> P:
    """Read and check the plan of one scale; `effort` multiplies what the plan marks, `seeds` replaces the recipe's number.

    With a `name`, the file must be that recipe's.
    """
    _asked(seeds=seeds, effort=effort)
    plan = pinned(load_plan(path, scale=scale, model=model, name=name), read_pins(path.parent.parent))
    return grown(plan if seeds is None else plan.model_copy(update={"seeds": seeds}), effort)


def changed(part: S, change: Callable[[Strict], dict[str, Any]]) -> S:
    """Return a part of a plan with every part in it, however deep, updated by what `change` says of it."""

    def inside(value: Any) -> Any:
        if isinstance(value, Strict):
            return changed(value, change)
        if isinstance(value, dict):
            return {key: inside(one) for key, one in value.items()}
        return [inside(one) for one in value] if isinstance(value, list) else value

    return part.model_copy(update={name: inside(value) for name, value in part} | change(part))


def grown(plan: S, effort: int) -> S:
    """Return a plan with every number that effort multiplies multiplied."""

    def more(part: Strict) -> dict[str, Any]:
        numbers = {name: getattr(part, name) for name in marked(type(part), EFFORT)}
        return {name: number * effort for name, number in numbers.items() if number is not None}

    return changed(plan, more)


def pinned(plan: S, pins: Mapping[str, Pin]) -> S:
    """Return a plan with the commits of recipes/revisions.yaml, where the recipe itself names none."""

    def commit(part: Strict) -> dict[str, Any]:
        repo = repo_of(part)
        return {"revision": pins[repo].commit} if repo in pins and part.revision is None else {}  # type: ignore[attr-defined,index]

    return changed(plan, commit)


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
