"""The recipe's files load, wrong ones are refused by name, and a plan says what it costs, what it reads and what it lacks."""

import shutil
from pathlib import Path

import pytest

from galley import cost, plan
from galley.artifact import GalleyError
from galley.cost_page import describe
from galley.papers.case2code.cost import gpu_hours, lacks
from galley.papers.case2code.plan import Plan
from galley.papers.case2code.stages import stage
from galley.tables.claims import load_claims

RECIPE = Path("recipes/case2code/recipe.yaml")
CORPUS = "bigcode/the-stack-dedup"


def read_plan(path, scale, **asked):
    return plan.read_plan(path, scale, model=Plan, **asked)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_recipe_loads_and_says_what_it_costs(scale):
    plan = read_plan(RECIPE, scale)
    text = describe(plan, stage, scale=scale, recipes=Path("recipes"))
    assert f"case2code at {scale} scale" in text and ("Not there yet" in text) == bool(lacks(plan)) == (scale == "paper")
    assert all(line in text for line in lacks(plan)) and f"about {plan.functions.limit or 1245:,} functions" in text
    assert stage.leaves(plan)[:2] == ["synthesize", "check"] and len(stage.leaves(plan)) == len(set(stage.leaves(plan)))
    assert len(stage.leaves(plan)) == 2 + plan.shards * ((plan.sequences is not None) + len(plan.models))


def test_the_queue_is_asked_for_what_the_arms_take():
    plan = read_plan(RECIPE, "paper")
    (name, model), least = next(iter(plan.models.items())), 120
    assert model.gpu_hours == pytest.approx(gpu_hours(plan, model), rel=0.05)
    assert cost.minutes(stage["tune"], plan, model=name, least=least) == pytest.approx(1.5 * 60 * model.gpu_hours / model.gpus, abs=1)


def test_each_stage_declares_its_own_sources_and_only_plans_with_wheels_fetch_some():
    laptop, paper = read_plan(RECIPE, "laptop"), read_plan(RECIPE, "paper")
    benchmarks = ["case2code_test", "humaneval", "mbpp", "bigcodebench"]
    assert stage["synthesize"].sources_of(laptop) == ["algorithms_wheel", *benchmarks]
    assert stage["synthesize"].sources_of(paper) == benchmarks and stage.sources_of(paper) == [*benchmarks, "humaneval_plus", "mbpp_plus"]
    assert stage.sources_of(read_plan(RECIPE, "smoke")) == ["algorithms_wheel", *benchmarks]
    assert {name: stage[name].sources_of(laptop) for name in ("check", "sequences", "tune")} == {
        "check": ["case2code_test"], "sequences": [], "tune": ["case2code_test", "humaneval", "mbpp"]
    }  # fmt: skip


def test_the_hub_corpus_takes_its_commit_from_the_pins_and_a_missing_one_is_asked_for(tmp_path):
    (tmp_path / "case2code").mkdir()
    for name in ("case2code/recipe.yaml", "sources.yaml", "datasets.yaml"):
        shutil.copy(Path("recipes") / name, tmp_path / name)
    recipe = tmp_path / "case2code/recipe.yaml"
    bare = read_plan(recipe, "paper")
    assert cost.repositories(bare, stage, recipes=tmp_path) == (["meta-llama/Meta-Llama-3-8B"], [CORPUS])  # what `galley pin` asks for
    assert bare.functions.hub.revision is None
    assert any(text.startswith(f"functions.hub: {CORPUS} has no commit") for text in cost.missing(bare, stage, recipes=tmp_path))
    pin = f"{CORPUS}: {{kind: dataset, commit: {'a1' * 20}, date: 2026-01-01, by: a test}}\n"
    (tmp_path / "revisions.yaml").write_text(pin)
    pinned = read_plan(recipe, "paper")
    assert pinned.functions.hub.revision == "a1" * 20 and not any(CORPUS in t for t in cost.missing(pinned, stage, recipes=tmp_path))
    changed = [name for name in ("synthesize", "check", "tune") if stage[name].plan_digest(pinned) != stage[name].plan_digest(bare)]
    assert changed == ["synthesize"]  # the others follow by its files


def test_seeds_and_effort_add_evidence():
    plan, more = read_plan(RECIPE, "laptop"), read_plan(RECIPE, "laptop", seeds=5, effort=2)
    assert len(plan.sequence_runs()) == 9 and len(more.sequence_runs()) == 15
    assert [sum(arm == name for arm, _ in plan.tuning_runs()) for name in plan.tuning.arms] == [3, 3, 1]
    assert [sum(arm == name for arm, _ in more.tuning_runs()) for name in plan.tuning.arms] == [5, 5, 5]
    assert more.sequences.steps == 2 * plan.sequences.steps and more.zero_shot.tasks == 2 * plan.zero_shot.tasks
    assert more.tuning.heldout_items == 2 * plan.tuning.heldout_items


def test_what_makes_no_sense_is_refused(tmp_path):
    row = read_plan(RECIPE, "laptop").model_dump()
    with pytest.raises(ValueError, match="tuning or zero_shot is not"):
        Plan.model_validate({**row, "tuning": None})
    with pytest.raises(ValueError, match=r"needs inputs\.base_url"):
        Plan.model_validate({**row, "inputs": {**row["inputs"], "writer": "endpoint"}})
    with pytest.raises(ValueError, match=r"runs names 'text', which is none of arms \(own, shuffled, none\)"):
        Plan.model_validate({**row, "tuning": {**row["tuning"], "runs": {"text": 3}}})
    wrong = tmp_path / "recipe.yaml"
    wrong.write_text(RECIPE.read_text().replace("  heldout: 0.2", "  held_out: 0.2"))
    with pytest.raises(GalleyError, match=r"recipe\.yaml:\d+: held_out"):
        read_plan(wrong, "smoke")


def test_claims_load_and_the_recipe_says_why_one_is_not_run():
    claims = {c.id: c for c in load_claims(Path("recipes/case2code/claims.yaml"))}
    assert {"E1", "E2", "E3.oracle", "E4", "D1", "D1.lookup", "D2.gap", "D3", "D4", "D5", "D6.humaneval", "N1"} <= set(claims)
    assert claims["N1"].scales == ["paper"] and "paper's models" in claims["N1"].not_run_reason
