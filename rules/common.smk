"""Functions that the rules share; no rules here."""

import functools
import os
from pathlib import Path

from galley.artifact import GalleyError, code_digest, digest
from galley.recipe import plan_module, read_plan_of, recipe_names
from snakemake.exceptions import WorkflowError

# OpenMP threads that spin while they wait took five times the CPU on a machine that does other work too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
RECIPES = recipe_names(Path("recipes"))
KNOWN = {"scale", "effort", "seeds", "mirror", "device"}
DEVICES = ("auto", "cpu", "cuda")


def check_config():
    """Refuse a wrong configuration before anything runs."""
    unknown = sorted(set(config) - KNOWN)
    if unknown:
        raise WorkflowError(f"config: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(KNOWN))}")
    for key, low in {"effort": 1, "seeds": 1}.items():
        value = config[key]
        if value is not None and (not isinstance(value, int) or value < low):
            raise WorkflowError(f"config: {key} is {value!r}; it takes a whole number from {low}, as in --config {key}=4")
    if config["device"] not in DEVICES:
        raise WorkflowError(f"config: device is {config['device']!r}; allowed: {', '.join(DEVICES)}")
    mirror = config["mirror"] or os.environ.get("GALLEY_MIRROR")
    if mirror and not Path(mirror).is_dir():
        raise WorkflowError(f"config: mirror is {mirror!r}, which is not a folder; unset GALLEY_MIRROR or name one that exists")
    for name in RECIPES:  # a wrong scale or recipe stops here, with its own message
        plan_of(name, config["scale"])
    check_shared(config["scale"])


def mirror_flag(wildcards=None):
    """Return the --mirror flag, absolute; it is where bytes come from, not what they are."""
    mirror = config["mirror"] or os.environ.get("GALLEY_MIRROR")
    return f"--mirror {Path(mirror).resolve()}" if mirror else ""


def device_flag(recipe):
    """Return a function from wildcards to the --device flag; where no GPU is asked for, auto and cpu are the same."""

    def of(wildcards):
        wanted = config["device"]
        return "--device " + ("cpu" if wanted == "auto" and not gpus_of(recipe)(wildcards) else wanted)

    return of


def gpus_of(recipe):
    """Return a function from wildcards to the GPUs of the model's jobs; none when everything is to run on the CPU."""

    def of(wildcards):
        return 0 if config["device"] == "cpu" else plan_of(recipe, wildcards.scale).models[wildcards.model].gpus

    return of


def seeds_of(recipe):
    """Return the seeds asked for; None for a recipe that trains nothing, whatever the others are asked for."""
    return config["seeds"] if plan_module(recipe).TRAINS else None


@functools.lru_cache
def plan_of(recipe, scale):
    """Return the resolved plan of a recipe's scale, or stop with the recipe's error."""
    try:
        return read_plan_of(recipe, scale, seeds=seeds_of(recipe), effort=config["effort"])
    except GalleyError as error:
        raise WorkflowError(str(error))


def made_of(spec):
    """Return what decides a model's files; how many GPUs a recipe gives it does not."""
    return spec.model_dump(include={"kind", "source", "repo", "revision", "scratch"})


def check_shared(scale):
    """Refuse recipes that disagree about a model of the same name or about the text: both are made once a scale."""
    models, corpora = {}, {}
    for name in RECIPES:
        plan = plan_of(name, scale)
        if scale != "paper" and hasattr(plan, "corpus"):
            corpora[name] = plan.corpus
        for model, spec in plan.models.items():
            other, seen = models.setdefault(model, (name, spec))
            if made_of(seen) != made_of(spec):
                raise WorkflowError(f"models.{model} differs between recipes/{other} and recipes/{name}; give one of them another name")
    first = next(iter(corpora), None)
    for name, corpus in corpora.items():
        if corpus != corpora[first]:
            raise WorkflowError(f"corpus differs between recipes/{first} and recipes/{name} at {scale} scale; make them equal")


def recipe_with(wildcards):
    """Return the first recipe whose plan has the model."""
    names = [name for name in RECIPES if wildcards.model in plan_of(name, wildcards.scale).models]
    if not names:
        raise WorkflowError(f"no recipe has a model {wildcards.model!r} at {wildcards.scale} scale")
    return names[0]


def plan_flags(recipe="mha2mla"):
    """Return the flags that make a stage resolve the same plan as the DAG."""
    seeds = f" --seeds {seeds_of(recipe)}" if seeds_of(recipe) is not None else ""
    return f"--effort {config['effort']}{seeds}"


@functools.lru_cache
def code(module):
    """Return the digest of a stage's code, so that a change of method reruns what depends on it."""
    return code_digest(module)


def share(jobs):
    """Return the threads of one of `jobs` jobs that run side by side: an even share of the cores, at least one."""
    return max(1, (workflow.cores or jobs) // jobs)


def part(*fields, recipe="mha2mla"):
    """Return a function from wildcards to the digest of the named plan fields."""

    def of(wildcards):
        plan = plan_of(recipe, wildcards.scale)
        return digest({f: getattr(plan, f) for f in fields})

    return of


def parts(recipe, kind):
    """Return the items or runs files that a recipe's stages leave at the configured scale, as its plan names them."""
    scale = config["scale"]
    return [f"results/{scale}/{recipe}/{stage}.{kind}" for stage in plan_of(recipe, scale).stages()]


def sources_of(wildcards):
    """Return the sources of a scale: at paper scale the hub's benchmarks too."""
    names = OPTIONAL + (HUB_BENCHMARKS if wildcards.scale == "paper" else [])
    return expand("results/sources/{source}", source=names)


def longbench_of(wildcards):
    """Return LongBench's sources: what anyone can fetch, and at paper scale the hub's archive of all tasks."""
    return [path for path in sources_of(wildcards) if "longbench" in path]


def codeseq_sources(wildcards):
    """Return the fetched folders that a scale reads: sequences, their functions, and the benchmarks to keep out of the data."""
    if plan_of("codeseq", wildcards.scale).synthesis.sequences == "generated":
        return []
    return expand("results/sources/{source}", source=["oeis_records", "oeissequences", "humaneval", "mbpp"])


def unitcoder_agent(wildcards):
    """Return the directory of the local model that writes, debugs and refines, where the plan names one."""
    agents = plan_of("unitcoder", wildcards.scale).agents
    return f"results/{wildcards.scale}/models/{agents.model}" if agents.kind == "local" else []


check_config()
