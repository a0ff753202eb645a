"""All of a table or nothing: a fault in any file that is read, or in any step, leaves what an earlier run published."""

import random
import shutil
from functools import partial

import pandas as pd
import pytest
import yaml

from galley.artifact import GalleyError
from galley.tables import publish as module
from galley.tables.publish import publish
from galley.tables.rows import write_items, write_runs

README = "# P\n\n## Deviations\n\n- smaller\n\n## Ambiguities settled\n\n- the seed is 42\n"
RUN = {"run_id": "r1", "paper": "p", "scale": "smoke", "stage": "adapt", "wall_s": 60.4, "cpu_s": 59.0, "peak_rss_mib": 700.0}
GIVEN = {"items": "i.parquet", "runs": "r.csv", "claims": "recipes/p/claims.yaml", "values": "recipes/p/paper_values.csv",
         "metrics": "recipes/metrics.yaml", "figures": "recipes/p/figures.yaml", "readme": "recipes/p/README.md"}  # fmt: skip


def call(home, recipe="p", scale="smoke", **more):
    files = {"items": [home / "i.parquet"], "runs": [home / "r.csv"]}
    publish(recipe, **files, scale=scale, folder=home / "recipes/p", results=home / "results", **more)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A place for what every test begins with: it takes a second to make."""
    return tmp_path_factory.mktemp("once") / "home"


@pytest.fixture
def made(once, items, claims, paper, metrics, figures, tmp_path):
    """A recipe's files and the call that makes its table, which was made once."""
    if not once.exists():
        folder = once / "recipes/p"
        folder.mkdir(parents=True)
        (once / "recipes/metrics.yaml").write_text(yaml.safe_dump({name: metric.model_dump() for name, metric in metrics.items()}))
        (folder / "claims.yaml").write_text(yaml.safe_dump({"claims": [c.model_dump(exclude_none=True) for c in claims]}))
        (folder / "README.md").write_text(README)
        (folder / "figures.yaml").write_text(figures.read_text())
        paper.to_csv(folder / "paper_values.csv", index=False)
        write_items(items, once / "i.parquet")
        write_runs(pd.DataFrame([RUN]), once / "r.csv")
        call(once)
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    figures.unlink(missing_ok=True)
    return partial(call, tmp_path)


def published(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_all_there_the_same_bytes_twice_and_nothing_else(made, tmp_path):
    first = published(tmp_path / "results")
    made()
    assert published(tmp_path / "results") == first
    forms = {f"table_p.{form}" for form in ("csv", "md", "tex", "html")}
    assert {name for name in first if "/" not in name} == forms | {"claims_p.csv", "certificate_p.md", "certificate_p.html"}
    assert sorted(path.name for path in (tmp_path / "results").iterdir() if path.is_dir()) == ["figures"]
    assert sorted(name for name in first if "/" in name) == ["figures/p/needles_m_1.svg", "figures/p/recovered_fraction_m_1.svg"]


def test_figures_that_are_no_longer_declared_go(made, tmp_path):
    (tmp_path / "recipes/p/figures.yaml").unlink()
    made()
    assert list((tmp_path / "results/figures/p").iterdir()) == []


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "0 bytes": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) * (4 if path.suffix == ".csv" else 5) // 10]),
    "random bytes": lambda path: path.write_bytes(random.Random(3).randbytes(500)),
    "UTF-16": lambda path: path.write_bytes("a: 1\n".encode("utf-16")),
    "a list": lambda path: path.write_text("[]"),
}
FINE = {("figures", "missing"), ("figures", "0 bytes"), ("readme", "0 bytes"), ("readme", "cut off"), ("readme", "a list")}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", GIVEN)
def test_a_broken_file_is_one_line_and_nothing_is_published(name, damage, made, tmp_path):
    before, path = published(tmp_path / "results"), tmp_path / GIVEN[name]
    DAMAGE[damage](path)
    if (name, damage) in FINE - {("figures", "0 bytes")}:  # a recipe may draw nothing, and a README may say little
        return made()
    with pytest.raises(GalleyError) as refused:
        made()
    assert path.name in str(refused.value) and "\n" not in str(refused.value)
    assert published(tmp_path / "results") == before and {p.name for p in (tmp_path / "results").glob(".*")} == set()
    return None


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_nor_is_anything_where_nothing_was(damage, made, tmp_path):
    shutil.rmtree(tmp_path / "results")
    DAMAGE[damage](tmp_path / "r.csv")
    with pytest.raises(GalleyError):
        made()
    assert not published(tmp_path / "results")


@pytest.mark.parametrize("step", ["make_table", "draw_figures", "render_all", "write_certificate"])
def test_a_step_that_fails_half_way_leaves_what_was_there(step, made, tmp_path, monkeypatch):
    before = published(tmp_path / "results")
    whole = getattr(module, step)

    def fails(*arguments, **named):
        whole(*arguments, **named)
        raise RuntimeError("half way")

    monkeypatch.setattr(module, step, fails)
    (tmp_path / "recipes/p/README.md").write_text(README.replace("smaller", "larger"))
    with pytest.raises(RuntimeError, match="half way"):
        made()
    assert published(tmp_path / "results") == before
    monkeypatch.undo()
    made()
    assert published(tmp_path / "results") != before


def test_a_name_slip_rows_of_another_recipe_and_a_blocked_place_publish_nothing(made, tmp_path):
    before = published(tmp_path / "results")
    claims = tmp_path / "recipes/p/claims.yaml"
    kept = claims.read_text()
    claims.write_text(kept.replace("method: a&b_50%|x", "method: 'control:typo'"))
    with pytest.raises(GalleyError, match="'control:typo', which no row of any scale has"):
        made()
    claims.write_text(kept)
    with pytest.raises(GalleyError, match="this table is of q"):
        made(recipe="q")
    with pytest.raises(GalleyError, match="this table is of laptop"):
        made(scale="laptop")
    assert published(tmp_path / "results") == before
    (tmp_path / "results/table_p.html").unlink()
    (tmp_path / "results/table_p.html").mkdir()
    del before["table_p.html"]
    with pytest.raises(GalleyError, match=r"table_p\.html is a folder"):
        made()
    assert published(tmp_path / "results") == before


def test_a_recipe_that_is_not_there_is_told_the_known_ones(tmp_path):
    with pytest.raises(GalleyError, match="there are no recipes in"):
        publish("p", items=[], runs=[], scale="smoke", folder=tmp_path / "recipes/p", results=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_sources_out_of_reach_reach_the_pages(made, tmp_path):
    made(absent=[("case2code_test", "set GALLEY_MIRROR to a folder that has it")])
    for page in ("table_p.md", "table_p.html", "certificate_p.md"):
        assert "case2code" in (tmp_path / "results" / page).read_text(), page
