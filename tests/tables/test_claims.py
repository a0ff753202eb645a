from pathlib import Path

import pandas as pd
import pytest
import yaml

from galley.artifact import GalleyError
from galley.tables.claims import OWN, VERDICTS, Rows, check_file, load_claims

RECIPE = Path(__file__).parents[2] / "recipes/mha2mla/claims.yaml"


def write(tmp_path, *entries, **defaults):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"defaults": defaults, "claims": list(entries)}, sort_keys=False))
    return path


def without(entry, *keys):
    return {key: value for key, value in entry.items() if key not in keys}


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
    with pytest.raises(GalleyError, match=rf"claims\.yaml:\d+: claim 'C1': .*{words}"):
        load_claims(write(tmp_path, entry | change))


GROUPED = """\
defaults:
  source: Table 1
  scales: [smoke, laptop]

claims:
  - id: C1
    statement: Alone.
    kind: order
    rows: {benchmark: heldout, metric: loss, setting: final}
    lhs: {method: a}
    rhs: {method: b, setting: null}
    margin: {abs: 0.0, reason: an order has no margin}
    controls:
      - {name: swapped, why: exchanged, lhs: {method: b}, rhs: {method: a}}

  - defaults:
      kind: trend
      source: Table 2
      rows: {benchmark: heldout, metric: loss}
      margin: {abs: 0.5, reason: half of what is printed}
      controls:
        - {name: flat, why: the same everywhere, points: [{x: 0, rows: {method: a}}, {x: 1, rows: {method: a}}]}
    claims:
      - id: C2
        statement: In a group.
        points: [{x: 0, rows: {method: a}}, {x: 1, rows: {method: b, metric: bytes}}]
      - id: C3
        statement: In a group, with rows of its own.
        rows: {metric: bytes, model: m}
        points: [{x: 0, rows: {method: a}}, {x: 1, rows: {method: b}}]
        scales: [paper]
        margin: {abs: 0.25, reason: a quarter of what is printed}
"""


def load(tmp_path, text):
    (tmp_path / "claims.yaml").write_text(text)
    return load_claims(tmp_path / "claims.yaml")


def test_a_claim_takes_its_group_s_defaults_and_the_file_s_unless_it_says_otherwise(tmp_path):
    first, second, third = load(tmp_path, GROUPED)
    assert [c.source for c in (first, second, third)] == ["Table 1", "Table 2", "Table 2"]
    assert [c.scales for c in (first, second, third)] == [["smoke", "laptop"], ["smoke", "laptop"], ["paper"]]
    assert (second.margin.abs, third.margin.abs) == (0.5, 0.25)


def test_every_side_has_what_the_claim_s_rows_say_and_it_does_not(tmp_path):
    first, second, third = load(tmp_path, GROUPED)
    common = {"benchmark": "heldout", "metric": "loss"}
    assert first.lhs == Rows(method="a", setting="final", **common) and first.rhs == Rows(method="b", **common)
    (swapped,) = first.controls
    assert (swapped.lhs.setting, swapped.rhs.setting) == ("final", "final")
    assert [p.rows.metric for p in second.points] == ["loss", "bytes"]
    assert [(p.rows.metric, p.rows.model, p.rows.benchmark) for p in third.points] == [("bytes", "m", "heldout")] * 2
    assert [p.rows.model for p in third.controls[0].points] == ["m", "m"]  # a default's sides too


def test_groups_and_defaults_are_only_a_way_to_write(entry, tmp_path):
    """The same claim, whole and with each of its keys as a default."""
    whole = load_claims(write(tmp_path, entry))
    own = {key: entry[key] for key in OWN}
    assert load_claims(write(tmp_path, own, **without(entry, *OWN))) == whole
    assert load_claims(write(tmp_path, {"defaults": without(entry, *OWN), "claims": [own]}, source="overridden")) == whole


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  source: Table 1", "  sorce: Table 1", r":2: claim 'C1': sorce: .*'Table 1'.*known keys: .*source"),
        ("scales: [smoke, laptop]", "scales: [smoke, lap]", r":3: claim 'C1': scales\.1: .*'lap'"),
        ("      kind: trend", "      kind: guess", r":17: claim 'C2': kind: .*'guess'"),
        ("      margin: {abs: 0.5", "      margin: {abs: -1", r":20: claim 'C2': margin\.abs: .*-1"),
        ("      rows: {benchmark: heldout, metric: loss}", "      rows: {bench: x}", r":19: claim 'C2': points\.0\.rows\.bench: "),
        ("      rows: {benchmark: heldout, metric: loss}", "      rows: heldout", r":19: defaults\.rows: .*'heldout'"),
        ("      source: Table 2", "      id: C9", r":18: defaults have 'id', which is each claim's own"),
        ("  source: Table 1", "  statement: All.", r":2: defaults have 'statement'"),
        ("{name: flat, why: the same everywhere", "{name: flat, wy: the same", r":22: claim 'C2': controls\.0\.why: Field required"),
        ("rows: {metric: bytes, model: m}", "rows: [bytes]", r":29: claims\.1\.rows: .*\['bytes'\]"),
        ("    kind: order\n", "", r":6: claim 'C1': kind: Field required"),
        ("    claims:\n      - id: C2", "    claim:\n      - id: C2", r":16: claim '\?': defaults: "),
        ("id: C3", "id: C2", r":27: claim id 'C2' appears twice"),
    ],
)  # fmt: skip
def test_a_fault_names_the_line_that_says_it_be_it_a_default_s(old, new, words, tmp_path):
    assert GROUPED.count(old) == 1
    with pytest.raises(GalleyError, match=rf"claims\.yaml{words}"):
        load(tmp_path, GROUPED.replace(old, new))


def test_the_same_id_twice_is_refused(entry, tmp_path):
    with pytest.raises(GalleyError, match="'C1' appears twice"):
        load_claims(write(tmp_path, entry, entry))


@pytest.mark.parametrize(("text", "words"), [
    ("", "expected a mapping"), ("- id: C1\n", "expected a mapping"), ("claims: [\n", "not valid YAML"),
    ("a: 1\nclaims: []\n", r"claims\.yaml:1: a: .*known keys: claims, defaults"), ("claims:\n  a: 1\n", r"claims\.yaml:1: claims: .*list"),
    ("claims: [3]\n", r"claims\.yaml:1: claims\.0: .*3"),
])  # fmt: skip
def test_a_file_that_is_no_mapping_with_claims_is_refused(text, words, tmp_path):
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
