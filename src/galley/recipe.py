"""Recipes as data: strict YAML that names file and line when something is wrong.

A recipe file has a header (what, which paper, which question), `defaults`, and one
overlay per scale. The overlay is merged over the defaults and checked by the paper's
own plan model. Light on purpose: the Snakefile imports this on every parse.

Source: ours.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from galley.artifact import GalleyError, digest
from galley.declared import NOT_BLANK, ONE_LINE, Loc, checked, read_yaml, refusal
from galley.seen import visible

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper")
DEVICES = ("auto", "cpu", "cuda")  # auto: what the plan's model asks for
MISSING = ("stop", "accept")  # where a source is out of reach without which another thing would be made
MOST = 1000  # seeds, shards or times the effort: more would be a slip of the hand, and none of the plans has work for more
FILES = ("recipe.yaml", "claims.yaml", "paper_values.csv", "README.md")  # of a recipe's folder
SAID = "GALLEY_SAID"  # the variable that holds what was said of unfinished recipes
GO_HOME = "go to the project's folder, the one with Snakefile and recipes/ (cd galley), and run the command there"


Text = Annotated[str, Field(pattern=NOT_BLANK)]
Name = Annotated[str, Field(pattern=ONE_LINE)]  # of a method, a metric, a repository: what stands in cells, paths and lines


def _whole(value: Any) -> Any:
    if type(value) in (bool, float):
        raise ValueError("one of several whole numbers is written without a point")
    return value


WHOLE = BeforeValidator(_whole)  # of a choice of numbers, to which 2.0 is 2


class Strict(BaseModel):
    """A model that refuses unknown keys, values of another type ("3", 3.0 or true for 3), infinity and NaN, and cannot change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


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


def fewer(model: BaseModel, part: str, whole: str, *, of: int | None = None, or_all: bool = False) -> None:
    """Refuse a number that is said to be a part of another and is not fewer: ValueError. `of`: the whole, where it is no field."""
    one, all_of_it = getattr(model, part), getattr(model, whole) if of is None else of
    if one is not None and all_of_it is not None and (one > all_of_it or (one == all_of_it and not or_all)):
        raise ValueError(f"{part} is {one}, a part of {whole}, of which there are {all_of_it}; lower {part}, or raise {whole}")


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

    recipe: Name = Field(description="short key, also the table's name")
    title: Text = Field(description="the paper's title")
    paper: Text = Field(description="where the paper is, such as arXiv:2502.14837")
    question: Text = Field(description="what the table answers, in one sentence")
    defaults: dict[str, Any] = Field(description="settings that all scales share")
    scales: dict[Scale, dict[str, Any]] = Field(description="per scale, what differs from the defaults")


P = TypeVar("P", bound=Strict)


def load_plan(path: Path, *, scale: str, model: type[P], name: str | None = None) -> P:
    """Resolve one scale of a recipe against a paper's plan model; errors name file, line and field.

    With a `name`, the file must be that recipe's.
    """
    if scale not in SCALES:
        raise GalleyError(f"scale is {scale!r}; allowed: {', '.join(SCALES)}; pass --config scale=laptop")
    document = read_yaml(path, what="recipe", home="recipes/<name>/recipe.yaml")
    recipe: Recipe = checked(Recipe, document)
    if name is not None and recipe.recipe != name:
        where = f"{path}:{document.line(('recipe',))}"
        raise GalleyError(f"{where}: recipe is {recipe.recipe!r}; it is the name of its folder, {name!r}: write that, or rename the folder")
    if scale not in recipe.scales:
        raise GalleyError(f"{path}: scales has no {scale!r}; it has {', '.join(recipe.scales)}")
    merged = merge(recipe.defaults, recipe.scales[scale])  # type: ignore[index]
    try:
        return model.model_validate(merged)
    except ValidationError as error:

        def line(loc: Loc) -> int | None:
            found = (document.line((*start, *loc)) for start in (("scales", scale), ("defaults",)))
            return next((number for number in found if number), None)

        raise refusal(error, kind=model, path=path, line_of=line) from None


def recipe_names(folder: Path) -> list[str]:
    """Return the whole recipes of a folder; of each one that is not finished a line on the console says what is missing."""
    lacks = {name: missing(name, folder) for name in _begun(folder)}
    lines = [f"recipes/{name} is left out: it lacks {', '.join(parts)}; see docs/add_a_recipe.md" for name, parts in lacks.items() if parts]
    said = digest(lines)
    if lines and os.environ.get(SAID) != said:  # Snakemake reads its rules again in each job's process, which has our environment
        os.environ[SAID] = said
        sys.stderr.write("".join(f"{visible(line)}\n" for line in lines))
    return [name for name, parts in lacks.items() if not parts]


def _begun(folder: Path) -> list[str]:
    """Return the folders of recipes, whole or not: those that hold a file that a recipe has, or nothing."""
    folders = sorted(path for path in Path(folder).glob("*/") if not path.name.startswith((".", "_")))
    return [path.name for path in folders if any((path / file).exists() for file in FILES) or not any(path.iterdir())]


def missing(name: str, folder: Path, *, plan_alone: bool = False) -> list[str]:
    """Return what a recipe still lacks to be run or, with `plan_alone`, for its plan to be read; paths are the project's."""
    if not name.isidentifier():
        return ["a name of letters, digits and _, as its module has"]
    papers, rules = Path(__file__).parent / "papers", Path(folder).absolute().parent / "rules"
    code = {f"src/galley/papers/{name}/{part}.py": papers / name / f"{part}.py" for part in ("plan", "stages")}
    code |= {} if plan_alone else {f"rules/{name}.smk": rules / f"{name}.smk"}
    own = {f"recipes/{name}/{file}": Path(folder) / name / file for file in FILES[: 1 if plan_alone else None]}
    lacks = [where for where, path in own.items() if not path.exists()]
    return lacks + [where for where, path in code.items() if not (path.is_file() and path.stat().st_size)]


def known_recipe(name: str, folder: Path) -> None:
    """Refuse a name that is no recipe whose plan can be read: GalleyError with the names that are, or with what it lacks."""
    begun = _begun(folder)
    if not begun:
        raise GalleyError(f"recipe is {name!r}; there are no recipes in {Path(folder).absolute()}: {GO_HOME}")
    if name not in begun:
        known = ", ".join(one for one in begun if not missing(one, folder, plan_alone=True))
        raise GalleyError(f"recipe is {name!r}; known recipes: {known}")
    lacks = missing(name, folder, plan_alone=True)
    if lacks:
        raise GalleyError(f"recipe is {name!r}, which is not finished: it lacks {', '.join(lacks)}; see docs/add_a_recipe.md")


def plan_module(recipe: str) -> ModuleType:
    """Return the paper's module that has its `Plan`."""
    return importlib.import_module(f"galley.papers.{recipe}.plan")


def merge(base: Any, over: Any) -> Any:
    """Merge two trees of mappings: `over` wins, lists and scalars are replaced whole."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merge(base.get(key), over[key]) if key in over else base[key] for key in [*base, *(k for k in over if k not in base)]}
    return over
