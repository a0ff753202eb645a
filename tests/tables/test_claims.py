from pathlib import Path

import pandas as pd
import pytest
import yaml

from galley.artifact import GalleyError
from galley.tables.claims import VERDICTS, check_file, load_claims

RECIPE = Path(__file__).parents[2] / "recipes/mha2mla/claims.yaml"


def write(tmp_path, *entries):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return path


@pytest.fixture
def entry(claims):
    return claims[0].model_dump(exclude_none=True)


def verdicts(tmp_path, **changes):
    row = {"claim_id": "C1", "scale": "smoke", "verdict": "proxy_agrees", "reason": "", "controls_run": 1, "controls_flipped": 1,
           "controls": "swapped: proxy_disagrees"}  # fmt: skip
    path = tmp_path / "claims.csv"
    pd.DataFrame([row | changes]).to_csv(path, index=False)
    return path


def test_the_recipe_s_claims_load_with_reasons_controls_and_places_in_the_paper():
    claims = load_claims(RECIPE)
    assert len({c.id for c in claims}) == len(claims) > 40
    for claim in claims:
        assert claim.controls and claim.margin.reason and claim.source and claim.statement.endswith("."), claim.id
        assert claim.kind == "structural" or claim.direction in ("less", "greater")


def test_a_proxy_is_never_expected_to_reproduce():
    for claim in load_claims(RECIPE):
        for scale, allowed in claim.expect.items():
            if not claim.exact and scale != "paper":
                assert not set(allowed) & {"reproduced", "contradicted"}, claim.id
            assert set(allowed) <= set(VERDICTS)


BROKEN = [
    ({"colour": "red"}, "colour"),
    ({"kind": "guess"}, "kind.*'guess'"),
    ({"scales": ["huge"]}, r"scales\.0.*'huge'"),
    ({"expect": {"huge": ["proxy_agrees"]}}, "expect.huge"),
    ({"expect": {"smoke": ["fine"]}}, "expect has 'fine'"),
    ({"margin": {"abs": -1, "reason": "a negative margin"}}, r"margin\.abs.*-1"),
    ({"margin": {"abs": 0.1, "reason": "short"}}, r"margin\.reason"),
    ({"controls": []}, "control"),
    ({"direction": "up"}, "direction"),
    ({"kind": "structural"}, "expected"),
    ({"kind": "trend"}, "points"),
    ({"lhs": {"method": "a", "benchmark": "b"}}, r"lhs\.metric"),
]


@pytest.mark.parametrize(("change", "words"), BROKEN)
def test_a_broken_claim_is_refused_by_file_claim_and_field(change, words, entry, tmp_path):
    with pytest.raises(GalleyError, match=rf"claims\.yaml: claim 'C1': .*{words}"):
        load_claims(write(tmp_path, entry | change))


def test_the_same_id_twice_is_refused(entry, tmp_path):
    with pytest.raises(GalleyError, match="'C1' appears twice"):
        load_claims(write(tmp_path, entry, entry))


@pytest.mark.parametrize(("text", "words"), [("", "expected a list"), ("a: 1\n", "expected a list"), ("- [\n", "not valid YAML")])
def test_a_file_that_is_no_list_is_refused(text, words, tmp_path):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(GalleyError, match=words):
        load_claims(tmp_path / "claims.yaml")
    with pytest.raises(GalleyError, match="no claims at"):
        load_claims(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"verdict": "inconclusive"}, None),  # too few data is an outcome, not a regression
        ({"verdict": "not_run", "controls_run": 0, "controls_flipped": 0}, "verdict is not_run, expected proxy_agrees"),
        ({"verdict": "proxy_disagrees"}, "verdict is proxy_disagrees, expected proxy_agrees"),
        ({"controls_flipped": 0, "controls": "swapped: proxy_agrees"}, "a control did not flip it: swapped: proxy_agrees"),
        ({"controls_run": 0, "controls_flipped": 0, "controls": "swapped: not_run"}, "none of its controls ran"),
        ({"claim_id": "C2"}, "C1: not in"),
    ],
)
def test_check_reports_what_changed(changes, words, entry, tmp_path):
    problems = check_file(verdicts(tmp_path, **changes), write(tmp_path, entry), "smoke")
    assert len(problems) == (words is not None)
    assert words is None or words in problems[0]


def test_an_exact_claim_may_not_become_inconclusive(entry, tmp_path):
    claims = write(tmp_path, entry | {"exact": True, "expect": {"smoke": ["reproduced"]}})
    assert "expected reproduced" in check_file(verdicts(tmp_path, verdict="inconclusive"), claims, "smoke")[0]


def test_check_refuses_another_scale_and_a_missing_file(entry, tmp_path):
    path, claims = verdicts(tmp_path), write(tmp_path, entry)
    with pytest.raises(GalleyError, match="is of scale smoke, not laptop"):
        check_file(path, claims, "laptop")
    with pytest.raises(GalleyError, match="make the table first"):
        check_file(tmp_path / "gone.csv", claims, "smoke")
