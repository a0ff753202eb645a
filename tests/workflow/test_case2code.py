"""The Case2Code recipe without sources and base model: the exact claims hold, and what needs a source is not run."""

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]
RATES = ["E3.lookup"]  # of a handful of functions here: two hidden cases can be had by luck
OFFICIAL = ["E1.official", "E2.official", "E3.official", "E3.official_baselines", "E3.official_outputs"]


def test_exact_claims_hold_and_what_lacks_its_source_says_so(every):
    claims = pd.read_csv(every.folder / "results/claims_case2code.csv", keep_default_na=False).set_index("claim_id")
    exact = claims[claims.index.str.startswith("E") & ~claims.index.isin([*OFFICIAL, *RATES])]
    assert len(exact) == 5 and set(exact["verdict"]) == {"holds"}, exact["verdict"]
    assert (exact["controls_flipped"] == exact["controls_run"]).all() and (exact["controls_run"] > 0).all()
    assert set(claims.loc[OFFICIAL, "verdict"]) == {"not_run"}
    assert claims.loc["E3.official", "reason"].endswith("case2code_test is out of reach")
