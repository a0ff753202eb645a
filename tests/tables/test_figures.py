import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from galley.tables.figures import draw_figures
from galley.tables.rows import write_items


def draw(items, tmp_path, turn="figures"):
    write_items(items, tmp_path / f"{turn}.parquet")
    draw_figures([tmp_path / f"{turn}.parquet"], out=tmp_path / turn)
    return {path.name: path.read_text() for path in (tmp_path / turn).iterdir()}


def test_figures_are_vector_files_that_name_their_arms(items, tmp_path):
    drawn = draw(items, tmp_path)
    assert set(drawn) == {"recovered_fraction_m_1.svg", "needles_m_1.svg"}
    for text in drawn.values():
        assert ElementTree.fromstring(text).tag.endswith("svg") and text.count("<path") > 5
    comments = " ".join(re.findall(r"<!-- (.*?) -->", drawn["recovered_fraction_m_1.svg"]))
    assert "fine-tuning step" in comments and "50%" in comments
    assert "answer nats/token" in drawn["needles_m_1.svg"]


def test_the_same_rows_are_the_same_bytes_without_a_date(items, tmp_path):
    first, second = draw(items, tmp_path, "a"), draw(items, tmp_path, "b")
    assert first == second
    assert not any("dc:date" in text for text in first.values())


def test_the_curve_follows_its_rows(items, tmp_path):
    curve = items["metric"] == "recovered_fraction"
    moved = items.copy()
    moved.loc[curve, "score"] = [0.1, 0.9]
    name = "recovered_fraction_m_1.svg"
    assert draw(items, tmp_path, "a")[name] != draw(moved, tmp_path, "b")[name]


@pytest.mark.parametrize(("absent", "left"), [("heldout", "needles_m_1.svg"), ("needle", "recovered_fraction_m_1.svg")])
def test_an_absent_benchmark_leaves_its_figure_out(absent, left, items, tmp_path):
    assert set(draw(items[items["benchmark"] != absent], tmp_path)) == {left}


def test_without_rows_there_are_no_figures_and_no_fault(items, tmp_path):
    assert draw(items[items["status"] == "not_run"], tmp_path) == {}


def test_a_figure_that_is_no_longer_drawn_is_gone(items, tmp_path):
    draw(items, tmp_path)
    assert set(draw(items[items["benchmark"] != "needle"], tmp_path)) == {"recovered_fraction_m_1.svg"}


def test_each_model_has_its_own_and_seeds_share_a_line(items, tmp_path):
    other = items.assign(model="m_2")
    again = items[items["metric"] == "recovered_fraction"].assign(seed=1)
    again["score"] += 0.1
    drawn = draw(pd.concat([items, other, again], ignore_index=True), tmp_path)
    assert {name.rsplit("_m_", 1)[1] for name in drawn} == {"1.svg", "2.svg"}
    band = "FillBetweenPolyCollection"
    assert band in drawn["recovered_fraction_m_1.svg"] and band not in drawn["recovered_fraction_m_2.svg"]
