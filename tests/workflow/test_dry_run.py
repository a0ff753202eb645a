"""Dry runs: every target at every scale, and wrong configurations refused with the field and its value."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from tree import TABLE

from galley.recipe import read_plan_of, recipe_names

pytestmark = pytest.mark.workflow
CERTIFICATE = "results/certificate_mha2mla.html"


def counts(text):
    """Return the number of jobs of each rule from a dry run's table."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+)\s+(\d+)\s*$", text, flags=re.MULTILINE)}


SCALES = ("smoke", "laptop", "paper")
WRONG = {
    "scael=smoke": ["scael", "scale", "known keys"],
    "scale=huge": ["scale", "'huge'", "smoke, laptop, paper"],
    "effort=0": ["effort", "0", "whole number"],
    "effort=1.5": ["effort", "1.5", "whole number"],
    "seeds=several": ["seeds", "'several'", "whole number"],
    "device=tpu": ["device", "'tpu'", "auto, cpu, cuda"],
    "mirror=/no/such/folder": ["mirror", "'/no/such/folder'", "not a folder"],
}
RUNS = [
    *((TABLE, CERTIFICATE, "all", "--config", f"scale={scale}") for scale in SCALES),
    *((target, "--config", "scale=smoke") for target in (TABLE, CERTIFICATE)),
    *(("all", "--config", setting) for setting in WRONG),
]


@pytest.fixture(scope="module")
def answers(clone):
    """All dry runs, two at a time: each spends seconds on imports."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(RUNS, pool.map(lambda run: clone.snakemake("-n", *run), RUNS), strict=True))


@pytest.mark.parametrize("scale", SCALES)
def test_every_target_at_every_scale(clone, answers, scale):
    code, text = answers[(TABLE, CERTIFICATE, "all", "--config", f"scale={scale}")]
    assert code == 0, text
    names = recipe_names(clone.folder / "recipes")
    plans = {name: read_plan_of(name, scale, folder=clone.folder / "recipes") for name in names}
    models = {name: spec for plan in plans.values() for name, spec in plan.models.items()}
    found = counts(text)
    assert found["table"] == len(names) >= 2 and found["all"] == 1, text
    assert found["mha2mla_arms"] == len(plans["mha2mla"].models) * plans["mha2mla"].shards
    fourier = plans["fourier_attention"]
    assert found["fourier_attention_needles"] == len(fourier.models) * fourier.shards
    assert found["codeseq_induce" if scale != "paper" else "codeseq_tune"] == plans["codeseq"].shards * max(1, len(plans["codeseq"].models))
    assert found["case2code_sequences"] == plans["case2code"].sequences.shards and found["case2code_synthesize"] == 1
    assert found["unitcoder_pipeline"] == 1 and found.get("unitcoder_tuning", 0) == len(plans["unitcoder"].models)
    assert found.get("train_scratch_model", 0) == sum(m.kind == "scratch" for m in models.values())
    assert found.get("prepare_model", 0) == sum(m.kind != "scratch" for m in models.values())


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
