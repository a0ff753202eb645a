"""Rows are checked where they are written and where they are read, with a real run's names: a fault names file, column and row."""

import math
import random

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.tables.rows import (
    DEFAULTS,
    ITEM_COLUMNS,
    RUN_COLUMNS,
    check_runs,
    complete,
    even,
    read_items,
    read_runs,
    write_items,
    write_runs,
)

ROOT_TABLE = "recipes/unitcoder/reference/laptop/table_unitcoder.csv"


@pytest.fixture(scope="module")
def real():
    """Items made of the numbers of a reference run: its names, settings, units, reasons and values, 3 items a number."""
    table = pd.read_csv(ROOT_TABLE, keep_default_na=False, dtype=str)
    ours = table[table["backend"] != ""].head(150)
    rows = [
        {**{name: row[name] for name in ("paper", "scale", "model", "method", "setting", "benchmark", "metric", "unit", "status", "reason",
                                         "backend", "device")},
         "seed": 0, "item_id": f"task/{item}", "score": float(row["value"] or "nan"), "weight": 1.0 + item,
         "trained": row["method"].startswith("train"), "run_id": row["run_ids"].split()[0],
         "reason": row["reason"] if row["status"] != "ok" else ""}
        for row in ours.to_dict("records") for item in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_items_come_back_as_they_were(items, real, tmp_path):
    for frame in (items, real):
        write_items(frame, tmp_path / "a.parquet")
        found = read_items([tmp_path / "a.parquet"])
        assert list(found.columns) == ITEM_COLUMNS and len(found) == len(frame)
    write_items(items, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_items([tmp_path / "a.parquet"]), items)


def test_the_same_rows_in_another_order_are_the_same_bytes(items, tmp_path):
    write_items(items, tmp_path / "a.parquet")
    write_items(items.sample(frac=1, random_state=3)[ITEM_COLUMNS[::-1]], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_files_are_merged_and_a_row_in_two_files_is_refused(items, tmp_path):
    half = items["method"] == "original"
    write_items(items[half], tmp_path / "a.parquet")
    write_items(items[~half], tmp_path / "b.parquet")
    merged = read_items([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    pd.testing.assert_frame_equal(merged, items)
    with pytest.raises(GalleyError, match="two rows for"):
        read_items([tmp_path / "a.parquet", tmp_path / "a.parquet"])
    write_items(items.head(4), tmp_path / "c.parquet")
    with pytest.raises(GalleyError, match=r"(a|b)\.parquet and \S*c\.parquet: column 'item_id': there are two rows for paper 'p'"):
        read_items([tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"])


def cell(column, value, *, row=7):
    def change(frame):
        frame = frame.astype({column: object})
        frame.iloc[row, frame.columns.get_loc(column)] = value
        return frame

    return change


DAMAGE = {
    "unknown status": (cell("status", "fine"), "status", "it is one of failed, not_run, ok"),
    "ok without score": (cell("score", math.nan), "score", "ok but has no score"),
    "score None": (cell("score", None), "score", "ok but has no score"),
    "score inf": (cell("score", math.inf), "score", "finite"),
    "score -inf": (cell("score", -math.inf), "score", "finite"),
    "score text": (cell("score", "0.5"), "score", "takes a number, got '0.5'"),
    "score complex": (cell("score", 1j), "score", "takes a number"),
    "weight zero": (cell("weight", 0.0), "weight", "above 0"),
    "weight negative": (cell("weight", -1.0), "weight", "above 0"),
    "weight nan": (cell("weight", math.nan), "weight", "above 0"),
    "weight inf": (cell("weight", math.inf), "weight", "finite"),
    "weight text": (cell("weight", "heavy"), "weight", "takes a number"),
    "seed negative": (cell("seed", -1), "seed", "whole number from 0"),
    "seed half": (cell("seed", 1.5), "seed", "whole number from 0"),
    "seed nan": (cell("seed", math.nan), "seed", "whole number from 0"),
    "trained a number": (cell("trained", 1.0), "trained", "takes true (another run would give another score) or false, got 1.0"),
    "trained text": (cell("trained", "yes"), "trained", "takes true"),
    "trained None": (cell("trained", None), "trained", "takes true"),
    "item id a number": (cell("item_id", 7), "item_id", "takes text, got 7"),
    "item id empty": (cell("item_id", ""), "item_id", "a row that is ok has an item"),
    "no reason": (cell("status", "failed"), "reason", "a row that is not ok has a reason"),
    "reason None": (cell("reason", None), "reason", "takes text"),
    "setting nan": (cell("setting", math.nan), "setting", "takes text"),
    "scale unknown": (cell("scale", "huge"), "scale", "it is one of smoke, laptop, paper"),
    "bytes": (cell("model", b"m"), "model", "takes text"),
    **{f"{c} None": (cell(c, None), c, "takes text") for c in ("paper", "model", "method", "benchmark", "metric", "run_id", "backend")},
    **{f"{c} empty": (cell(c, " "), c, "takes a name") for c in ("paper", "model", "method", "benchmark", "metric", "run_id", "device")},
}  # fmt: skip


def as_parquet(frame):
    """A broken frame as parquet can hold it, in which a column has one kind: numbers where all are, else texts and nulls."""
    for column in ("seed", "score", "weight"):
        numbers = pd.to_numeric(frame[column], errors="coerce")
        frame[column] = numbers if (numbers.isna() == frame[column].isna()).all() else frame[column].map(str)
    if any(isinstance(value, str) for value in frame["trained"]):
        frame["trained"] = frame["trained"].map(str)
    return frame


@pytest.mark.parametrize("name", DAMAGE)
def test_a_broken_row_is_refused_when_it_is_written_and_leaves_no_file(name, real, tmp_path):
    change, column, words = DAMAGE[name]
    with pytest.raises(GalleyError) as refused:
        write_items(change(real), tmp_path / "a.parquet")
    said = str(refused.value)
    assert "a.parquet" in said and f"column {column!r}, row 8 (" in said and words in said and "\n" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", [name for name in DAMAGE if name not in ("item id a number", "bytes", "score complex", "score text", "trained a number")]
)
def test_and_when_it_is_read(name, real, tmp_path):
    change, column, words = DAMAGE[name]
    as_parquet(change(real)).to_parquet(tmp_path / "a.parquet", index=False)
    write_items(real.assign(seed=1), tmp_path / "good.parquet")
    with pytest.raises(GalleyError) as refused:
        read_items([tmp_path / "good.parquet", tmp_path / "a.parquet"])
    said = str(refused.value)
    assert f"a.parquet: column {column!r}, row {1 if name.endswith('text') else 8} (" in said and words.split(", got")[0] in said
    assert "\n" not in said and "good.parquet" not in said


@pytest.mark.parametrize(
    ("column", "value"), [("item_id", 7), ("model", b"m"), ("method", 1.5), ("run_id", True), ("score", "0.5"), ("trained", 1)]
)
def test_a_column_of_another_kind_is_refused_when_it_is_read(column, value, real, tmp_path):
    real.assign(**{column: value}).to_parquet(tmp_path / "a.parquet", index=False)
    with pytest.raises(GalleyError, match=rf"a\.parquet: column '{column}', row 1 \(.*takes (text|a number|true .*), got "):
        read_items([tmp_path / "a.parquet"])


@pytest.mark.parametrize("column", ITEM_COLUMNS)
def test_a_column_that_is_missing_is_named_in_both(column, real, tmp_path):
    with pytest.raises(GalleyError, match=f"no column '{column}'"):
        write_items(real.drop(columns=column), tmp_path / "a.parquet")
    real.drop(columns=column).to_parquet(tmp_path / "b.parquet", index=False)
    with pytest.raises(GalleyError, match=rf"b\.parquet: no column '{column}'"):
        read_items([tmp_path / "b.parquet"])


def test_a_column_too_many_and_no_rows_are_refused(real, tmp_path):
    for frame, words in [(real.assign(wieght=2.0), "no column 'wieght'"), (real.head(0), "there are no rows")]:
        with pytest.raises(GalleyError, match=words):
            write_items(frame, tmp_path / "a.parquet")
        frame.to_parquet(tmp_path / "b.parquet", index=False)
        with pytest.raises(GalleyError, match=rf"b\.parquet: .*{words}"):
            read_items([tmp_path / "b.parquet"])


def test_a_row_twice_is_refused(real, tmp_path):
    with pytest.raises(GalleyError, match=r"column 'item_id', row 451 .*there already"):
        write_items(pd.concat([real, real.tail(1)]), tmp_path / "a.parquet")


FILES = {
    "missing": (lambda path: path.unlink(), "no items at .*the stage that writes it has not run"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "a folder and no items"),
    "0 bytes": (lambda path: path.write_bytes(b""), "the file is empty; delete it and run the same command again"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "no whole parquet file"),
    "its end alone": (lambda path: path.write_bytes(path.read_bytes()[2000:]), "no whole parquet file"),
    "text": (lambda path: path.write_text("paper,scale\n"), "no whole parquet file"),
    "random bytes": (lambda path: path.write_bytes(random.Random(1).randbytes(9000)), "no whole parquet file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_whole_is_refused_by_its_name_in_one_line(name, real, tmp_path):
    damage, words = FILES[name]
    path = tmp_path / "a.parquet"
    write_items(real, path)
    damage(path)
    with pytest.raises(GalleyError, match=words) as refused:
        read_items([path])
    assert "\n" not in str(refused.value) and "a.parquet" in str(refused.value)


def test_a_flipped_bit_is_no_other_number(real, tmp_path):
    """Wherever a byte of the file changes, its rows are the same or it is refused; in the pages the checksum tells."""
    path, draw = tmp_path / "a.parquet", random.Random(0)
    write_items(real, path)
    whole, kept = path.read_bytes(), read_items([path])
    outcomes = []
    for _ in range(60):
        at, broken = draw.randrange(4, len(whole) - 8), bytearray(whole)
        broken[at] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(broken))
        try:
            same = read_items([path]).equals(kept)
        except GalleyError as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
        else:
            outcomes.append("same" if same else f"another at {at} of {len(whole)}")
    assert set(outcomes) <= {"refused", "same"} and outcomes.count("refused") > 25, outcomes


def test_rows_are_completed_where_a_row_says_nothing_and_only_there():
    frame = complete([{"method": "a", "score": 1.0}, {"method": "b", "score": 2.0, "weight": math.nan, "setting": "k=1"}], model="m")
    assert frame["weight"].isna().tolist() == [False, True] and frame["setting"].tolist() == ["", "k=1"]
    assert set(frame["model"]) == {"m"} and set(DEFAULTS) <= set(frame.columns)
    assert list(even([{"method": "a"}, {"method": "b", "seed": 3}]).columns) == ["seed", "method"]


RUN = {"run_id": "r1", "paper": "p", "scale": "smoke", "stage": "adapt", "seed": 0, "wall_s": 1.5, "threads": 2}


def test_runs_have_the_schema_s_columns_and_absent_facts_are_empty(tmp_path):
    write_runs(pd.DataFrame([RUN]), tmp_path / "a.csv")
    write_runs(pd.DataFrame([{"stage": "NA", "run_id": "007", "threads": 2}]), tmp_path / "b.csv")
    runs = read_runs([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert list(runs.columns) == RUN_COLUMNS
    assert runs["run_id"].tolist() == ["r1", "007"] and runs["stage"].tolist() == ["adapt", "NA"]  # texts as they are
    assert runs["wall_s"].isna().tolist() == [False, True] and runs["threads"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "runs are empty"),
        (lambda text: text.replace("wall_s", "wall"), ":1: runs lack the column 'wall_s'"),
        (lambda text: text.replace("cpu_s", "wall_s"), ":1: runs lack the column 'cpu_s'"),
        (lambda text: text.replace("r1,", ",", 1), ":2: run_id is ''"),
        (lambda text: text.replace("1.5", "soon"), ":2: wall_s is 'soon'; it takes a number from 0"),
        (lambda text: text.replace("1.5", "-1.5"), ":2: wall_s is '-1.5'"),
        (lambda text: text.replace("1.5", "inf"), ":2: wall_s is 'inf'"),
        (lambda text: text.replace("1.5", "nan"), ":2: wall_s is 'nan'"),
        (lambda text: text.replace("smoke", "laptop"), ":2: scale is 'laptop'; this table is of smoke"),
        (lambda text: text.replace("r1,p,", "r1,q,"), ":2: paper is 'q'; this table is of p"),
        (lambda text: text + text.splitlines()[1] + "\n", ":3: run_id is 'r1'; that run is there already"),
        (lambda text: text.rstrip()[:-20], r":2: runs have \d+ cells here and \d+ in the head"),
        (lambda text: text + '"half', "runs cannot be read|cells here"),
    ],
)
def test_broken_runs_are_refused_by_line_and_column(change, words, tmp_path):
    path = tmp_path / "a.csv"
    write_runs(pd.DataFrame([RUN]), path)
    path.write_text(change(path.read_text()))
    with pytest.raises(GalleyError, match=r"a\.csv.*(" + words + ")") as refused:
        read_runs([path], paper="p", scale="smoke")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("raw", [b"\xff\xfer\x00", b"\x00" * 50, bytes(range(256))])
def test_runs_that_are_no_text_are_refused(raw, tmp_path):
    (tmp_path / "a.csv").write_bytes(raw)
    with pytest.raises(GalleyError, match=r"a\.csv"):
        read_runs([tmp_path / "a.csv"])
    with pytest.raises(GalleyError, match="cannot be read"):
        read_runs([tmp_path])


def test_a_run_in_two_files_and_items_without_their_run_are_refused(items, tmp_path):
    write_runs(pd.DataFrame([RUN]), tmp_path / "a.csv")
    with pytest.raises(GalleyError, match="that run is there already"):
        read_runs([tmp_path / "a.csv", tmp_path / "a.csv"])
    runs = read_runs([tmp_path / "a.csv"])
    check_runs(items, runs, paths=[tmp_path / "a.csv"])
    with pytest.raises(GalleyError, match=r"a\.csv: column 'run_id': no run 'r9'"):
        check_runs(items.assign(run_id="r9"), runs, paths=[tmp_path / "a.csv"])
