import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.tables.rows import ITEM_COLUMNS, RUN_COLUMNS, read_items, read_runs, write_items, write_runs


def test_items_come_back_as_they_were(items, tmp_path):
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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GalleyError, match=r"no items at .*gone\.parquet"):
        read_items([tmp_path / "gone.parquet"])


@pytest.mark.parametrize(
    ("column", "value", "words"), [("status", "fine", "'fine'.*not_run"), ("score", float("nan"), "ok but has no score")]
)
def test_broken_rows_leave_no_file(column, value, words, items, tmp_path):
    items.loc[0, column] = value
    with pytest.raises(GalleyError, match=words):
        write_items(items, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_runs_have_the_schema_s_columns_and_absent_facts_are_empty(tmp_path):
    write_runs(pd.DataFrame([{"stage": "adapt", "run_id": "r1", "wall_s": 1.5}]), tmp_path / "a.csv")
    write_runs(pd.DataFrame([{"stage": "benchmark", "run_id": "r2", "threads": 2}]), tmp_path / "b.csv")
    runs = read_runs([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert list(runs.columns) == RUN_COLUMNS
    assert runs["run_id"].tolist() == ["r1", "r2"]
    assert runs["wall_s"].isna().tolist() == [False, True]
