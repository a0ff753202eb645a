from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.cost_page import describe
from galley.papers.codeseq.cost import compute, lacks, trainings
from galley.papers.codeseq.induce import tasks
from galley.papers.codeseq.plan import Plan, Synthesis
from galley.papers.codeseq.stages import stage
from galley.plan import read_plan_of
from galley.tables.claims import load_claims


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_recipe_loads_and_says_what_it_costs(scale):
    plan = read_plan_of("codeseq", scale)
    text = describe(plan, stage, scale=scale, recipes=Path("recipes"))
    assert f"codeseq at {scale} scale" in text and ("Not there yet" in text) == bool(lacks(plan)) == (scale == "paper")
    assert all(line in text for line in [*compute(plan), *lacks(plan)])
    assert stage.leaves(plan)[0] == "synthesize" and len(tasks(plan)) == trainings(plan)


def test_seeds_and_effort():
    plan, more = read_plan_of("codeseq", "smoke"), read_plan_of("codeseq", "smoke", seeds=5, effort=2)
    assert more.seeds == 5 and more.induction.steps == 2 * plan.induction.steps and more.synthesis.problems == 2 * plan.synthesis.problems
    with pytest.raises(GalleyError, match="seeds is 0"):
        read_plan_of("codeseq", "smoke", seeds=0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="writer needs an endpoint"):
        Synthesis(sequences="oeis", problems=1, gtg_problems=1, writer="endpoint")
    row = read_plan_of("codeseq", "laptop").model_dump()
    with pytest.raises(ValueError, match="give functions and tuning"):
        Plan.model_validate({**row, "tuning": None})
    with pytest.raises(ValueError, match="must stay hidden"):
        Plan.model_validate({**row, "functions": {**row["functions"], "shown": 18}})


def test_character_models_are_trained_where_the_plan_has_an_experiment_for_them():
    plan = read_plan_of("codeseq", "smoke")
    assert stage["induce"].leaves(plan) == ["induce-0", "induce-1"]
    assert stage["induce"].jobs(plan.model_copy(update={"induction": None})) == 2
    assert stage["induce"].jobs(plan.model_copy(update={"induction": None, "reflection": None})) == 0


def test_claims_load_and_name_controls():
    claims = load_claims(Path("recipes/codeseq/claims.yaml"))
    assert {"E1", "E2", "E3", "E4", "E5", "D1", "D2", "D3", "D4", "M1.gap", "M2", "N1", "N2.humaneval", "N3.mmlu"} <= {c.id for c in claims}
