"""The second recipe end to end below the smoke scale, on what the first one has made: models and text are shared."""

import pandas as pd
import pytest
from test_resume import upstream_of
from tree import SMOKE, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
TABLE = "results/table_fourier_attention.csv"


def test_the_table_is_made_from_the_shared_model_and_a_second_run_has_nothing_to_do(finished, tmp_path, shared):
    tree = upstream_of(finished, copy_tree(tmp_path / "fourier", tiny=True, shared=shared))
    base = tree.folder / "results/smoke/models/scratch-tiny/config.json"
    before = base.stat().st_mtime_ns
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0, tree.failure(text)
    assert base.stat().st_mtime_ns == before, "the base model was trained again"
    claims = pd.read_csv(tree.folder / "results/claims_fourier_attention.csv", keep_default_na=False)
    exact = claims[claims["claim_id"].str.startswith("E")]
    assert set(exact["verdict"]) == {"reproduced"} and (exact["controls_flipped"] == exact["controls_run"]).all()
    assert (tree.folder / "results/figures/fourier_attention/needles_scratch-tiny.svg").exists()
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0 and "Nothing to be done" in text


def test_recipes_that_disagree_about_a_model_are_refused(tmp_path, shared):
    tree = copy_tree(tmp_path / "apart", tiny=True, shared=shared)
    path = tree.folder / "recipes/fourier_attention/recipe.yaml"
    path.write_text(path.read_text().replace("vocab_size: 384", "vocab_size: 400"))
    code, text = tree.snakemake("-n", TABLE, *SMOKE)
    assert code != 0 and "models.scratch-tiny differs between" in text
