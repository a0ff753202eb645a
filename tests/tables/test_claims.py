import math
from pathlib import Path

import pytest
import yaml

from galley.artifact import GalleyError
from galley.tables.claims import OWN, VERDICTS, Rows, load_claims

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/claims.yaml"))
BY_SCALE = {"reproduced", "contradicted", "below_margin", "confirmed", "refuted"}


def write(tmp_path, *entries, **defaults):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"defaults": defaults, "claims": list(entries)}, sort_keys=False))
    return path


def without(entry, *keys):
    return {key: value for key, value in entry.items() if key not in keys}


@pytest.fixture
def entry(claims):
    return claims[0].model_dump(exclude_none=True)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_a_recipe_s_claims_load_with_reasons_controls_and_places_in_the_paper(path):
    claims = load_claims(path)
    assert len({c.id for c in claims}) == len(claims) > 10
    for claim in claims:
        assert claim.controls and claim.margin.reason and claim.source and claim.statement.endswith("."), claim.id
        assert claim.kind == "structural" or claim.direction in ("less", "greater")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_what_is_expected_has_the_words_of_its_evidence_and_a_proxy_never_reproduces(path):
    for claim in load_claims(path):
        for scale, allowed in claim.expect.items():
            settled = set(allowed) - {"inconclusive", "not_run"}
            if claim.evidence == "self_check":
                assert settled <= {"holds", "broken"}, claim.id
            elif claim.evidence == "experiment" and scale != "paper":
                assert settled <= {verdict for verdict in VERDICTS if verdict.startswith("proxy_")}, claim.id
            else:
                assert settled <= BY_SCALE, claim.id
                assert claim.stance == "critique" or not settled & {"confirmed", "refuted"}, claim.id


SIDE = {"method": "a", "benchmark": "b", "metric": "c"}
OTHER = {**SIDE, "method": "control:a"}
POINTS = [{"name": "flat", "why": "grows nowhere", "points": [{"x": 1, "rows": SIDE}, {"x": 2, "rows": OTHER}]}]
WHY = {"why": "the base model learnt something", "rows": SIDE}
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
    ({"evidence": "rumour"}, "evidence.*'rumour'"),
    ({"stance": "neutral"}, "stance.*'neutral'"),
    ({"exact": True}, "exact: .*known keys: .*evidence"),
    ({"requires": [WHY]}, "a requirement needs least, most or below_gap"),
    ({"requires": [WHY | {"below_gap": True}]}, "below_gap compares a distance; say minus which rows"),
    ({"requires": [WHY | {"least": math.nan}]}, r"requires\.0\.least.*finite"),
    ({"requires": [WHY | {"least": 1, "why": "short"}]}, r"requires\.0\.why"),
    ({"requires": [{"why": WHY["why"], "least": 1}]}, r"requires\.0\.rows"),
    (
        {"kind": "structural", "expected": {"op": "eq", "value": 1}, "requires": [WHY | {"minus": SIDE, "below_gap": True}]},
        "a structural claim has no gap",
    ),
    ({"kind": "structural"}, "expected"),
    ({"kind": "trend"}, "points"),
    ({"lhs": {"method": "a", "benchmark": "b"}}, r"lhs\.metric"),
    ({"lhs": {"method": "", "benchmark": "b", "metric": "c"}}, r"lhs\.method"),
    ({"lhs": {"method": "a", "benchmark": " ", "metric": "c"}}, r"lhs\.benchmark"),
    ({"lhs": {"method": None, "benchmark": "b", "metric": "c"}}, r"lhs\.method.*None"),
    ({"scales": []}, "scales.*at least 1"),
    ({"statement": ""}, "statement"),
    *(({"margin": {"abs": value, "reason": "a number that is none"}}, r"margin\.abs") for value in (math.inf, math.nan, -math.inf)),
    ({"kind": "structural", "expected": {"op": "eq", "value": math.nan}}, r"expected\.value.*finite"),
    ({"kind": "structural", "expected": {"op": "eq", "value": 1, "atol": math.inf}}, r"expected\.atol.*finite"),
    ({"kind": "structural", "expected": {"op": "eq", "value": 1, "atol": -1}}, r"expected\.atol.*-1"),
    ({"controls": [{"name": "idle", "why": "nothing"}]}, "control 'idle' changes nothing of a order claim; give it lhs or rhs"),
    (
        {"kind": "structural", "expected": {"op": "eq", "value": 1}, "controls": [{"name": "r", "why": "w", "rhs": SIDE}]},
        "'r' changes nothing",
    ),
    ({"kind": "trend", "points": [{"x": 1, "rows": SIDE}], "controls": POINTS}, "two values of x"),
    ({"kind": "trend", "points": [{"x": 1, "rows": SIDE}, {"x": 1.0, "rows": SIDE}], "controls": POINTS}, "two values of x"),
    ({"kind": "trend", "points": [{"x": 1, "rows": SIDE}, {"x": math.inf, "rows": SIDE}], "controls": POINTS}, r"points\.1\.x.*finite"),
]


