import csv
import math
from pathlib import Path

import pytest
import yaml

from galley.artifact import GalleyError
from galley.papers.unitcoder.cost import compute, executions, lacks, replies
from galley.papers.unitcoder.model_tests import DRAWS
from galley.papers.unitcoder.plan import Plan
from galley.plan import read_plan as read
from galley.tables.claims import load_claims

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "recipes/unitcoder/recipe.yaml"


def read_plan(path, scale, **asked):
    return read(path, scale, model=Plan, **asked)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_scale_says_what_it_computes(scale):
    plan = read_plan(RECIPE, scale)
    text = "\n".join(compute(plan))
    assert all(f"  {stage}: about {n:,}" in text for stage, n in executions(plan).items()) and min(executions(plan).values()) > 0
    assert bool(replies(plan)) == ("Replies of" in text) == (scale == "paper") == bool(lacks(plan))


def test_effort_and_seeds():
    one, four = read_plan(RECIPE, "smoke"), read_plan(RECIPE, "smoke", effort=4, seeds=3)
    assert four.pipeline.functions == 4 * one.pipeline.functions and four.mutants.tasks == 4 * one.mutants.tasks and four.seeds == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pipeline": {"round": 3}}, "round"),
        ({"agents": {"kind": "endpoint", "model": "m"}}, "url"),
        ({"agents": {"kind": "local", "model": "absent"}}, "absent"),
        ({"mutants": {"benchmarks": ["MMLU"]}}, "benchmarks"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, said):
    recipe = yaml.safe_load(RECIPE.read_text())
    for key, value in change.items():
        recipe["scales"]["smoke"][key] = {**recipe["scales"]["smoke"].get(key, {}), **value}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(GalleyError, match=said):
        read_plan(path, "smoke")


def test_every_claim_loads_and_its_trends_are_where_they_say():
    claims = {claim.id: claim for claim in load_claims(ROOT / "recipes/unitcoder/claims.yaml")}
    assert {"A1", "A2", "A3", "E5.list", "D2.precision", "D3.yield", "M1.filtered_unfiltered", "N1.llama", "N2", "T.tests"} <= set(claims)
    for point in (p for name in ("corpus", "humaneval") for p in claims[f"D1.trend.{name}"].points):
        assert point.x == pytest.approx(math.log2(int(point.rows.setting[2:]) + 1), abs=1e-3)
    assert claims["D2.precision"].lhs.setting in {f"k={k}" for k in DRAWS}


def test_what_the_authors_do_wrong_is_no_agreement_and_identities_say_so():
    claims = {claim.id: claim for claim in load_claims(ROOT / "recipes/unitcoder/claims.yaml")}
    kinds = {kind: {c.id for c in claims.values() if c.evidence == kind} for kind in ("self_check", "artefact", "experiment", "printed")}
    assert kinds["self_check"] == {"E1", "E2", "E3", "E3.calls", "E4", "E5", "E5.idempotent", "E5.counts"}
    assert kinds["artefact"] == {"A1", "A2", "A3", "E5.list"} and not kinds["printed"]
    assert {c.id for c in claims.values() if c.stance == "critique"} == {
        "A3", "E5.list", "D2.coverage", "D2.noise", "D3.precision", "D3.drawn", "D5", "N2",
    }  # fmt: skip


def test_post_training_needs_what_it_trains_on_and_what_judges_it(tmp_path):
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["scales"]["laptop"]["post_training"] = ["UnitCoder"]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(GalleyError, match="post_training needs `answers`"):
        read_plan(path, "laptop")
    assert read_plan(RECIPE, "paper").post_training[0] == "UnitCoder" and not read_plan(RECIPE, "laptop").post_training


def test_models_are_named_as_in_the_paper_s_values():
    rows = csv.DictReader((ROOT / "recipes/unitcoder/paper_values.csv").open())
    assert {row["model"] for row in rows if row["benchmark"] == "BigCodeBench"} == set(read_plan(RECIPE, "paper").models)
