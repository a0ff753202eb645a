"""The recipe's files load, wrong ones are refused by name, and a plan says what it costs."""

from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.papers.case2code.cost import describe, missing
from galley.papers.case2code.plan import Plan, read_plan
from galley.tables.claims import load_claims

RECIPE = Path("recipes/case2code/recipe.yaml")


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_recipe_loads_and_says_what_it_costs(scale):
    plan = read_plan(RECIPE, scale)
    text = describe(plan, scale=scale, sources=Path("recipes/sources.yaml"))
    assert f"case2code at {scale} scale" in text and ("missing:" in text) == bool(missing(plan)) == (scale == "paper")
    assert plan.stages()[:2] == ["synthesis", "checks"] and len(plan.stages()) == len(set(plan.stages()))


def test_seeds_and_effort_add_evidence():
    plan, more = read_plan(RECIPE, "laptop"), read_plan(RECIPE, "laptop", seeds=5, effort=2)
    assert len(more.sequence_runs()) == 7 and [r for r in more.tuning_runs() if r[0] == "own"] == [("own", s) for s in range(5)]
    assert more.sequences.steps == 2 * plan.sequences.steps and more.zero_shot.tasks == 2 * plan.zero_shot.tasks
    assert more.tuning.heldout_items == 2 * plan.tuning.heldout_items


def test_what_makes_no_sense_is_refused(tmp_path):
    row = read_plan(RECIPE, "laptop").model_dump()
    with pytest.raises(ValueError, match="tuning or zero_shot is not"):
        Plan.model_validate({**row, "tuning": None})
    with pytest.raises(ValueError, match=r"needs inputs\.base_url"):
        Plan.model_validate({**row, "inputs": {**row["inputs"], "writer": "endpoint"}})
    wrong = tmp_path / "recipe.yaml"
    wrong.write_text(RECIPE.read_text().replace("  heldout: 0.2", "  held_out: 0.2"))
    with pytest.raises(GalleyError, match=r"recipe\.yaml:\d+: held_out"):
        read_plan(wrong, "smoke")


def test_claims_load_and_the_recipe_says_why_one_is_not_run():
    claims = {c.id: c for c in load_claims(Path("recipes/case2code/claims.yaml"))}
    assert {"E1", "E2", "E3.oracle", "E4", "D1", "D2.gap", "D3", "D4", "D5", "D6.humaneval", "N1"} <= set(claims)
    assert claims["N1"].scales == ["paper"] and "paper's models" in claims["N1"].not_run_reason
