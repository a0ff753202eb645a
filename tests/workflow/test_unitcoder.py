"""The UnitCoder recipe on the standard library's functions, without benchmarks and base model."""

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]


def test_exact_claims_hold_and_what_lacks_its_source_is_not_run(every):
    claims = pd.read_csv(every.folder / "results/claims_unitcoder.csv", keep_default_na=False).set_index("claim_id")
    exact = claims[claims["evidence"] == "self_check"]
    assert set(exact["verdict"]) == {"holds"} and (exact["controls_flipped"] == exact["controls_run"]).all() and len(exact) == 8
    absent = ["A1", "A3", "E5.list", "D2.precision", "D3.yield", "D4.mbpp", "M1.filtered_unfiltered", "N1.llama", "N2"]
    assert set(claims.loc[absent, "verdict"]) == {"not_run"} and (claims.loc[absent, "reason"] != "").all()
    passed = (every.folder / "results/smoke/unitcoder/pipeline/passed.jsonl").read_text().splitlines()
    assert len(passed) >= 4
