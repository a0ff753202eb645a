"""What plans would take, as a reader sees it: one line a recipe's scale, times as people say them, the way out, and the command."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from galley import cost, usage
from galley.cli import app
from galley.cost import Takes
from galley.cost_page import cpu_time, duration, gpu_time, overview
from galley.disk import size
from galley.plan import read_plan_of
from galley.recipe import SCALES, recipe_names
from galley.stage import stages_of

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = recipe_names(FOLDER)
ROOT = FOLDER.parent
TIMED = [ROOT / name for name in ("README.md", "config.yaml", "Makefile", "docs/cluster.md")] + sorted(FOLDER.glob("*/README.md"))
TIMES = re.compile(
    r"\b(\d+|one|two|three|ten|eleven|twelve|fifteen|a few) (min|minutes|hours)\b|quarter of an hour|, minutes\b", re.IGNORECASE
)
ROWS = re.compile(r"^\| \[`(\w+)`\].*\| (\d+) min \|.*$", re.MULTILINE)
POWERS = re.compile(r"\d(\.\d+)?e[+-]?\d|CPU-minutes|\bnan\b|\binf\b")


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)


def said(*words):
    done = CliRunner().invoke(app, ["plan", *words])
    assert done.exit_code == 0, done.output
    return done.output.rstrip("\n")


@pytest.mark.parametrize("words", [(), ("all",)])
def test_one_page_for_all_recipes(here, words):
    text = said(*words)
    rows = re.findall(r"^(\w+) +(smoke|laptop|paper) +(\d+) ", text, re.MULTILINE)
    assert [(name, scale) for name, scale, _ in rows] == [(name, scale) for name in RECIPES for scale in SCALES]
    for name, scale, jobs in rows:
        plan = read_plan_of(name, scale, folder=FOLDER)
        assert int(jobs) == sum(cost.jobs(plan, stages_of(name)).values())
        assert (f"galley pin {name}" in text) == any(
            cost.unpinned(read_plan_of(name, s, folder=FOLDER), stages_of(name), recipes=FOLDER) for s in SCALES
        )
    assert text.endswith("\nRun it: galley run RECIPE --scale S") and not POWERS.search(text)
    assert max(map(len, text.splitlines())) < 140 and len(text.splitlines()) < 50


def test_every_estimate_is_as_people_say_it(here):
    for name in RECIPES:
        for scale in SCALES:
            text = said(name, "--scale", scale)
            assert not POWERS.search(text) and text.endswith(f"\nRun it: galley run {name} --scale {scale}")


def test_what_was_asked_for_is_in_the_page_and_in_the_command(here):
    asked = ("--seeds", "3", "--effort", "2")
    one, page = said("mha2mla", "--scale", "laptop", *asked), said("--scale", "laptop", *asked)
    assert one.endswith("\nRun it: galley run mha2mla --scale laptop --seeds 3 --effort 2") and "with 3 seeds and effort 2" in one
    assert page.endswith("\nRun it: galley run RECIPE --scale laptop --seeds 3 --effort 2")
    assert f"{'fourier_attention':<20}laptop" in page, "a recipe that trains nothing keeps its one seed"
    assert page.count("laptop ") >= len(RECIPES) and " paper " not in page and said("--scale", "laptop") != page


def test_recipes_share_what_they_download():
    text = overview(RECIPES, ["laptop"], recipes=FOLDER)
    (together,) = re.findall(r"All together at laptop scale: ([\d.]+) MB", text)
    each = [float(n) for n in re.findall(r" laptop +\d+ +([\d.]+) MB", text)]
    assert max(each) < float(together) < 0.5 * sum(each), "one model, taken once"


def test_a_wrong_recipe_and_a_folder_without_recipes_are_one_line(here, tmp_path, monkeypatch, capsys):
    assert usage.run(app, ["plan", "nothing"]) == 2 and "known recipes: case2code" in capsys.readouterr().err
    assert usage.run(app, ["plan", "mha2mla", "--scale", "huge"]) == 2 and "--scale is 'huge'" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert usage.run(app, ["plan"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "go to the project's folder" in error


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0.001, "1 s"),
        (0.7, "42 s"),
        (1, "1 min"),
        (89, "89 min"),
        (100, "1.7 h"),
        (3900, "65 h"),
        (390000, "6,500 h"),
        (596.9, "9.9 h"),
        (600, "10 h"),
    ],
)
def test_durations(minutes, words):
    assert duration(minutes) == words


def test_what_is_not_counted_is_said():
    counted, open_ended = Takes("a", 5), Takes("b", None)
    assert cpu_time([counted]) == "5 min" and cpu_time([counted, open_ended]) == "over 5 min" and cpu_time([open_ended]) == "not counted"
    assert cpu_time([Takes("c", gpu_hours=3)]) == "" and [gpu_time(n) for n in (0, 0.01, 9.94, 34.5, 6480)] == [
        "",
        "< 0.1",
        "9.9",
        "34",
        "6,480",
    ]
    assert [size(n) for n in (0, 12, 5.9e3, 98.4e6, 3.5e12)] == ["nothing", "0.0 kB", "5.9 kB", "98.4 MB", "3.5 TB"]


@pytest.mark.parametrize("page", TIMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_how_long_a_recipe_takes_stands_in_one_table(page):
    text = page.read_text(encoding="utf-8")
    rows = ROWS.findall(text)
    assert [name for name, _ in rows] == (
        [] if page != ROOT / "README.md" else ["mha2mla", "fourier_attention", "unitcoder", "case2code", "codeseq"]
    )
    assert (said := TIMES.search(ROWS.sub("", text))) is None, said


def test_the_times_in_that_table_are_what_the_plans_say():
    for name, minutes in ROWS.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        parts = cost.takes(read_plan_of(name, "laptop", folder=FOLDER), stages_of(name))
        assert 0.5 < int(minutes) / (sum(part.cpu_minutes for part in parts) / 2) < 2, name
