import pandas as pd

from galley.tables.items import absent, count, fraction, scored
from galley.tables.rows import check_items, complete


def test_every_kind_of_item_is_one_that_a_file_of_items_takes():
    rows = [
        scored("ours", "GTG", "points", True, item_id="p1", seed=2),
        count("ours", "filter", "kept", 3, setting="k=1"),
        fraction("ours", "MBPP", "precision", 0.25, weight=4.0),
        absent("ours", "MBPP", "pass_rate", "mbpp is not there", setting="k=2"),
    ]
    frame = complete(rows).assign(paper="p", scale="smoke", model="none", run_id="r", backend="none", device="cpu")
    by = check_items(frame).set_index("metric")
    assert list(by.loc["points", ["score", "item_id", "seed", "unit", "setting"]]) == [1.0, "p1", 2, "", ""]
    assert list(by.loc["count", ["score", "setting", "unit", "item_id"]]) == [3.0, "kept,k=1", "count", "all"]
    assert list(by.loc["precision", ["score", "unit", "weight"]]) == [0.25, "fraction", 4.0]
    assert list(by.loc["pass_rate", ["status", "reason", "setting"]]) == ["not_run", "mbpp is not there", "k=2"]
    assert pd.isna(by.loc["pass_rate", "score"]) and count("ours", "filter", "kept", 3)["setting"] == "kept"
