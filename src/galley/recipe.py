"""Recipes as data: strict YAML that names file and line when something is wrong.

A recipe file has a header (what, which paper, which question), `defaults`, and one
overlay per scale. The overlay is merged over the defaults and checked by the paper's
own plan model. Light on purpose: the Snakefile imports this on every parse.

Source: ours.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from galley.artifact import GalleyError

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper")


class Strict(BaseModel):
    """A model that refuses unknown keys and cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(Strict):
    """A recipe file's header and its still unresolved scales."""

    recipe: str = Field(description="short key, also the table's name")
    title: str = Field(description="the paper's title")
    paper: str = Field(description="where the paper is, such as arXiv:2502.14837")
    question: str = Field(description="what the table answers, in one sentence")
    defaults: dict[str, Any] = Field(description="settings that all scales share")
    scales: dict[Scale, dict[str, Any]] = Field(description="per scale, what differs from the defaults")


P = TypeVar("P", bound=Strict)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file; a GalleyError names file, line and field."""
    node, raw = _read(path)
    return _validate(Recipe, raw, node=node, path=path, prefix=())


def load_plan(path: Path, *, scale: str, model: type[P]) -> P:
    """Resolve one scale of a recipe against a paper's plan model; errors name file, line and field."""
    if scale not in SCALES:
        raise GalleyError(f"scale is {scale!r}; allowed: {', '.join(SCALES)}; pass --config scale=laptop")
    node, raw = _read(path)
    recipe = _validate(Recipe, raw, node=node, path=path, prefix=())
    if scale not in recipe.scales:
        raise GalleyError(f"{path}: scales has no {scale!r}; it has {', '.join(recipe.scales)}")
    merged = merge(recipe.defaults, recipe.scales[scale])  # type: ignore[index]
    return _validate(model, merged, node=node, path=path, prefix=(("scales", scale), ("defaults",)))


def recipe_names(folder: Path) -> list[str]:
    """Return the recipes in a folder."""
    return sorted(path.parent.name for path in Path(folder).glob("*/recipe.yaml"))


def plan_module(recipe: str) -> ModuleType:
    """Return the paper's module that has `Plan` and `read_plan`."""
    return importlib.import_module(f"galley.papers.{recipe}.plan")


def read_plan_of(recipe: str, scale: str, *, folder: Path = Path("recipes"), seeds: int | None = None, effort: int = 1) -> Any:
    """Return one scale's plan of a recipe, by the `read_plan` of the paper of that name; GalleyError for an unknown recipe."""
    names = recipe_names(folder)
    if recipe not in names:
        raise GalleyError(f"recipe is {recipe!r}; known recipes: {', '.join(names)}")
    return plan_module(recipe).read_plan(Path(folder) / recipe / "recipe.yaml", scale, seeds=seeds, effort=effort)


def merge(base: Any, over: Any) -> Any:
    """Merge two trees of mappings: `over` wins, lists and scalars are replaced whole."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merge(base.get(key), over[key]) if key in over else base[key] for key in [*base, *(k for k in over if k not in base)]}
    return over


def _read(path: Path) -> tuple[yaml.Node, dict[str, Any]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        node, raw = yaml.compose(text), yaml.safe_load(text)
    except FileNotFoundError:
        raise GalleyError(f"no recipe at {path}; recipes live in recipes/<name>/recipe.yaml") from None
    except yaml.YAMLError as error:
        raise GalleyError(f"{path}: not valid YAML: {error}") from None
    if node is None or not isinstance(raw, dict):
        raise GalleyError(f"{path}: expected a mapping at the top of the file")
    return node, raw


def _validate(model: type[P], raw: dict[str, Any], *, node: yaml.Node, path: Path, prefix: tuple[tuple[str, ...], ...]) -> P:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            loc = tuple(str(part) for part in fault["loc"])
            line = next((n for n in (_line(node, (*start, *loc)) for start in (prefix or ((),))) if n), None)
            where = f"{path}:{line}" if line else f"{path}"
            known = _known_keys(model, loc[:-1])
            hint = f"; known keys: {', '.join(known)}" if fault["type"] == "extra_forbidden" and known else ""
            got = "" if isinstance(fault.get("input"), dict) else f" (got {fault.get('input')!r})"
            lines.append(f"{where}: {'.'.join(loc)}: {fault['msg']}{got}{hint}")
        raise GalleyError("\n".join(lines)) from None


def _line(node: yaml.Node | None, loc: tuple[str, ...]) -> int | None:
    """Return the line (from 1) of a key path; None when the path is not in the file."""
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if str(k.value) == part), None)
            if found is None:
                return None
            if last:
                return int(found[0].start_mark.line) + 1
            node = found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            if last:
                return int(node.start_mark.line) + 1
        else:
            return None
    return None


def _known_keys(model: type[BaseModel], loc: tuple[str, ...]) -> list[str]:
    current: Any = model
    for part in loc:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        field = current.model_fields.get(part)
        if field is None:
            return []
        current = field.annotation
    return sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
