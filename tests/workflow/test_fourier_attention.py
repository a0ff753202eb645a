"""The FourierAttention recipe on the model and the text that MHA2MLA's run has made."""

import pandas as pd
import pytest
from tree import SMOKE, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]
TABLE = "results/table_fourier_attention.csv"


def test_exact_claims_hold_on_the_shared_model(every):
    claims = pd.read_csv(every.folder / "results/claims_fourier_attention.csv", keep_default_na=False)
    exact = claims[claims["claim_id"].str.startswith("E")]
    assert set(exact["verdict"]) == {"reproduced", "confirmed", "holds"} and (exact["controls_flipped"] == exact["controls_run"]).all()
    assert (every.folder / "results/figures/fourier_attention/needles_scratch-tiny.svg").exists()
    base = every.folder / "results/smoke/models/scratch-tiny/config.json"
    assert base.stat().st_mtime_ns < (every.folder / "results/table_mha2mla.csv").stat().st_mtime_ns, "the base model was trained again"


def test_recipes_that_disagree_about_a_model_are_refused(tmp_path, shared):
    tree = copy_tree(tmp_path / "apart", tiny=True, shared=shared)
    path = tree.folder / "recipes/fourier_attention/recipe.yaml"
    path.write_text(path.read_text().replace("vocab_size: 384", "vocab_size: 400"))
    code, text = tree.snakemake("-n", TABLE, *SMOKE)
    assert code != 0 and "models 'scratch-tiny' differs between" in text
