"""What CI runs on a user's hosting is what .ci/run runs here: the same make targets, and they exist."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / ".github/workflows").glob("*.yml")}


def targets(text):
    """The make targets in a script, without variables."""
    return {word for line in re.findall(r"\bmake ([^|;&\n]+)", text) for word in line.split() if re.fullmatch(r"[a-z][a-z-]*", word)}


def test_the_workflows_call_the_targets_of_the_local_run():
    check = WORKFLOWS["ci.yml"]["jobs"]["check"]["strategy"]["matrix"]["target"]
    steps = [step.get("run", "") for workflow in WORKFLOWS.values() for job in workflow["jobs"].values() for step in job.get("steps", ())]
    called = {word for entry in check for word in entry.split()} | {word for run in steps for word in targets(run)}
    local = targets((ROOT / ".ci/run").read_text(encoding="utf-8"))
    parts = {"test": {"test-unit", "test-workflow"}, "smoke": set()}  # a recipe a runner makes its own table instead of all
    assert local and {part for target in local for part in parts.get(target, {target})} <= called
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert called <= made


def test_the_matrix_is_the_recipes_that_are_there():
    smoke = WORKFLOWS["ci.yml"]["jobs"]["smoke"]
    assert smoke["strategy"]["matrix"]["recipe"] == "${{ fromJSON(needs.recipes.outputs.names) }}"
    assert smoke["uses"] == "./.github/workflows/recipe.yml"
    inputs = WORKFLOWS["recipe.yml"][True]["workflow_call"]["inputs"]  # YAML reads `on` as true
    assert {"recipe", "scale", "galley", "ref"} == set(inputs) and inputs["recipe"]["required"]
