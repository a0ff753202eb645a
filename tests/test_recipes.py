"""What holds for every recipe that is there: a new one is tested without a line here."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from galley import cost
from galley.artifact import GalleyError
from galley.cli import app
from galley.cost_page import describe
from galley.data.revisions import Pin
from galley.data.sources import load_sources
from galley.plan import pinned, read_plan_of, repos
from galley.recipe import SCALES, recipe_names
from galley.stage import stages_of
from galley.tables.claims import load_claims

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "recipes"
RECIPES = recipe_names(FOLDER)
EACH = pytest.mark.parametrize("recipe", RECIPES)
AT = pytest.mark.parametrize("scale", SCALES)


def plan_of(recipe, scale, **asked):
    return read_plan_of(recipe, scale, folder=FOLDER, **asked)


@EACH
@AT
def test_the_plan_says_what_it_costs(recipe, scale):
    plan, stages = plan_of(recipe, scale), stages_of(recipe)
    text = describe(plan, stages, scale=scale, recipes=FOLDER)
    jobs = cost.jobs(plan, stages)
    assert all(re.search(rf"^  {rule} +{n}$", text, re.MULTILINE) for rule, n in jobs.items()), text
    assert all(model.repo in text for model in plan.models.values() if model.repo) and f"--scale {scale}" in text
    assert ("has no commit" in text) == any(commit is None for _, _, commit in repos(plan)) or "has no commit" in text
    assert "nan" not in text and len(stages.leaves(plan)) == len(set(stages.leaves(plan))) >= 1


@EACH
@AT
def test_every_source_is_registered(recipe, scale):
    plan, stages = plan_of(recipe, scale), stages_of(recipe)
    known = {*load_sources(FOLDER / "sources.yaml"), *cost.hub_data(plan, stages, recipes=FOLDER)}
    assert set(cost.sources(plan, stages)) <= known


@EACH
def test_seeds_are_for_recipes_that_train(recipe):
    assert plan_of(recipe, "smoke", seeds=1).seeds == 1
    if stages_of(recipe).trains:
        assert plan_of(recipe, "smoke", seeds=4).seeds == 4
    else:
        with pytest.raises(GalleyError, match="trains nothing"):
            plan_of(recipe, "smoke", seeds=4)
    with pytest.raises(GalleyError, match="seeds is 0"):
        plan_of(recipe, "smoke", seeds=0)


@EACH
@AT
def test_effort_multiplies_evidence_and_nothing_else(recipe, scale):
    """Numbers of the plan are as they were or `effort` times as large, and some are larger."""

    def numbers(value, where=()):
        if isinstance(value, dict):
            return {k: v for key, each in value.items() for k, v in numbers(each, (*where, key)).items()}
        return {where: value} if isinstance(value, int | float) and not isinstance(value, bool) else {}

    one, three = (numbers(plan_of(recipe, scale, effort=n).model_dump()) for n in (1, 3))
    grown = {where for where, n in one.items() if three[where] != n}
    assert grown and all(three[where] == 3 * one[where] for where in grown)
    assert {("seeds",), ("shards",), ("data_seed",)}.isdisjoint(grown)


@EACH
def test_a_pinned_commit_reaches_every_part_that_names_its_repository(recipe):
    """A commit that `galley pin` wrote is read by all recipes alike: none has a reader of its own."""
    plan = plan_of(recipe, "paper")
    named = {repo for _, repo, _ in repos(plan)}
    pins = {repo: Pin(kind="model", commit=f"{n:040x}", date="2026-11-30", by="test") for n, repo in enumerate(sorted(named))}
    bare = pinned(type(plan).model_validate(_without_commits(plan.model_dump())), pins)
    assert named and {repo: commit for _, repo, commit in repos(bare)} == {repo: pin.commit for repo, pin in pins.items()}
    models, data = cost.repositories(plan, stages_of(recipe), recipes=FOLDER)
    assert named <= {*models, *data}, "what the plan takes from the hub is what `galley pin` asks for"


def _without_commits(value):
    if isinstance(value, dict):
        return {key: None if key == "revision" else _without_commits(each) for key, each in value.items()}
    return [_without_commits(each) for each in value] if isinstance(value, list) else value


def test_the_committed_pins_reach_the_plans():
    pins = yaml.safe_load((FOLDER / "revisions.yaml").read_text())
    found = {repo: commit for recipe in RECIPES for _, repo, commit in repos(plan_of(recipe, "paper"))}
    assert {repo: found[repo] for repo in found if repo in pins} == {repo: pins[repo]["commit"] for repo in found if repo in pins} != {}


@EACH
def test_every_stage_has_a_command_whose_help_says_what_it_does(recipe):
    group = CliRunner().invoke(app, [recipe.replace("_", "-"), "--help"])
    assert group.exit_code == 0 and stages_of(recipe).doc.split()[0] in group.output
    for name, stage in stages_of(recipe).items():
        done = CliRunner().invoke(app, [*stage.command.split(), "--help"])
        assert done.exit_code == 0, done.output
        words = " ".join(done.output.split())
        assert " ".join((stage.run.__doc__ or "").split())[:40] in words
        options = {f"--{option.replace('_', '-')}" for option in (*stage.takes, *stage.each, "out", "scale", "seeds", "effort")}
        assert all(option in words for option in options), (name, options)


@EACH
def test_a_recipe_s_folder_is_whole(recipe):
    folder = FOLDER / recipe
    assert {"README.md", "claims.yaml", "paper_values.csv", "recipe.yaml"} <= {path.name for path in folder.iterdir()}
    assert load_claims(folder / "claims.yaml")
    rules = (ROOT / f"rules/{recipe}.smk").read_text()
    assert re.findall(rf"^use rule stage as {recipe}_(\w+) with:", rules, re.MULTILINE) == list(stages_of(recipe)), (
        "in the order of the flow"
    )
    for name in stages_of(recipe):
        assert re.search(rf'stage="{recipe}/(\{{model\}}/)?{name}(-\{{shard\}})?"', rules), name


@EACH
def test_a_mistake_in_the_recipe_names_file_line_and_field(recipe, tmp_path):
    text = (FOLDER / recipe / "recipe.yaml").read_text()
    head, line = text.index("\nscales:\n"), text[: text.index("\nscales:\n")].count("\n") + 1
    path = tmp_path / recipe / "recipe.yaml"
    path.parent.mkdir()
    path.write_text(f"{text[:head]}\n  colour: red{text[head:]}")
    with pytest.raises(GalleyError, match=rf"recipe\.yaml:{line + 1}: colour: .*known keys: .*seeds"):
        read_plan_of(recipe, "smoke", folder=tmp_path)
