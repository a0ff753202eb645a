"""Judged claims against the expected ones: what regressed, what was never tested, and what no source could be had for."""

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from galley.artifact import GalleyError
from galley.cli import app
from galley.tables.check import check_file, report
from galley.tables.items import unreached
from galley.tables.judge import judge

GONE = f"unstable  case2code_test/count: {unreached('case2code_test')}"
NOT_RUN = {"verdict": "not_run", "controls_run": 0, "controls_flipped": 0}


@pytest.fixture
def claims_yaml(claims, tmp_path):
    def write(**changes):
        (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [claims[0].model_dump(exclude_none=True) | changes]}))
        return tmp_path / "claims.yaml"

    return write


def verdicts(folder, *more, **changes):
    row = {"claim_id": "C1", "scale": "smoke", "verdict": "proxy_agrees", "reason": "", "controls_run": 1, "controls_flipped": 1,
           "controls": "broken: proxy_reverse"}  # fmt: skip
    path = folder / "claims_p.csv"
    pd.DataFrame([row | changes, *(row | other for other in more)]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"verdict": "inconclusive"}, None),  # too few data is an outcome, not a regression
        (NOT_RUN, "verdict is not_run, expected proxy_agrees"),
        ({"verdict": "proxy_reverse"}, "verdict is proxy_reverse, expected proxy_agrees"),
        ({"controls_flipped": 0, "controls": "broken: proxy_agrees"}, "a control did not flip it: broken: proxy_agrees"),
        ({"controls_run": 0, "controls_flipped": 0, "controls": "broken: not_run (no such row)"}, "none of its controls ran"),
        ({"controls_run": 0, "controls_flipped": 0, "controls": ""}, "none of its controls ran"),
        ({"controls": "broken: proxy_reverse; other: not_run (no such row)"}, "a control did not run: other: not_run (no such row)"),
        ({"claim_id": "C2"}, "C1: not in"),
    ],
)
def test_it_reports_what_changed(changes, words, claims_yaml, tmp_path):
    found = check_file(verdicts(tmp_path, **changes), claims_yaml(), "smoke")
    assert bool(found.problems) == (words is not None) and found.unchecked == []
    assert words is None or words in found.problems[0]
    assert report("p", "smoke", found)[1] is (words is None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (NOT_RUN | {"reason": GONE}, "C1: not run, expected proxy_agrees"),
        ({"controls": f"broken: proxy_reverse; other: not_run ({GONE})"}, "a control did not run: other"),
        ({"controls_run": 0, "controls_flipped": 0, "controls": f"broken: not_run ({GONE})"}, "a control did not run: broken"),
    ],
)
def test_a_source_out_of_reach_is_said_and_counted_and_fails_only_a_complete_check(changes, words, claims_yaml, tmp_path):
    found = check_file(verdicts(tmp_path, **changes), claims_yaml(), "smoke")
    assert found.problems == [] and len(found.unchecked) == 1
    assert words in found.unchecked[0] and "the source case2code_test is out of reach" in found.unchecked[0]
    lines, passes = report("p", "smoke", found)
    assert passes and "1 of its claims or controls could not be checked" in lines[-1] and "--complete" in lines[-1]
    lines, passes = report("p", "smoke", found, complete=True)
    assert not passes and "1 of its claims" in lines[-1]


def test_what_regressed_beside_an_absent_source_fails_still(claims, tmp_path):
    written = [claim.model_dump(exclude_none=True) for claim in (claims[0], claims[0].model_copy(update={"id": "C2"}))]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": written}))
    path = verdicts(tmp_path, {"claim_id": "C2", "verdict": "proxy_reverse"}, **NOT_RUN, reason=GONE)
    found = check_file(path, tmp_path / "claims.yaml", "smoke")
    assert [line.split(":")[0] for line in found.unchecked] == ["C1"] and [line.split(":")[0] for line in found.problems] == ["C2"]
    lines, passes = report("p", "smoke", found)
    assert not passes and lines[0].startswith("C2") and "could not be checked" in lines[-1]


def test_the_command_says_it_and_takes_complete(claims_yaml, tmp_path, monkeypatch):
    recipe = tmp_path / "recipes/mha2mla"  # a recipe that has code, and other claims
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").touch()
    claims_yaml().rename(recipe / "claims.yaml")
    verdicts(tmp_path, **NOT_RUN, reason=GONE).rename(tmp_path / "claims_mha2mla.csv")
    monkeypatch.chdir(tmp_path)
    words = ["claims", "check", "mha2mla", "--scale", "smoke", "--results", "."]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "C1: not run" in done.output and "1 of its claims or controls" in done.output
    assert CliRunner().invoke(app, [*words, "--complete"]).exit_code == 1


def test_a_judged_control_without_rows_is_seen_with_its_reason(items, claims, claims_yaml, tmp_path):
    side = {"benchmark": "heldout", "metric": "bits_per_byte", "setting": "final"}
    lost = [{"name": "lost", "why": "no row has it", "lhs": {"method": "original", **side, "setting": "start"}}]
    path = claims_yaml(controls=lost)
    judged = judge([claims[0].model_validate({**claims[0].model_dump(exclude_none=True), "controls": lost})], items, scale="smoke")
    judged.to_csv(tmp_path / "claims_p.csv", index=False)
    assert "no control ran: nothing shows that this check can fail" in judged["reason"].iloc[0]
    assert "none of its controls ran: lost: not_run (original start" in check_file(tmp_path / "claims_p.csv", path, "smoke").problems[0]


def test_an_exact_claim_may_not_become_inconclusive(claims_yaml, tmp_path):
    for evidence, word in (("printed", "reproduced"), ("artefact", "reproduced"), ("self_check", "holds")):
        path = claims_yaml(evidence=evidence, expect={"smoke": [word]})
        assert f"expected {word}" in check_file(verdicts(tmp_path, verdict="inconclusive"), path, "smoke").problems[0]


def test_a_verdict_of_no_claim_is_a_problem(claims_yaml, tmp_path):
    assert "C9: in" in check_file(verdicts(tmp_path, {"claim_id": "C9"}), claims_yaml(), "smoke").problems[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "verdicts are empty"),
        (lambda text: text.splitlines()[0] + "\n", "there are no verdicts"),
        (lambda text: text.replace("controls_run", "controls"), "lack the column 'controls_run'"),
        (lambda text: text.replace("proxy_agrees", "proxy_agree", 1), ":2: verdict is 'proxy_agree'; it is one of reproduced"),
        (lambda text: text.replace(",1,1,", ",one,1,"), ":2: controls_run is 'one'"),
        (lambda text: text + text.splitlines()[1] + "\n", ":3: claim_id is 'C1'; that claim is there twice"),
        (lambda text: text.rstrip().rsplit(",", 1)[0], ":2: verdicts have 6 cells here and 7 in the head"),
        (lambda text: text.replace("smoke", "laptop"), "is of scale laptop, not smoke"),
    ],
)
def test_a_broken_file_of_verdicts_is_refused_by_line_and_column(change, words, claims_yaml, tmp_path):
    path = verdicts(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(GalleyError, match=r"claims_p\.csv.*" + words) as refused:
        check_file(path, claims_yaml(), "smoke")
    assert "\n" not in str(refused.value)


def test_a_missing_file_says_what_makes_it(claims_yaml, tmp_path):
    with pytest.raises(GalleyError, match="make the table first"):
        check_file(tmp_path / "gone.csv", claims_yaml(), "smoke")
