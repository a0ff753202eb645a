"""The figures that pages print are those of the reference runs, and each reference run has the claims of today's recipe."""

import re
from pathlib import Path

import pandas as pd
import pytest

from galley.tables.check import Checked, check_file
from galley.tables.claims import load_claims
from galley.tables.numbers import number

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/recipe.yaml"))
COUNTS = re.compile(r"The verdicts on (\d+) claims: ([a-z_ 0-9,]+)\. Of the (\d+) controls that ran, (\d+) flipped")
ROW = re.compile(r"^\| ([A-Z]\d[\w.=+:-]*): (.*?) \| \**([a-z ]+?)\** \| (\S*) \| (?:\[(\S+), (\S+)\])? ?\|$", re.MULTILINE)
PAGES = {recipe: [ROOT / f"recipes/{recipe}/README.md"] for recipe in RECIPES}
PAGES["mha2mla"].append(ROOT / "README.md")


def reference(recipe):
    return ROOT / f"recipes/{recipe}/reference/laptop/claims_{recipe}.csv"


def claims_of(recipe):
    return pd.read_csv(reference(recipe)).set_index("claim_id")


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_reference_run_is_of_the_recipe_s_claims_and_as_expected(recipe):
    path = ROOT / f"recipes/{recipe}/claims.yaml"
    assert list(claims_of(recipe).index) == [claim.id for claim in load_claims(path)]
    assert check_file(reference(recipe), path, "laptop") == Checked()


@pytest.mark.parametrize("recipe", RECIPES)
def test_pages_print_the_reference_run_s_verdicts(recipe):
    claims = claims_of(recipe)
    found = [match for page in PAGES[recipe] for match in COUNTS.findall(page.read_text(encoding="utf-8"))]
    assert found, "no page says 'The verdicts on N claims: ...'"
    for total, verdicts, ran, flipped in found:
        assert int(total) == len(claims)
        printed = {word: int(n) for word, n in (part.split() for part in verdicts.split(", "))}
        assert printed == claims["verdict"].value_counts().to_dict()
        assert (int(ran), int(flipped)) == (claims["controls_run"].sum(), claims["controls_flipped"].sum())


@pytest.mark.parametrize("recipe", RECIPES)
def test_pages_print_the_reference_run_s_estimates(recipe):
    claims = claims_of(recipe)
    rows = [match for page in PAGES[recipe] for match in ROW.findall(page.read_text(encoding="utf-8"))]
    assert rows
    for claim, statement, verdict, *figures in rows:
        kept = claims.loc[claim]
        assert (statement, verdict) == (kept["statement"], kept["verdict"].replace("_", " "))
        for figure, column in zip(figures, ("estimate", "ci_low", "ci_high"), strict=True):
            assert figure == "" or figure == f"{'+' * int(kept[column] > 0)}{number(kept[column])}", (claim, column)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_readme_counts_the_reference_run_s_verdicts(recipe):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = re.search(rf"^\| \[`{recipe}`\]\(.*?\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert printed, f"README.md has no row of {recipe}"
    count = claims_of(recipe)["verdict"].value_counts()
    columns = (["reproduced"], ["proxy_agrees"], ["proxy_disagrees", "contradicted"], ["inconclusive"], ["not_run"])
    assert [int(n) for n in printed.groups()] == [sum(count.get(verdict, 0) for verdict in column) for column in columns]
