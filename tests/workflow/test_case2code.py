"""The Case2Code recipe end to end below the smoke scale: no mirror, no network, no base model; what needs a source is not run."""

import pandas as pd
import pytest
from tree import SMOKE, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
TABLE = "results/table_case2code.csv"
RATES = ["E3.constant", "E3.lookup"]  # of a handful of functions here: two hidden cases can be had by luck
OFFICIAL = ["E1.official", "E3.official", "E3.official_baselines"]


def test_the_table_is_made_from_nothing_and_a_second_run_has_nothing_to_do(tmp_path, shared):
    tree = copy_tree(tmp_path / "case2code", tiny=True, shared=shared)
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0, tree.failure(text)
    claims = pd.read_csv(tree.folder / "results/claims_case2code.csv", keep_default_na=False).set_index("claim_id")
    exact = claims[claims.index.str.startswith("E") & ~claims.index.isin([*OFFICIAL, *RATES])]
    assert len(exact) == 5 and set(exact["verdict"]) <= {"reproduced"}, exact["verdict"]
    assert (exact["controls_flipped"] == exact["controls_run"]).all() and (exact["controls_run"] > 0).all()
    assert set(claims.loc[OFFICIAL, "verdict"]) == {"not_run"} and claims.loc["E3.official", "reason"].endswith("case2code_test is absent")
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0 and "Nothing to be done" in text
