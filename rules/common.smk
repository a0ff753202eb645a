"""Functions that the rules share; no rules here."""

import functools
import os
from pathlib import Path

from galley.artifact import GalleyError, code_digest, digest
from galley.papers.mha2mla.plan import read_plan
from snakemake.exceptions import WorkflowError

RECIPES = ["mha2mla"]
KNOWN = {"scale", "effort", "seeds", "mirror"}


def check_config():
    """Refuse a wrong configuration before anything runs."""
    unknown = sorted(set(config) - KNOWN)
    if unknown:
        raise WorkflowError(f"config: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(KNOWN))}")
    for key, low in {"effort": 1, "seeds": 1}.items():
        value = config[key]
        if value is not None and (not isinstance(value, int) or value < low):
            raise WorkflowError(f"config: {key} is {value!r}; it takes a whole number from {low}, as in --config {key}=4")
    mirror = config["mirror"] or os.environ.get("GALLEY_MIRROR")
    if mirror and not Path(mirror).is_dir():
        raise WorkflowError(f"config: mirror is {mirror!r}, which is not a folder; unset GALLEY_MIRROR or name one that exists")
    mha2mla_plan(config["scale"])  # a wrong scale or recipe stops here, with its own message


def mirror_flag(wildcards=None):
    """Return the --mirror flag, absolute; it is where bytes come from, not what they are."""
    mirror = config["mirror"] or os.environ.get("GALLEY_MIRROR")
    return f"--mirror {Path(mirror).resolve()}" if mirror else ""


@functools.lru_cache
def mha2mla_plan(scale):
    """Return the resolved plan of a scale, or stop with the recipe's error."""
    try:
        return read_plan(
            Path("recipes/mha2mla/recipe.yaml"),
            scale,
            seeds=config["seeds"],
            effort=config["effort"],
        )
    except GalleyError as error:
        raise WorkflowError(str(error))


def plan_flags():
    """Return the flags that make a stage resolve the same plan as the DAG."""
    seeds = f" --seeds {config['seeds']}" if config["seeds"] is not None else ""
    return f"--effort {config['effort']}{seeds}"


@functools.lru_cache
def code(module):
    """Return the digest of a stage's code, so that a change of method reruns what depends on it."""
    return code_digest(module)


def share(jobs):
    """Return the threads of one of `jobs` jobs that run side by side: an even share of the cores, at least one."""
    return max(1, (workflow.cores or jobs) // jobs)


def part(*fields):
    """Return a function from wildcards to the digest of the named plan fields."""

    def of(wildcards):
        plan = mha2mla_plan(wildcards.scale)
        return digest({f: getattr(plan, f) for f in fields} | {"v": [m.model_dump() for m in plan.arms] if "arms" in fields else 0})

    return of


def mha2mla_parts(kind):
    """Return a function that lists the items or runs files of all models of the configured scale."""

    def files(wildcards):
        plan = mha2mla_plan(config["scale"])
        stages = ["structure", *(f"arms-{n}" for n in range(plan.shards))]
        return expand(
            "results/{scale}/mha2mla/{model}/{stage}.{kind}",
            scale=config["scale"],
            model=plan.models,
            stage=stages,
            kind=kind,
        )

    return files


check_config()
