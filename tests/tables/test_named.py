"""Names in claims: what no row of any scale has is a slip, and a slip in a control would never be seen."""

from pathlib import Path

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.tables.claims import load_claims
from galley.tables.items import unreached
from galley.tables.metrics import load_metrics
from galley.tables.named import FIELDS, check_names, sides

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/recipe.yaml"))
METRICS = load_metrics(ROOT / "recipes/metrics.yaml")


def of(recipe, change=None):
    """The recipe's claims, and items with the names of its reference run."""
    table = pd.read_csv(ROOT / f"recipes/{recipe}/reference/laptop/table_{recipe}.csv", keep_default_na=False, dtype=str)
    claims = load_claims(ROOT / f"recipes/{recipe}/claims.yaml")
    return [change(claim) if change else claim for claim in claims], table[table["run_ids"] != ""]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_name_of_the_recipes_claims_is_a_row_s(recipe):
    claims, items = of(recipe)
    check_names(claims, items, path=ROOT / f"recipes/{recipe}/claims.yaml", recipe=recipe, scale="laptop", metrics=METRICS)
    assert sum(1 for claim in claims for _ in sides(claim)) > 2 * len(claims)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("place", ["lhs", "control"])
def test_a_slip_in_a_name_is_refused_by_claim_place_and_name(field, place, tmp_path):
    def slip(claim):
        if claim.id != "E1.official":
            return claim
        part = claim if place == "lhs" else claim.controls[0]
        wrong = part.model_copy(update={"lhs": part.lhs.model_copy(update={field: "cuont"})})
        return wrong if place == "lhs" else claim.model_copy(update={"controls": [wrong]})

    claims, items = of("case2code", slip)
    where = "lhs" if place == "lhs" else "control 'same_seed': lhs"
    for path in (tmp_path / "claims.yaml", ROOT / "recipes/case2code/claims.yaml"):  # without and with reference tables
        with pytest.raises(GalleyError, match=rf"claims\.yaml: claim 'E1\.official': {where}\.{field} is 'cuont', which ") as refused:
            check_names(claims, items, path=path, recipe="case2code", scale="laptop", metrics=METRICS)
        assert "\n" not in str(refused.value) and ("there are count" in str(refused.value)) == (field == "metric")
    rest = [claim for claim in claims if claim.id != "E1.official"]
    check_names(rest, items, path=tmp_path / "claims.yaml", recipe="case2code", scale="laptop", metrics=METRICS)


def test_another_scale_s_rows_are_known_by_the_reference_run(tmp_path):
    claims, items = of("mha2mla")
    few = items[items["method"] == "original"]
    check_names(claims, few, path=ROOT / "recipes/mha2mla/claims.yaml", recipe="mha2mla", scale="laptop", metrics=METRICS)
    with pytest.raises(GalleyError, match="which no row of any scale has"):
        check_names(claims, few, path=tmp_path / "claims.yaml", recipe="mha2mla", scale="laptop", metrics=METRICS)


def test_without_a_source_its_names_are_let_through_but_no_metric_that_is_not_declared(tmp_path):
    claims, items = of("case2code")
    official = items["benchmark"] == "case2code_test"
    few = pd.concat([items[~official], items[official].head(1).assign(method="m", setting="s", reason=unreached("case2code_test"))])
    with pytest.raises(GalleyError, match="which no row of any scale has"):
        check_names(claims, few.assign(reason=""), path=tmp_path / "claims.yaml", recipe="case2code", scale="laptop", metrics=METRICS)
    check_names(claims, few, path=tmp_path / "claims.yaml", recipe="case2code", scale="laptop", metrics=METRICS)
    with pytest.raises(GalleyError, match=r"metric is 'count', which recipes/metrics.yaml does not declare"):
        check_names(claims, few, path=tmp_path / "c.yaml", recipe="case2code", scale="laptop", metrics={n for n in METRICS if n != "count"})


def test_a_claim_of_another_scale_may_name_what_this_one_lacks(tmp_path):
    claims, items = of("case2code")
    paper = [claim for claim in claims if claim.scales == ["paper"]]
    assert paper
    check_names(paper, items.head(1), path=tmp_path / "claims.yaml", recipe="case2code", scale="laptop", metrics=METRICS)
