"""A stage, declared once: what it reads of the plan, and what it takes. Its command, its rule's parameters and its jobs follow.

A paper's `stages.py` has one light function a stage, in the order of the flow. The first parameter is the job; the others are the
command's options, and a rule's inputs go to those of the same name. The imports stand inside: they say whose code the stage is, so
that a rule's digest is of what its command runs. Light on purpose: the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from galley.artifact import GalleyError, Stopwatch, code_digest, digest, galley_imports
from galley.recipe import COST, HOW_MANY, identity, marked

T = TypeVar("T")
Names = Sequence[str] | Callable[[Any], Sequence[str]]


@dataclass(frozen=True)
class Job:
    """One run of a stage: its part of the plan, where it leaves its rows, and a key of all that its code and plan decide.

    The key holds no number of seeds or shards: more of them add units of work and leave the finished ones as they are. `planned` is the
    digest that holds them (`Stage.plan_digest`): what the job leaves is whole by the plan of that digest.
    """

    recipe: str
    stage: str
    scale: str
    plan: Any
    out: Path
    key: str
    model: str = "none"
    shard: int | None = None
    shards: int = 1
    planned: str = ""
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def name(self) -> str:
        """Return what the job's rows are called: the stage, and its shard where it has some."""
        return self.stage if self.shard is None else f"{self.stage}-{self.shard}"

    @property
    def leaf(self) -> str:
        """Return the job's name among all of a recipe, as `Stage.leaves` has it."""
        return self.name if self.model == "none" else f"{self.model}/{self.name}"

    @property
    def spec(self) -> Any:
        """Return the settings of the job's model."""
        return self.plan.models[self.model]

    @property
    def state(self) -> Path:
        """Return the folder of what survives an interruption; another plan or other code has another."""
        return self.out / "state" / self.key

    def mine(self, units: Sequence[T]) -> Sequence[T]:
        """Return this job's share of the units of work, dealt in turn so that costs even out."""
        return units[self.shard or 0 :: self.shards]


@dataclass(frozen=True)
class Stage:
    """A step of a recipe; `each` says over what its jobs are spread: models, shards, both or nothing."""

    recipe: str
    name: str
    reads: tuple[str, ...]
    run: Callable[..., None]
    each: tuple[str, ...] = ()
    sources: Names = ()
    essential: bool = False
    units: Callable[[Any], int] = lambda plan: 1
    when: Callable[[Any], Any] = lambda plan: True

    @property
    def command(self) -> str:
        """Return the words that call the stage on the command line."""
        return f"{self.recipe} {self.name}".replace("_", "-")

    @functools.cached_property
    def takes(self) -> dict[str, inspect.Parameter]:
        """Return the options by name, as the function declares them."""
        return dict(list(inspect.signature(self.run, eval_str=True).parameters.items())[1:])

    def sources_of(self, plan: Any, *, model: str | None = None) -> list[str]:
        """Return the fetched sources that the stage reads by a plan; of a job with a model, by that model alone."""
        return list(self.sources(self.own(plan, model)) if callable(self.sources) else self.sources)

    def own(self, plan: Any, model: str | None) -> Any:
        """Return a plan with the model of one job alone, where each has its own."""
        apart = "model" in self.each and model in plan.models
        return plan.model_copy(update={"models": {model: plan.models[model]}}) if apart else plan

    def job(self, plan: Any, *, scale: str, out: Path, model: str = "none", shard: int | None = None) -> Job:
        """Return a run of this stage by a plan, one of its jobs; GalleyError for a model or a shard that the scale has not."""
        if "model" in self.each and model not in plan.models:
            raise GalleyError(f"model is {model!r}; this scale's models: {', '.join(plan.models) or 'none'}")
        shards = plan.shards if "shard" in self.each else 1
        if shard is not None and not 0 <= shard < shards:
            raise GalleyError(f"shard is {shard}; this scale has shards 0 to {shards - 1}")
        part = self.part(plan, model=model)
        key = digest([self.recipe, self.name, scale, model, self.settings(part), self.code_digest()])
        planned = self.plan_digest(plan, model=model)
        return Job(self.recipe, self.name, scale, part, Path(out), key, model, shard, shards, planned)

    def fields(self) -> list[str]:
        """Return the plan fields that the stage reads: the declared ones, and the models where each has its own job."""
        return [*self.reads, *(["models"] if "model" in self.each and "models" not in self.reads else [])]

    def part(self, plan: Any, *, model: str = "none") -> Any:
        """Return the plan with the declared fields alone, and of the models the job's own.

        Reading another field is an error: a change of it would not run the stage again.
        """
        known = set(type(plan).model_fields)
        unknown = sorted(set(self.reads) - known)
        if unknown:
            raise GalleyError(f"stage {self.name} of {self.recipe} reads plan.{unknown[0]}; the plan has {', '.join(sorted(known))}")
        part = self.own(plan, model).model_copy()
        for name in known - set(self.fields()):
            del part.__dict__[name]
        return part

    def settings(self, part: Any) -> dict[str, Any]:
        """Return what a part of a plan decides of each unit of work, as plain values."""
        return {name: identity(getattr(part, name)) for name in self.fields() if name not in marked(type(part), HOW_MANY)}

    def plan_digest(self, plan: Any, *, model: str = "none") -> str:
        """Return a digest of the part of a plan that a job reads, with the numbers of seeds and shards: what it leaves depends on them."""
        part = self.part(plan, model=model)
        values = {name: identity(getattr(part, name), without=(COST,)) for name in self.fields()}
        return digest([values, plan.shards if "shard" in self.each else 1])

    def code_digest(self) -> str:
        """Return a digest of the stage's own lines, of what its file says by the names in them, and of the code that these import."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(self.run)))
        (function,) = tree.body
        assert isinstance(function, ast.FunctionDef)
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines: list[ast.stmt] = [
            *body,
            *(ast.Expr(default) for default in (*function.args.defaults, *function.args.kw_defaults) if default),
        ]
        lines += named(ast.Module(lines, []), ast.parse(Path(inspect.getsourcefile(self.run) or "").read_text(encoding="utf-8")))
        module = ast.Module(lines, [])
        return digest([ast.dump(module), *(code_digest(name) for name in sorted(set(galley_imports(module))))])

    def leaves(self, plan: Any) -> list[str]:
        """Return what the stage's jobs leave, under results/<scale>/<recipe>/: items and runs of these names."""
        if not self.when(plan):
            return []
        names = [f"{self.name}-{n}" for n in range(plan.shards)] if "shard" in self.each else [self.name]
        return [f"{model}/{name}" for model in plan.models for name in names] if "model" in self.each else names

    def planned(self, plan: Any) -> dict[str, str]:
        """Return what the stage's jobs leave, each with the digest of its part of the plan."""
        own = "model" in self.each
        return {leaf: self.plan_digest(plan, model=leaf.rpartition("/")[0] if own else "none") for leaf in self.leaves(plan)}

    def jobs(self, plan: Any) -> int:
        """Return the number of the stage's jobs."""
        return len(self.leaves(plan))


