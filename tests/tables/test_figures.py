import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from pages import svg_of

from galley.artifact import GalleyError
from galley.tables.figures import draw_figures, file_names, load_figures
from galley.tables.metrics import load_metrics
from galley.tables.rows import write_items

ROOT = Path(__file__).parents[2]


@pytest.fixture
def draw(figures, metrics, tmp_path):
    def of(items, turn="figures", figures=figures):
        write_items(items, tmp_path / f"{turn}.parquet")
        draw_figures([tmp_path / f"{turn}.parquet"], figures=figures, metrics=metrics, out=tmp_path / turn)
        return {path.name: path.read_text() for path in (tmp_path / turn).iterdir()}

    return of


def test_figures_are_vector_files_that_name_their_arms(items, draw):
    drawn = draw(items)
    assert set(drawn) == {"recovered_fraction_m_1.svg", "needles_m_1.svg"}
    for text in drawn.values():
        assert svg_of(text) and ElementTree.fromstring(text).tag.endswith("svg") and text.count("<path") > 5
    comments = " ".join(re.findall(r"<!-- (.*?) -->", drawn["recovered_fraction_m_1.svg"]))
    assert "fine-tuning step" in comments and "50%" in comments
    assert "answer nats/token" in drawn["needles_m_1.svg"]


def test_the_same_rows_are_the_same_bytes_without_a_date(items, draw):
    first, second = draw(items, "a"), draw(items, "b")
    assert first == second
    assert not any("dc:date" in text for text in first.values())


def test_the_curve_follows_its_rows(items, draw):
    curve = items["metric"] == "recovered_fraction"
    moved = items.copy()
    moved.loc[curve, "score"] = [0.1, 0.9]
    name = "recovered_fraction_m_1.svg"
    assert draw(items, "a")[name] != draw(moved, "b")[name]


@pytest.mark.parametrize(("absent", "left"), [("heldout", "needles_m_1.svg"), ("needle", "recovered_fraction_m_1.svg")])
def test_an_absent_benchmark_leaves_its_figure_out(absent, left, items, draw):
    assert set(draw(items[items["benchmark"] != absent])) == {left}


def test_without_rows_there_are_no_figures_and_no_fault(items, draw):
    assert draw(items[items["status"] == "not_run"]) == {}


def test_a_figure_that_is_no_longer_drawn_is_gone(items, draw):
    draw(items)
    assert set(draw(items[items["benchmark"] != "needle"])) == {"recovered_fraction_m_1.svg"}


def test_each_model_has_its_own_and_seeds_share_a_line(items, draw):
    other = items.assign(model="m_2")
    again = items[items["metric"] == "recovered_fraction"].assign(seed=1)
    again["score"] += 0.1
    drawn = draw(pd.concat([items, other, again], ignore_index=True))
    assert {name.rsplit("_m_", 1)[1] for name in drawn} == {"1.svg", "2.svg"}
    band = "FillBetweenPolyCollection"
    assert band in drawn["recovered_fraction_m_1.svg"] and band not in drawn["recovered_fraction_m_2.svg"]


def test_each_figure_and_model_has_a_file_whatever_they_are_called(items, draw):
    models = ["meta/llama", "meta_llama", "..", "../../etc/passwd", "M", "m", "x" * 300, "漢字", "a\x00b", "$\\frac$", "CON"]
    curves = items[items["metric"] == "recovered_fraction"]
    drawn = draw(pd.concat([curves.assign(model=model) for model in models]))
    assert len({name.lower() for name in drawn}) == len(models)
    assert all(re.fullmatch(r"[A-Za-z0-9_.+=-]{1,120}\.svg", name) for name in drawn)
    assert len({name for name in drawn if name.startswith("recovered_fraction_meta_llama-")}) == 2


def test_a_plain_name_stays_and_others_have_a_digest_of_both():
    assert file_names([("f", "m_1"), ("f", "SmolLM2-135M")]) == {("f", "m_1"): "f_m_1", ("f", "SmolLM2-135M"): "f_SmolLM2-135M"}
    names = file_names([("a", "b_c"), ("a_b", "c"), ("f", "A/B"), ("f", "x")])
    assert len(set(names.values())) == 4 and names["f", "x"] == "f_x"
    assert names["f", "A/B"] == file_names([("f", "A/B")])["f", "A/B"]


