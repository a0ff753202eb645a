"""Functions that the rules share; no rules here. What a rule says of its stage it asks of the stage's declaration and of the plan."""

import functools
import os
import shlex
import sys
from pathlib import Path

from galley import cluster, cost
from galley.artifact import GalleyError, code_digest, digest
from galley.clock import no_later_than_now
from galley.data import fetched as fetching
from galley.declared import read_yaml
from galley.ground import check_ground
from galley.options import SOURCES
from galley.plan import read_plan_of
from galley.recipe import DEVICES, MISSING, SCALES, recipe_names
from galley.seen import say, visible
from galley.stage import stages_of
from snakemake.cli import get_argument_parser
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# OpenMP threads that spin while they wait took five times the CPU on a machine that does other work too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
RECIPES = recipe_names(Path("recipes"))
KNOWN = {"scale", "effort", "seeds", "mirror", "device", "missing"}
CLUSTER_THREADS = 8  # of a job that has a node's cores to itself, or its share of them
# What a folder holds is told by the record beside it, whose bytes decide: the folder's own time does not.
BASE = {"base": ancient("results/{scale}/models/{model}"), "weights": "results/{scale}/models/{model}.json"}
LEAVES = {"rows": "results/{scale}/<stage>.items.parquet", "runs": "results/{scale}/<stage>.runs.csv"}


def check_config():
    """Refuse a wrong configuration before anything runs."""
    for path in workflow.configfiles:  # Snakemake takes 0132 for 90 there, and yes for true
        read_yaml(Path(path), what="configuration", home="config.yaml", empty=True)
    unknown = sorted(set(config) - KNOWN)
    if unknown:
        raise WorkflowError(f"config: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(KNOWN))}")
    for key, allowed in {"scale": SCALES, "device": DEVICES, "missing": MISSING}.items():
        if config[key] not in allowed:
            raise WorkflowError(f"config: {key} is {config[key]!r}; allowed: {', '.join(allowed)}; pass --config {key}={allowed[0]}")
    mirror = mirror_folder()
    if mirror and not mirror.is_dir():
        raise WorkflowError(f"config: mirror is {str(mirror)!r}, which is not a folder; unset GALLEY_MIRROR or name one that exists")
    if mirror:  # for the jobs, by the environment: it is where bytes come from, not what they are
        os.environ.update(GALLEY_MIRROR=str(mirror))
    for name in RECIPES:  # a wrong scale or recipe stops here, with its own message
        plan_of(name, config["scale"])
    check_shared(config["scale"])


def check_shared(scale):
    """Refuse recipes that disagree about a model or a text of the same name: both are made once a scale."""
    for what, kind in {"models": models_of, "corpus": corpora_of}.items():
        made = {}
        for recipe in RECIPES:
            for name, decides in kind(recipe, scale).items():
                other, seen = made.setdefault(name, (recipe, decides))
                if seen != decides:
                    where = f"{what} {name!r} differs between recipes/{other} and recipes/{recipe} at {scale} scale"
                    raise WorkflowError(f"{where}; make them equal or give one of them another name")


def models_of(recipe, scale):
    """Return the models of a recipe, with what decides their files; how many GPUs a recipe gives them does not."""
    decides = {"kind", "source", "repo", "revision", "scratch", "dtype"}
    plan = plan_of(recipe, scale)
    text = {name: corpora_of(recipe, scale) for name, spec in plan.models.items() if spec.kind == "scratch"}
    return {name: (spec.model_dump(include=decides), text.get(name)) for name, spec in plan.models.items()}


def corpora_of(recipe, scale):
    """Return the corpus of a recipe by its name, with what decides its files."""
    plan = plan_of(recipe, scale)
    return {plan.corpus.name: (plan.corpus, plan.data_seed)} if hasattr(plan, "corpus") else {}


def recipe_with(kind, name, scale):
    """Return the first recipe that has a model or a corpus of that name."""
    names = [recipe for recipe in RECIPES if name in kind(recipe, scale)]
    if not names:
        raise WorkflowError(f"no recipe has {name!r} at {scale} scale")
    return names[0]


def made_of(kind, name, scale):
    """Return the digest of what decides a model's or a corpus's files."""
    return digest(kind(recipe_with(kind, name, scale), scale)[name])


def seeds_of(recipe):
    """Return the seeds asked for; None for a recipe that trains nothing, whatever the others are asked for."""
    return config["seeds"] if stages_of(recipe).trains else None