def named(body: ast.Module, file: ast.Module) -> list[ast.stmt]:
    """Return the statements of a file that bind the names in a body, and those that these need in their turn."""
    bound = {name: statement for statement in file.body for name in _bound(statement)}
    found: list[ast.stmt] = []
    todo: list[ast.AST] = [body]
    while todo:
        names = {node.id for node in ast.walk(todo.pop()) if isinstance(node, ast.Name)}
        more = [statement for name, statement in bound.items() if name in names and statement not in found]
        found += more
        todo += more
    return found


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return [statement.name] if isinstance(statement, ast.FunctionDef | ast.ClassDef) else []


class Stages(dict[str, Stage]):
    """A recipe's stages by name, in the order of the flow; called with plan fields, a decorator that declares one."""

    def __init__(self, recipe: str) -> None:
        super().__init__()
        self.recipe = recipe

    def __call__(
        self,
        *reads: str,
        each: tuple[str, ...] = (),
        sources: Names = (),
        essential: bool = False,
        units: Callable[[Any], int] = lambda plan: 1,
        when: Callable[[Any], Any] = lambda plan: True,
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Declare the function below as a stage that reads these fields of the plan.

        `each`: over what its jobs are spread, "model", "shard" or both. `sources`: the fetched sources that it reads, or a function of
        the plan that tells; `essential`: what the stage makes for others would be another thing without one of them, not a table with gaps.
        `units`: how many pieces of work a model's jobs share. `when`: whether a plan has the stage at all.
        """

        def declare(run: Callable[..., None]) -> Callable[..., None]:
            own = ("out", "scale", "seeds", "effort", *each)
            taken = [name for name in list(inspect.signature(run).parameters)[1:] if name in own]
            if taken or run.__name__ in self:
                what = f"the option {taken[0]!r}, which comes by itself" if taken else "the name of another stage"
                raise ValueError(f"stage {run.__name__} of {self.recipe} has {what}; give it another name")
            self[run.__name__] = Stage(self.recipe, run.__name__, reads, run, each, sources, essential, units, when)
            return run

        return declare

    @property
    def trains(self) -> bool:
        """Return whether seeds matter: a stage reads them."""
        return any("seeds" in stage.reads for stage in self.values())

    @property
    def doc(self) -> str:
        """Return what the recipe's module says of its stages, in a sentence."""
        module = sys.modules[next(iter(self.values())).run.__module__]
        return (module.__doc__ or "").split("\n\n")[0].strip()

    def leaves(self, plan: Any) -> list[str]:
        """Return what all stages leave."""
        return [name for stage in self.values() for name in stage.leaves(plan)]

    def planned(self, plan: Any) -> dict[str, str]:
        """Return what all jobs leave, each with the digest of its part of the plan."""
        return {leaf: planned for stage in self.values() for leaf, planned in stage.planned(plan).items()}

    def sources_of(self, plan: Any) -> list[str]:
        """Return the sources that the stages of a plan read, each once."""
        stages = [stage for stage in self.values() if stage.jobs(plan)]
        return list(dict.fromkeys(name for stage in stages for name in stage.sources_of(plan)))

    def jobs(self, plan: Any) -> dict[str, int]:
        """Return the number of jobs of each rule."""
        return {f"{self.recipe}_{name}": stage.jobs(plan) for name, stage in self.items()}


def stages_of(recipe: str) -> Stages:
    """Return the stages of a recipe."""
    return importlib.import_module(f"galley.papers.{recipe}.stages").stage
