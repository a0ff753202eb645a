"""The end of a run: verdicts by kind, headline rows, files to open."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from snakemake_logger_plugin_galley.summary import ROWS, estimate, headline, recipes_asked, recipes_made, summary

REFERENCES = sorted((Path(__file__).parents[2] / "recipes").glob("*/reference/laptop/claims_*.csv"))
NAMES = ("claim_id", "statement", "tier", "kind", "scale", "verdict", "estimate", "ci_low", "ci_high")
CLAIMS = [
    ("S1", "Ours is ours.", "headline", "structural", "smoke", "holds", "0", "", ""),
    ("E1", "Bytes shrink.", "headline", "structural", "smoke", "reproduced", "0.3125", "", ""),
    ("D0", "A detail.", "ablation", "order", "smoke", "proxy_agrees", "1", "0.5", "1.5"),
    ("N1", "Not run.", "headline", "order", "smoke", "not_run", "", "", ""),
    ("D1", "It \x1b[2Jlearns.", "headline", "order", "smoke", "proxy_agrees", "0.377778", "0.272222", "0.488889"),
]


def write(folder, rows=CLAIMS, recipe="codeseq"):
    (folder / "results").mkdir(exist_ok=True)
    with (folder / f"results/claims_{recipe}.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([NAMES, *rows])


def test_a_recipe_s_lines(tmp_path):
    write(tmp_path)
    (tmp_path / "results/table_codeseq.html").touch()
    (tmp_path / "results/certificate_codeseq.html").touch()
    assert list(summary(tmp_path, ["codeseq", "absent"], 80)) == [
        "codeseq at smoke scale, 5 claims: 2 proxy_agrees, 1 reproduced, 1 not_run, 1 holds",
        "  D1  proxy_agrees  0.378 [0.272, 0.489]  It learns.",
        "  E1  reproduced    0.3125                Bytes shrink.",
        "  S1  holds         0                     Ours is ours.",
        "  open results/certificate_codeseq.html, results/table_codeseq.html",
    ]


def test_without_headlines_the_first_claims_stand_for_them(tmp_path):
    rows = [dict(zip(NAMES, row, strict=True)) | {"tier": "secondary"} for row in CLAIMS]
    assert [row["claim_id"] for row in headline(rows)] == ["D0", "D1", "E1", "S1"]


def test_a_file_of_another_kind_is_left_out(tmp_path):
    write(tmp_path, [("too", "short")])
    (tmp_path / "results/claims_other.csv").write_text("a,b\n1,2\n")
    assert [line for line in summary(tmp_path, ["codeseq", "other"], 80) if "open" in line] == []


@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_the_recipes_own_claims(tmp_path, path):
    (tmp_path / "results").mkdir()
    shutil.copy(path, tmp_path / "results")
    recipe = path.stem.removeprefix("claims_")
    lines = list(summary(tmp_path, [recipe], 100))
    with path.open(newline="") as handle:
        claims = list(csv.DictReader(handle))
    for verdict, n in Counter(claim["verdict"] for claim in claims).items():
        assert f"{n} {verdict}" in lines[0]
    assert 1 <= len(lines) - 1 <= ROWS and all(len(line) <= 100 for line in lines[1:])
    assert all(estimate(claim) for claim in headline(claims))


def test_the_recipes_of_finished_jobs():
    outputs = ["results/claims_a.csv", "results/table_b.csv", "s3://bucket/results/claims_c.csv (send to storage)"]
    assert recipes_made(outputs) == {"a", "c"}


def test_the_recipes_that_a_command_asks_for(tmp_path):
    write(tmp_path, recipe="a")
    write(tmp_path, recipe="b_c")
    asked = {
        ("--cores", "2", "results/table_a.csv"): {"a"},
        ("./results/certificate_b_c.html", "results/figures/a"): {"a", "b_c"},
        ("results/smoke/corpus/corpus.json",): set(),
        ("--cores", "all", "all"): {"a", "b_c"},
    }
    assert {words: recipes_asked(words, tmp_path, everything=True) for words in asked} == asked
    assert recipes_asked(["all"], tmp_path, everything=False) == set()
