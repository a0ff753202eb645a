"""The CodeSeq recipe end to end below the smoke scale: no mirror, no network, no base model."""

import pandas as pd
import pytest
from tree import SMOKE, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
TABLE = "results/table_codeseq.csv"


def test_the_table_is_made_from_nothing_and_a_second_run_has_nothing_to_do(tmp_path, shared):
    tree = copy_tree(tmp_path / "codeseq", tiny=True, shared=shared)
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0, tree.failure(text)
    claims = pd.read_csv(tree.folder / "results/claims_codeseq.csv", keep_default_na=False)
    exact = claims[claims["claim_id"].str.startswith("E") | (claims["claim_id"] == "D3")]  # D4 is a share: of sixteen problems one is 6 %
    assert set(exact["verdict"]) == {"reproduced"} and (exact["controls_flipped"] == exact["controls_run"]).all()
    assert set(claims[claims["claim_id"].str.startswith(("M", "N"))]["verdict"]) == {"not_run"}
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0 and "Nothing to be done" in text