def asked_of(recipe):
    """Return the options by which a command that takes a recipe and a scale has the same plan as the rules."""
    asked = {"effort": config["effort"], "seeds": seeds_of(recipe)}
    return " ".join(f"--{name} {number}" for name, number in asked.items() if number is not None)


@functools.lru_cache
def plan_of(recipe, scale, effort=None):
    """Return the resolved plan of a recipe's scale, at the effort asked for or another; or stop with the recipe's error."""
    try:
        return read_plan_of(recipe, scale, seeds=seeds_of(recipe), effort=effort or config["effort"])
    except GalleyError as error:
        raise WorkflowError(str(error))


@functools.lru_cache
def code(module):
    """Return the digest of a module's code, so that a change of method reruns what depends on it."""
    return code_digest(module)


def declared(recipe, stage):
    """Return the parameters of a stage's rule: its command, the command's options, and digests of the plan and the code behind them.

    The digests take wildcards alone: Snakemake runs a job again for a changed parameter only if that is not made from inputs or outputs.
    """
    mine = stages_of(recipe)[stage]

    def plan(wildcards):
        return mine.plan_digest(plan_of(recipe, wildcards.scale), model=wildcards.get("model", "none"))

    def options(wildcards, input, output, threads):
        given = {name: files if isinstance(files, str) else folder_of(files) for name, files in input.items() if files}
        asked = {"workers": threads, "device": device_of(recipe, wildcards), **given}
        own = {name: wildcards[name] for name in mine.each} | {name: asked.get(name) for name in mine.takes}
        own |= {"missing": config["missing"]} if mine.essential else {}
        every = {"scale": wildcards.scale, "effort": config["effort"], "seeds": seeds_of(recipe), **own, "out": Path(output.rows).parent}
        return " ".join(f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in every.items() if value is not None)

    tracked = {"plan": plan, "code": mine.code_digest()}
    if "device" in mine.takes:
        tracked["device"] = functools.partial(device_of, recipe)
    return {"command": mine.command, "options": options, **tracked}


def folder_of(files):
    """Return the folder in which all files or fetched sources of an input lie."""
    (folder,) = {Path(file).parent for file in files}
    return folder


def sources_of(recipe, stage):
    """Return a function from wildcards to the fetched sources that a job of a stage reads."""

    def of(wildcards):
        names = stages_of(recipe)[stage].sources_of(plan_of(recipe, wildcards.scale), model=wildcards.get("model"))
        return fetched(*names)

    return of


def fetched(*names):
    """Return the folders of fetched sources and the records of what they hold."""
    return [*ancient(expand("results/sources/{source}", source=names)), *expand("results/sources/{source}.json", source=names)]


def records_of(recipe):
    """Return the records of the sources that a recipe's plan reads: its table says which were out of reach."""
    plan = plan_of(recipe, config["scale"])
    return expand("results/sources/{source}.json", source=cost.sources(plan, stages_of(recipe)))


def registered(wildcards):
    """Return what the registry, or the hub's pin, says of a source's bytes: another entry is another source."""
    return registry().get(wildcards.source)


@functools.lru_cache
def registry():
    """Return what `registered` says of every source."""
    return fetching.registered(Path("recipes"))


def text(recipe, *splits):
    """Return a function from wildcards to the splits of a recipe's corpus: train, calibration, heldout."""
    return lambda wildcards: [f"results/{wildcards.scale}/{plan_of(recipe, wildcards.scale).corpus.name}/{split}.jsonl" for split in splits]


def agent_of(recipe):
    """Return a function from wildcards to the directory of the local model that the plan's agents are, where they are one."""

    def of(wildcards):
        agents = plan_of(recipe, wildcards.scale).agents
        folder = f"results/{wildcards.scale}/models/{agents.model}"
        return [ancient(folder), f"{folder}.json"] if agents.kind == "local" else []

    return of


def device_of(recipe, wildcards):
    """Return the device of a job with a model; where no GPU is asked for, auto and cpu are the same."""
    wanted = config["device"]
    return "cpu" if wanted == "auto" and not ("model" in wildcards.keys() and gpus_of(recipe)(wildcards)) else wanted


def gpus_of(recipe, most=None):
    """Return a function from wildcards to the GPUs of the model's jobs, at most so many; none when everything is to run on the CPU."""

    def of(wildcards):
        asked = 0 if config["device"] == "cpu" else plan_of(recipe, wildcards.scale).models[wildcards.model].gpus
        return asked if most is None else min(asked, most)

    return of


