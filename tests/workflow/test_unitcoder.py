"""The UnitCoder recipe end to end below the smoke scale: no mirror, no network, no base model."""

import pandas as pd
import pytest
from tree import SMOKE, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
TABLE = "results/table_unitcoder.csv"


def test_the_table_is_made_from_nothing_and_a_second_run_has_nothing_to_do(tmp_path, shared):
    tree = copy_tree(tmp_path / "unitcoder", tiny=True, shared=shared)
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0, tree.failure(text)
    claims = pd.read_csv(tree.folder / "results/claims_unitcoder.csv", keep_default_na=False).set_index("claim_id")
    exact = claims[claims.index.str.startswith("E") & (claims.index != "E5.list")]
    assert set(exact["verdict"]) == {"reproduced"} and (exact["controls_flipped"] == exact["controls_run"]).all()
    absent = ["E5.list", "D2.precision", "D3.yield", "D4.mbpp", "M1.filtered_unfiltered", "N1.llama", "N2"]
    assert set(claims.loc[absent, "verdict"]) == {"not_run"} and (claims.loc[absent, "reason"] != "").all()
    passed = (tree.folder / "results/smoke/unitcoder/pipeline/passed.jsonl").read_text().splitlines()
    assert len(passed) >= 4
    code, text = tree.snakemake("--cores", "2", TABLE, *SMOKE)
    assert code == 0 and "Nothing to be done" in text
