"""Every recipe end to end below the smoke scale: no mirror, no network, no base model but what is trained on the spot."""

import pandas as pd
import pytest
from pages import html_of, latex_of, markdown_of, svg_of
from tree import ROOT, SMOKE, tables

from galley.artifact import GalleyError
from galley.plan import read_plan_of
from galley.recipe import recipe_names
from galley.stage import stages_of
from galley.tables.claims import load_claims
from galley.tables.planned import check_jobs

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]
RECIPES = recipe_names(ROOT / "recipes")


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_table_is_made_from_nothing_with_a_verdict_on_every_claim(every, recipe):
    results = every.folder / "results"
    claims = pd.read_csv(results / f"claims_{recipe}.csv", keep_default_na=False)
    assert claims["claim_id"].tolist() == [claim.id for claim in load_claims(every.folder / "recipes" / recipe / "claims.yaml")]
    assert (claims.loc[claims["verdict"] == "not_run", "reason"] != "").all()
    read = {".html": html_of, ".md": markdown_of, ".tex": latex_of}
    pages = [*(f"table_{recipe}{form}" for form in read), f"certificate_{recipe}.html", f"certificate_{recipe}.md"]
    for name in pages:
        assert (results / name).stat().st_size > 500, name
        read[(results / name).suffix]((results / name).read_text(encoding="utf-8"))  # nothing from outside, no mark-up but ours
    for path in (results / "figures" / recipe).glob("*.svg"):
        svg_of(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_rows_and_runs_are_joined_and_no_two_pieces_of_work_share_an_id(every, recipe):
    plan, folder = read_plan_of(recipe, "smoke", folder=every.folder / "recipes"), every.folder / "results/smoke" / recipe
    ids = []
    for name in stages_of(recipe).leaves(plan):
        items, runs = pd.read_parquet(folder / f"{name}.items.parquet"), pd.read_csv(folder / f"{name}.runs.csv", dtype={"run_id": str})
        assert set(items["run_id"]) <= set(runs["run_id"]) and set(runs["paper"]) == {recipe}, name
        assert set(runs["stage"]) == {name.split("/")[-1].split("-")[0]} and runs["wall_s"].ge(0).all()
        ids += runs["run_id"].tolist()
    assert len(ids) == len(set(ids)) > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_table_without_one_job_s_files_is_refused_for_every_job(every, recipe):
    plan, folder = read_plan_of(recipe, "smoke", folder=every.folder / "recipes"), every.folder / "results/smoke" / recipe
    planned = stages_of(recipe).planned(plan)
    for lost in planned:
        files = {kind: [folder / f"{name}.{kind}" for name in planned if name != lost] for kind in ("items.parquet", "runs.csv")}
        if len(planned) > 1:
            with pytest.raises(GalleyError, match=f"lacks the runs of {lost}, of {len(planned)} jobs"):
                check_jobs(planned, items=files["items.parquet"], runs=files["runs.csv"], recipe=recipe, scale="smoke")


def test_a_second_run_has_nothing_to_do(every):
    code, text = every.snakemake("--cores", "2", *tables(every), *SMOKE)
    assert code == 0 and "Nothing to be done" in text, text