def share(jobs):
    """Return the threads of one of `jobs` jobs that run side by side: an even share of the cores, at least one; on a cluster a fixed number."""
    cores = workflow.resource_settings.cores  # None where jobs are submitted
    return max(1, cores // jobs) if cores else CLUSTER_THREADS


def shard_threads(recipe):
    """Return a function from wildcards to the threads of one of a recipe's shards."""
    return lambda wildcards: share(plan_of(recipe, wildcards.scale).shards)


def memory(recipe, copies, beside=3000, a_process=0):
    """Return a function from wildcards to the MB of a job with a model; more at each attempt.

    It holds `copies` of the weights and `beside` MB, and `a_process` MB for itself and for each process that it launches, one a GPU.
    """

    def of(wildcards, attempt):
        model = plan_of(recipe, wildcards.scale).models[wildcards.model]
        processes = 1 + gpus_of(recipe)(wildcards) if a_process else 0
        return attempt * cost.memory_mb(model, copies=copies, beside=processes * a_process or beside)

    return of


def hours(short, *, paper):
    """Return a function from wildcards to minutes: `short` hours, at paper scale `paper`."""
    return lambda wildcards: 60 * (paper if wildcards.scale == "paper" else short)


def model_hours(recipe, stage, least):
    """Return a function from wildcards to minutes: what the plan says of the model's work, and half as much again; at least `least` hours."""

    def of(wildcards, attempt):
        mine, plan = stages_of(recipe)[stage], plan_of(recipe, wildcards.scale, effort=1)
        return attempt * cost.minutes(mine, plan, model=wildcards.model, least=60 * least, effort=config["effort"])

    return of


def parts(recipe, kind):
    """Return the items or runs files that a recipe's stages leave at the configured scale, as its plan names them."""
    scale = config["scale"]
    return [f"results/{scale}/{recipe}/{name}.{kind}" for name in stages_of(recipe).leaves(plan_of(recipe, scale))]


def mirror_folder():
    """Return the local mirror, where one is named."""
    mirror = config["mirror"] or os.environ.get("GALLEY_MIRROR")
    return Path(str(mirror)).resolve() if mirror else None  # Snakemake reads a folder 2024 as a number


def check_cluster():
    """Refuse a bucket or a cluster that cannot be used, in one line: what is wrong is in no file of these rules."""
    where, wrong = workflow.storage_settings, None
    if workflow.is_main_process and where and where.default_storage_provider == "s3":
        wrong = cluster.bucket_fault(workflow.storage_registry.default_storage_provider.settings, where.default_storage_prefix or "")
        if not workflow.output_settings.dryrun:
            wrong = wrong or cluster.cluster_fault(sys.argv[1:], Path.cwd())
    if wrong:
        raise WorkflowError(wrong)


def before_a_run():
    """Before Snakemake looks at what is there: fetched sources are still what was fetched, files of a clock that has jumped back are of now,
    and what was out of reach is tried again."""
    if not workflow.is_main_process or "--lint" in sys.argv:
        return
    fetching.check_present(SOURCES, seen=Path(".snakemake/galley_sources.json"))
    if not workflow.output_settings.dryrun:
        no_later_than_now(Path("results"))
        for name, why in fetching.try_again(SOURCES, recipes=Path("recipes"), mirror=mirror_folder()).items():
            logger.warning(why or f"source {name} had been out of reach and is fetched now; what is made of it is made again")


def check_targets():
    """Refuse a target that is there not and that no rule makes, once all rules are known; in a bucket the storage's names are others."""
    if not workflow.is_main_process or workflow.storage_settings.default_storage_provider:
        return
    known = {one.name for one in workflow.rules}
    for target in get_argument_parser().parse_args(sys.argv[1:]).targets:  # the workflow is told of them later
        if target not in known and not Path(target).exists() and not any(one.is_producer(target) for one in workflow.rules):
            what = f"nothing makes {target!r}; name a rule, such as all, or a file, such as results/table_{RECIPES[0]}.csv"
            stop(f"{what}; `snakemake --list` says the rules")


def stop(fault):
    """End with one line, not Snakemake's trace of a rule file."""
    say(f"error: {visible(fault)}", err=True)
    raise SystemExit(2)


def tell_absent():
    """Say at the end of a run which sources were out of reach."""
    gone = fetching.recorded_absent(SOURCES)
    if gone:
        logger.warning(f"out of reach: {', '.join(gone)}; what needs them is not_run. The next run tries them again")


try:
    if workflow.is_main_process:
        check_ground(Path.cwd())
    check_config()
    check_cluster()
    before_a_run()
except (GalleyError, WorkflowError) as error:
    stop(error)
