"""Dry runs: every target at every scale, and wrong configurations refused with the field and its value."""

import re
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer
import yaml
from tree import ROOT, TABLE

from galley import cost
from galley.cli import app, spread
from galley.plan import read_plan_of
from galley.recipe import SCALES, recipe_names
from galley.stage import stages_of

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]  # the dry runs are all made before the first test
CERTIFICATE = "results/certificate_mha2mla.html"


def counts(text):
    """Return the number of jobs of each rule from a dry run's table."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+)\s+(\d+)\s*$", text, flags=re.MULTILINE)}


NAMES = recipe_names(ROOT / "recipes")
WRONG = {
    "scael=smoke": ["scael", "scale", "known keys"],
    "scale=huge": ["scale", "'huge'", "smoke, laptop, paper"],
    "effort=0": ["effort", "0", "whole number"],
    "effort=1.5": ["effort", "1.5", "whole number"],
    "seeds=several": ["seeds", "'several'", "whole number"],
    "seeds=yes": ["seeds", "'yes'", "whole number"],
    "seeds=True": ["seeds", "True", "whole number"],
    "effort=": ["effort", "None", "whole number"],
    "scale=[smoke]": ["scale", "['smoke']", "smoke, laptop, paper"],
    "device=tpu": ["device", "'tpu'", "auto, cpu, cuda"],
    "missing=maybe": ["missing", "'maybe'", "stop, accept"],
    "mirror=/no/such/folder": ["mirror", "'/no/such/folder'", "not a folder"],
}
SEEDED = "seeds=2"
RUNS = [
    *((f"results/table_{name}.csv", "--config", f"scale={scale}") for name in NAMES for scale in SCALES),
    *(("-p", TABLE, CERTIFICATE, "all", "--config", f"scale={scale}", SEEDED) for scale in SCALES),
    *((target, "--config", "scale=smoke") for target in (CERTIFICATE,)),
    *(("all", "--config", setting) for setting in WRONG),
]


@pytest.fixture(scope="module")
def answers(clone):
    """All dry runs, two at a time: each spends seconds on imports."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(RUNS, pool.map(lambda run: clone.snakemake("-n", *run), RUNS), strict=True))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_s_plan_lists_the_jobs_that_its_table_takes(answers, name, scale):
    code, text = answers[(f"results/table_{name}.csv", "--config", f"scale={scale}")]
    assert code == 0, text
    plan = read_plan_of(name, scale, folder=ROOT / "recipes")
    assert counts(text) == {**(jobs := cost.jobs(plan, stages_of(name))), "total": sum(jobs.values())}


@pytest.mark.parametrize("scale", SCALES)
def test_every_target_at_every_scale_with_commands_that_resolve_the_plan(clone, answers, scale):
    """What each job would run is a command that there is, with options that it takes and a plan that it can read."""
    code, text = answers[("-p", TABLE, CERTIFICATE, "all", "--config", f"scale={scale}", SEEDED)]
    assert code == 0, text
    found = counts(text)
    assert found["table"] == len(NAMES) >= 2 and found["all"] == 1
    commands = [shlex.split(line)[1:] for line in re.findall(r"^(?:Shell command:|) *(galley .*?) &> ", text, flags=re.MULTILINE)]
    assert len(commands) == found["total"] - found["all"]
    trained = set()
    for words in commands:
        options = parsed(words)
        recipe = options.get("recipe") or words[0].replace("-", "_")
        if recipe in NAMES and words[0] != "table":
            read_plan_of(recipe, options["scale"], folder=ROOT / "recipes", seeds=options.get("seeds"), effort=options.get("effort") or 1)
            trained |= {recipe} if options.get("seeds") == 2 else set()
    assert trained == {name for name in NAMES if stages_of(name).trains}


def test_memory_and_time_follow_from_the_plan_s_model(answers):
    """An 8B model asks for more than its weights, a 135M one for a laptop's share, and no profile lists rules for that."""
    _, text = answers[("-p", TABLE, CERTIFICATE, "all", "--config", "scale=paper", SEEDED)]
    specs = {name: spec for recipe in NAMES for name, spec in read_plan_of(recipe, "paper", folder=ROOT / "recipes").models.items()}
    asked = re.findall(
        r"^rule (\w+):.*?wildcards: .*?\bmodel=([\w.-]+).*?runtime=(\d+).*?mem_mb=(\d+)", text, flags=re.MULTILINE | re.DOTALL
    )
    assert {model for _, model, *_ in asked} == set(specs) and len({rule for rule, *_ in asked}) > len(NAMES)
    for rule, model, minutes, megabytes in asked:
        assert int(megabytes) > 4 * specs[model].params_m, f"{rule} of {model} asks {megabytes} MB"
        assert int(minutes) >= 60, rule
    arms = {model: int(minutes) for rule, model, minutes, _ in asked if rule == "mha2mla_arms"}
    assert arms["SmolLM-135M"] < arms["Llama2-7B"] > 60 * specs["Llama2-7B"].gpu_hours / specs["Llama2-7B"].gpus


