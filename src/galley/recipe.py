"""Recipes as data: strict YAML that names file and line when something is wrong.

A recipe file has a header (what, which paper, which question), `defaults`, and one
overlay per scale. The overlay is merged over the defaults and checked by the paper's
own plan model. Light on purpose: the Snakefile imports this on every parse.

Source: ours.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from galley.artifact import GalleyError

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper")


class Strict(BaseModel):
    """A model that refuses unknown keys and cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Mark:
    """What a number of a plan is to the house, said on its field."""

    name: str


EFFORT, HOW_MANY, COST = Mark("effort"), Mark("how many"), Mark("cost")
TimesEffort = Annotated[int, EFFORT]  # `effort` multiplies it
HowMany = Annotated[int, HOW_MANY]  # units of work, not what one is: a finished unit outlives its change
# The mark COST: what a job is given or is said to take, such as GPUs; it changes nothing of what is computed


def marked(model: type[BaseModel], mark: Mark) -> set[str]:
    """Return the fields of a model that carry a mark, optional ones (`HowMany | None`) too."""
    found = {name for name, field in model.model_fields.items() if mark in field.metadata}
    for name, field in model.model_fields.items():
        if any(mark in getattr(part, "__metadata__", ()) for part in get_args(field.annotation)):
            found.add(name)
    return found


def identity(value: Any, *, without: tuple[Mark, ...] = (HOW_MANY, COST)) -> Any:
    """Return a part of a plan as plain values, without what only says how many units of work there are or what they cost."""
    if isinstance(value, BaseModel):
        left_out = set().union(*(marked(type(value), mark) for mark in without))
        return {name: identity(part, without=without) for name, part in value if name not in left_out}
    if isinstance(value, dict):
        return {str(name): identity(part, without=without) for name, part in value.items()}
    return [identity(part, without=without) for part in value] if isinstance(value, list | tuple) else value


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
    """Return the paper's module that has its `Plan`."""
    return importlib.import_module(f"galley.papers.{recipe}.plan")


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
            line = next((n for n in (line_of(node, (*start, *loc)) for start in (prefix or ((),))) if n), None)
            where = f"{path}:{line}" if line else f"{path}"
            known = _known_keys(model, loc[:-1])
            hint = f"; known keys: {', '.join(known)}" if fault["type"] == "extra_forbidden" and known else ""
            got = "" if isinstance(fault.get("input"), dict) else f" (got {fault.get('input')!r})"
            lines.append(f"{where}: {'.'.join(loc)}: {fault['msg']}{got}{hint}")
        raise GalleyError("\n".join(lines)) from None


def line_of(node: yaml.Node | None, loc: tuple[str, ...]) -> int | None:
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