@pytest.mark.parametrize(("change", "words"), BROKEN)
def test_a_broken_claim_is_refused_by_file_claim_and_field(change, words, entry, tmp_path):
    with pytest.raises(GalleyError, match=rf"claims\.yaml:\d+: claim 'C1': .*{words}") as refused:
        load_claims(write(tmp_path, entry | change))
    assert "\n" not in str(refused.value)


GROUPED = """\
defaults:
  source: Table 1
  scales: [smoke, laptop]
  evidence: experiment
claims:
  - id: C1
    statement: Alone.
    kind: order
    rows: {benchmark: heldout, metric: loss, setting: final}
    lhs: {method: a}
    rhs: {method: b, setting: null}
    margin: {abs: 0.0, reason: an order has no margin}
    controls:
      - {name: broken, why: another two, lhs: {method: 'control:a'}, rhs: {method: c}}

  - defaults:
      kind: trend
      source: Table 2
      rows: {benchmark: heldout, metric: loss}
      margin: {abs: 0.5, reason: half of what is printed}
      controls:
        - {name: flat, why: the same everywhere, points: [{x: 0, rows: {method: a}}, {x: 1, rows: {method: c}}]}
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
    (broken,) = first.controls
    assert (broken.lhs.setting, broken.rhs.setting) == ("final", "final")
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
        ("{name: flat, why: the same everywhere", "{name: flat, wy: the same", r":22: claim 'C2': controls\.0\.wy: .*known keys: .*why"),
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


def test_a_claim_without_its_kind_of_evidence_is_refused(entry, tmp_path):
    with pytest.raises(GalleyError, match="claim 'C1': evidence: Field required"):
        load_claims(write(tmp_path, without(entry, "evidence")))


def test_a_requirement_s_rows_are_its_own_and_take_nothing_from_the_claim_s(tmp_path):
    more = "    lhs: {method: a}\n    requires: [{why: enough was read, rows: {method: c, benchmark: run, metric: count}, least: 10}]\n"
    first, *_ = load(tmp_path, GROUPED.replace("    lhs: {method: a}\n", more))
    assert first.requires[0].rows == Rows(method="c", benchmark="run", metric="count", setting=None)
    with pytest.raises(GalleyError, match=r"requires\.0\.rows\.benchmark: Field required"):
        load(tmp_path, GROUPED.replace("    lhs: {method: a}\n", more.replace("benchmark: run, ", "")))


def test_the_same_id_twice_is_refused(entry, tmp_path):
    with pytest.raises(GalleyError, match="'C1' appears twice"):
        load_claims(write(tmp_path, entry, entry))


@pytest.mark.parametrize(("text", "words"), [
    ("", "expected a mapping.*nothing"), ("- id: C1\n", "expected a mapping.*a list"), ("[]", "expected a mapping.*a list"),
    ("claims: [\n", r"claims\.yaml:2: not valid YAML"),
    ("claims: []\n", r"claims\.yaml:1: claims: .*at least 1"),
    ("a: 1\nclaims: [{id: C1}]\n", r"claims\.yaml:1: a: .*known keys: claims, defaults"),
    ("claims:\n  a: 1\n", r"claims\.yaml:1: claims: .*list"),
    ("claims: [3]\n", r"claims\.yaml:1: claims\.0: .*3"),
])  # fmt: skip
def test_a_file_that_is_no_mapping_with_claims_is_refused(text, words, tmp_path):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(GalleyError, match=words):
        load_claims(tmp_path / "claims.yaml")
    with pytest.raises(GalleyError, match="no claims at"):
        load_claims(tmp_path / "gone.yaml")


@pytest.mark.parametrize("name", ["two words", "", "a\tb"])
def test_an_id_is_one_word(name, entry, tmp_path):
    with pytest.raises(GalleyError, match=r"claims\.yaml:\d+: claim .*: id: "):
        load_claims(write(tmp_path, entry | {"id": name}))