def parsed(words):
    """Return the options of a command line as its command reads them; a usage error fails the test. The paths are still to be made."""
    command, context = typer.main.get_command(app), None
    while hasattr(command, "commands"):
        context = command.make_context(words[0], [], parent=context, resilient_parsing=True)
        command, words = command.commands[words[0]], words[1:]
    for param in command.params:
        param.callback = None
    return command.make_context(command.name, spread(words), parent=context).params


@pytest.mark.parametrize("target", [TABLE, CERTIFICATE])
def test_each_target_alone_brings_the_whole_chain(answers, target):
    code, text = answers[(target, "--config", "scale=smoke")]
    assert code == 0, text
    assert {"fetch_source", "prepare_corpus", "train_scratch_model", "mha2mla_inspect", "mha2mla_arms", "table"} <= counts(text).keys()


@pytest.mark.parametrize("setting", WRONG)
def test_a_wrong_configuration_is_refused_by_field_and_value(answers, setting):
    code, text = answers[("all", "--config", setting)]
    assert code != 0
    said = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("Command:"))  # not the echo of the command
    assert [word for word in WRONG[setting] if word not in said] == [], text
    assert "Traceback" not in text, text


def test_a_missing_mirror_in_the_environment_is_refused_too(clone):
    code, text = type(clone)(clone.folder, clone.env | {"GALLEY_MIRROR": "/no/such/mirror"}).snakemake("-n", "all")
    assert code != 0 and "GALLEY_MIRROR" in text and "'/no/such/mirror'" in text, text


def test_a_mistake_in_the_recipe_names_file_line_and_field(clone):
    path = clone.folder / "recipes/mha2mla/recipe.yaml"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("  rope_fraction: 0.0625", "  rope_fracton: 0.0625"))
        code, text = clone.snakemake("-n", "all")
    finally:
        path.write_text(kept)
    assert code != 0 and re.search(r"recipe\.yaml:\d+: rope_fracton", text), text


def test_a_commit_that_is_pinned_is_taken_by_all_recipes(clone):
    """Two recipes share a gated model: once it is pinned, the paper scale of both is planned, and neither lacks it."""
    path = clone.folder / "recipes/revisions.yaml"
    kept = path.read_text()
    pin = {"kind": "model", "commit": "0" * 40, "date": "2026-11-30", "by": "test"}
    try:
        path.write_text(kept + yaml.safe_dump({"meta-llama/Llama-3.1-8B": pin}))
        code, text = clone.snakemake("-n", "all", "--config", "scale=paper")
        plans = {name: read_plan_of(name, "paper", folder=clone.folder / "recipes") for name in NAMES}
    finally:
        path.write_text(kept)
    assert code == 0, text
    shared = [m.revision for plan in plans.values() for m in plan.models.values() if m.repo == "meta-llama/Llama-3.1-8B"]
    assert len(shared) >= 2 and set(shared) == {"0" * 40}


def test_a_model_s_device_is_the_run_s_choice(clone):
    """The recipe asks for GPUs at paper scale; `device=cpu` asks for none, and below that scale auto is the CPU."""
    command = ("-n", "-p", "--rerun-triggers", "mtime", "--", TABLE)
    runs = {}
    with ThreadPoolExecutor(2) as pool:
        settings = ("scale=paper", "scale=paper device=cpu", "scale=smoke")
        runs = dict(zip(settings, pool.map(lambda s: clone.snakemake("--config", *s.split(), *command)[1], settings), strict=True))
    arms = {name: re.findall(r"galley mha2mla arms.*?--device (\w+)", text, re.DOTALL) for name, text in runs.items()}
    assert set(arms["scale=paper"]) == {"auto"} and set(arms["scale=paper device=cpu"]) == set(arms["scale=smoke"]) == {"cpu"}
    asked = {name: set(re.findall(r"gpu=(\d+)", text)) for name, text in runs.items()}
    assert asked["scale=paper"] == {"1", "4", "8"} and asked["scale=paper device=cpu"] == asked["scale=smoke"] == {"0"}


def refusal(done):
    """The one line of a refusal; what Snakemake says of its profile and configuration comes before the rules are read."""
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("Using workflow specific", "Config file"))]
    assert done.returncode == 2 and len(said) == 1 and said[0].startswith("error: "), (done.returncode, said)
    return said[0]


@pytest.mark.parametrize("command", [("galley", "run"), ("snakemake", "--cores", "1")])
def test_a_target_that_no_rule_makes_is_one_line(clone, command):
    assert "nothing makes 'results/nope.csv'; name a rule, such as all, or a file" in refusal(clone.run(*command, "results/nope.csv"))


@pytest.mark.parametrize("command", [("galley", "run", "-n"), ("snakemake", "-n")])
@pytest.mark.parametrize(
    ("place", "says"), [("results", "results is a file and no folder"), ("cache", "cache is a file and no folder; GALLEY")]
)
def test_a_file_where_a_run_writes_is_one_line(clone, command, place, says):
    assert not (clone.folder / place).exists()
    (clone.folder / place).touch()
    try:
        assert says in refusal(clone.run(*command, TABLE))
    finally:
        (clone.folder / place).unlink()
