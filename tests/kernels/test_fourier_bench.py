import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.kernels.flash_fourier.bench import COLUMNS, bench_steps, write_bench


def test_the_bench_compares_equal_results_and_counts_fewer_flops():
    rows = pd.DataFrame(bench_steps(lengths=(1100,), repeats=1)).reindex(columns=COLUMNS)
    assert rows["device"].eq("cpu").all() and rows["threads"].ge(1).all()
    assert rows.set_index("metric").loc["max_rel_diff to rebuild", "met"]
    flops = rows[(rows["metric"] == "flops") & rows["peer_name"].str.contains("per query head")].iloc[0]
    assert flops["ratio"] == pytest.approx(flops["peer"] / flops["ours"]) and flops["ratio"] > 10
    assert set(rows[rows["metric"] == "step"]["peer_name"]) >= {"full cache, SDPA"}


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(GalleyError, match="device is 'tpu'"):
        write_bench(tmp_path / "b.csv", device="tpu")
