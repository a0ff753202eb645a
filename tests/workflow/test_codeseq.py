"""The CodeSeq recipe on generated sequences, without a base model."""

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]


def test_self_checks_hold_and_what_needs_a_model_is_not_run(every):
    claims = pd.read_csv(every.folder / "results/claims_codeseq.csv", keep_default_na=False)
    own = claims[claims["evidence"] == "self_check"]
    assert set(own["verdict"]) == {"holds"} and (own["controls_flipped"] == own["controls_run"]).all() and len(own) == 6
    assert set(claims[claims["claim_id"] == "E4"]["verdict"]) == {"not_run"}  # the paper's formula is not known
    trained = claims[claims["claim_id"].isin(["D1", "D2"])]
    assert set(trained["verdict"]) == {"inconclusive"} and set(trained["runs_lhs"].astype(int)) == {1}  # one run settles nothing
    assert set(claims[claims["claim_id"].str.startswith(("M", "N"))]["verdict"]) == {"not_run"}
