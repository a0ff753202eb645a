"""The CodeSeq recipe on generated sequences, without a base model."""

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]


def test_exact_claims_hold_and_what_needs_a_model_is_not_run(every):
    claims = pd.read_csv(every.folder / "results/claims_codeseq.csv", keep_default_na=False)
    exact = claims[claims["claim_id"].str.startswith("E") | (claims["claim_id"] == "D3")]  # D4 is a share: of sixteen problems one is 6 %
    assert set(exact["verdict"]) == {"reproduced"} and (exact["controls_flipped"] == exact["controls_run"]).all()
    assert set(claims[claims["claim_id"].str.startswith(("M", "N"))]["verdict"]) == {"not_run"}
