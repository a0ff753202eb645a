"""Names in claims: what no row of any scale has is a slip, and a slip in a control would never be seen."""

from pathlib import Path

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.tables.claims import Claim, load_claims
from galley.tables.items import unreached
from galley.tables.metrics import load_metrics
from galley.tables.named import FIELDS, check_names, sides

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/recipe.yaml"))
METRICS = load_metrics(ROOT / "recipes/metrics.yaml")


def of(recipe):
    """The recipe's claims, and items with the names of its reference run."""
    table = pd.read_csv(ROOT / f"recipes/{recipe}/reference/laptop/table_{recipe}.csv", keep_default_na=False, dtype=str)
    claims = load_claims(ROOT / f"recipes/{recipe}/claims.yaml")
    return claims, table[table["run_ids"] != ""]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_name_of_the_recipes_claims_is_a_row_s(recipe):
    claims, items = of(recipe)
    check_names(claims, items, path=ROOT / f"recipes/{recipe}/claims.yaml", recipe=recipe, scale="laptop", metrics=METRICS)
    assert sum(1 for claim in claims for _ in sides(claim)) > 2 * len(claims)


@pytest.fixture
def written(claims):
    """The handmade claim with a requirement, and with one of its names changed: in its side, its control or its requirement."""
    side = claims[0].lhs.model_copy(update={"model": "m_1"})
    broken = claims[0].controls[0].lhs.model_copy(update={"model": "m_1"})

    def change(place="", **names):
        def rows(where, made):
            return made.model_copy(update=names if where == place else {}).model_dump()

        wanted = {"why": "the original knows something", "rows": rows("requires.0.rows", side), "most": 3.0}
        whole = claims[0].model_dump() | {
            "lhs": rows("lhs", side),
            "controls": [{"name": "broken", "why": "w", "lhs": rows("control 'broken': lhs", broken)}],
            "requires": [wanted, wanted | {"minus": rows("requires.1.minus", side), "rows": broken.model_dump()}],
        }
        return [Claim.model_validate(whole)]

    return change


def reference(folder, items):
    path = folder / "reference/laptop/table_p.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    items[list(FIELDS)].to_csv(path, index=False)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("place", ["lhs", "control 'broken': lhs", "requires.0.rows", "requires.1.minus"])
def test_a_slip_in_a_name_is_refused_by_claim_place_and_name(field, place, written, items, metrics, tmp_path):
    say = {"path": tmp_path / "claims.yaml", "recipe": "p", "scale": "smoke", "metrics": metrics}
    slip = written(place, **{field: "bits_per_bite"})
    for _ in range(2):  # without and with reference tables
        with pytest.raises(GalleyError, match=rf"claims\.yaml: claim 'C1': {place}\.{field} is 'bits_per_bite', which ") as refused:
            check_names(slip, items, **say)
        assert "\n" not in str(refused.value) and ("there are bits_per_byte" in str(refused.value)) == (field == "metric")
        check_names(written(), items, **say)
        reference(tmp_path, items)


def test_another_scale_s_rows_are_known_by_the_reference_run(written, items, metrics, tmp_path):
    say = {"path": tmp_path / "claims.yaml", "recipe": "p", "scale": "smoke", "metrics": metrics}
    few = items[items["method"] == "original"]
    with pytest.raises(GalleyError, match="which no row of any scale has"):
        check_names(written(), few, **say)
    reference(tmp_path, items)
    check_names(written(), few, **say)


def test_without_a_source_its_names_are_let_through_but_no_metric_that_is_not_declared(written, items, metrics, tmp_path):
    say = {"path": tmp_path / "claims.yaml", "recipe": "p", "scale": "smoke"}
    official = items["benchmark"] == "heldout"
    few = pd.concat([items[~official], items[official].head(1).assign(method="m", setting="s", reason=unreached("case2code_test"))])
    with pytest.raises(GalleyError, match="which no row of any scale has"):
        check_names(written(), few.assign(reason=""), metrics=metrics, **say)
    check_names(written(), few, metrics=metrics, **say)
    with pytest.raises(GalleyError, match=r"metric is 'bits_per_byte', which recipes/metrics.yaml does not declare"):
        check_names(written(), few, metrics={n for n in metrics if n != "bits_per_byte"}, **say)


def test_a_claim_of_another_scale_may_name_what_this_one_lacks(written, items, metrics, tmp_path):
    say = {"path": tmp_path / "claims.yaml", "recipe": "p", "metrics": metrics}
    check_names(written(), items.tail(1), scale="laptop", **say)
    with pytest.raises(GalleyError, match="which no row of any scale has"):
        check_names(written(), items.tail(1), scale="smoke", **say)