def test_texts_in_figures_are_shown_and_not_set(items, figures, draw):
    methods = ["$x_{$", "_hidden", "$\\frac{1}{0}$ <script>", "--> <x>", "\x1b[2J\u202e", "a & b", "%d {} %(x)s"]
    curve = items[items["metric"] == "recovered_fraction"]
    needle = items[items["metric"] == "answer_nll"]
    figures.write_text(figures.read_text().replace("label: recovered fraction", "label: 'a $\\frac{$ <b>'"))
    drawn = draw(pd.concat([rows.assign(method=method) for method in methods for rows in (curve, needle)]))
    for name, text in drawn.items():
        comments = svg_of(text)
        shown = [c.replace("- -", "--") for c in comments]
        for method in ["$x_{$", "_hidden", "$\\frac{1}{0}$ &lt;script&gt;", "[U+001B][2J[U+202E]", "a &amp; b", "%d {} %(x)s"]:
            assert any(method in c or method.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") in c for c in shown), method
        assert ("a $\\frac{$" in " ".join(comments)) == name.startswith("recovered")


def test_a_recipe_s_own_figure_needs_a_declaration_and_no_code(items, draw, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "loss:\n  kind: curves\n  metric: bits_per_byte\n  benchmarks: [heldout]\n  label: bits a byte\n"
        "  x: {column: item_id, pattern: '(\\d+)', label: window}\n"
    )
    (text,) = draw(items, figures=path).values()
    assert "bits a byte" in text and "window" in text


def test_a_heat_map_is_brighter_where_the_metric_is_better(items, figures, metrics, tmp_path):
    write_items(items, tmp_path / "i.parquet")
    turned = metrics | {"answer_nll": metrics["answer_nll"].model_copy(update={"better": "higher"})}
    for name, known in (("a", metrics), ("b", turned)):
        draw_figures([tmp_path / "i.parquet"], figures=figures, metrics=known, out=tmp_path / name)
    assert (tmp_path / "a/needles_m_1.svg").read_text() != (tmp_path / "b/needles_m_1.svg").read_text()


def test_a_recipe_without_figures_has_an_empty_folder(items, draw, tmp_path):
    assert draw(items, figures=tmp_path / "gone.yaml") == {}


@pytest.mark.parametrize("recipe", sorted(p.parent.name for p in ROOT.glob("recipes/*/figures.yaml")))
def test_the_recipes_figures_load_and_are_of_declared_metrics(recipe):
    declared = load_figures(ROOT / f"recipes/{recipe}/figures.yaml")
    assert declared and {figure.metric for figure in declared.values()} <= set(load_metrics(ROOT / "recipes/metrics.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: curves", "kind: pie", r":1: recovered_fraction: .*'pie'.*'curves', 'heat_maps'"),
        ("  level: 1", "  levels: 1", r":6: recovered_fraction\.levels: .*known keys: .*level"),
        ("  level: 1", "  level: one", r":6: recovered_fraction\.level: .*'one'"),
        (r"step=(\d+)", r"step=\d+", r":5: recovered_fraction\.x\.pattern: .*one group.*has 0"),
        (r"step=(\d+)", "step=(", r":5: recovered_fraction\.x\.pattern: .*no regular expression"),
        ("{column: setting", "{column: seed", r":5: recovered_fraction\.x\.column: .*'seed'"),
        ("  label: answer nats/token\n", "", r":7: needles\.label: Field required"),
        ("metric: recovered_fraction", "metric: glory", r"recovered_fraction\.metric is 'glory', which .*metrics\.yaml does not declare"),
    ],
)
def test_a_wrong_figure_names_file_line_and_field(old, new, words, figures, items, draw):
    assert old in figures.read_text()
    figures.write_text(figures.read_text().replace(old, new, 1))
    with pytest.raises(GalleyError, match=rf"figures\.yaml.*{words}"):
        draw(items)
