"""The recipe of docs/add_a_recipe.md: its files laid into a checkout, run at smoke scale, checked, and taken away again."""

import re

import pandas as pd
import pytest
from tree import ROOT, copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(300)]
PAGE = (ROOT / "docs/add_a_recipe.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^\*\*`([^`]+)`\*\*\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_is_whole_and_small():
    lines = [line for text in FILES.values() for line in text.splitlines() if line.strip()]
    assert len(lines) < 120, f"{len(lines)} lines that say something"
    assert {path.split("/")[0] for path in FILES} == {"recipes", "rules", "src"}


def test_its_recipe_runs_is_judged_and_goes_without_a_trace(tmp_path, shared):
    tree = copy_tree(tmp_path / "tree", tiny=False, shared=shared, source=True)
    before = sorted(path for path in tree.folder.rglob("*") if path.is_file())
    for name, text in FILES.items():
        path = tree.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree.folder / "src/galley/papers/shannon/__init__.py").touch()
    code, text = tree.snakemake("--cores", "2", "results/table_shannon.csv", "--config", "scale=smoke")
    assert code == 0, tree.failure(text)
    claims = pd.read_csv(tree.folder / "results/claims_shannon.csv").set_index("claim_id")
    assert claims["verdict"].to_dict() == {"D1": "proxy_agrees", "D2": "proxy_agrees"}
    assert (claims["controls_flipped"] == claims["controls_run"]).all() and claims["controls_run"].sum() == 2
    for words in (
        ("claims", "check", "shannon", "--scale", "smoke"),
        ("plan", "shannon", "--scale", "smoke"),
        ("shannon", "ngrams", "--help"),
    ):
        done = tree.run("galley", *words)
        assert done.returncode == 0, done.stdout + done.stderr
    runs = sorted(tree.folder.glob("results/smoke/shannon/state/*/*.json"))
    code, text = tree.snakemake("--cores", "2", "results/table_shannon.csv", "--config", "scale=smoke", "seeds=4")
    assert code == 0, tree.failure(text)
    more = sorted(tree.folder.glob("results/smoke/shannon/state/*/*.json"))
    assert set(runs) < set(more) and len(more) == len(runs) * 4 // 3, "seeds=4 runs the missing seed and nothing else"
    assert len({path.parent for path in more}) == 1
    for name in FILES:
        (tree.folder / name).unlink()
    (tree.folder / "src/galley/papers/shannon/__init__.py").unlink()
    (tree.folder / "recipes/shannon").rmdir()  # an empty folder is a recipe that was begun, which a run says
    code, text = tree.snakemake("-n", "all", "--config", "scale=smoke")
    assert code == 0 and "shannon" not in text, text
    assert all(path.exists() for path in before)
