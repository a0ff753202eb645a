import pandas as pd
import pytest
import torch

from galley.artifact import GalleyError
from galley.kernels.bench import COLUMNS, gap_row, write_bench
from galley.kernels.flash_fourier import bench as fourier
from galley.kernels.mla_decode import bench as mla


@pytest.mark.parametrize(("bench", "ours"), [(fourier, "flash_fourier"), (mla, "mla_decode")])
def test_the_bench_compares_equal_results_and_counts_what_is_read(bench, ours):
    rows = pd.DataFrame(bench.bench_steps(lengths=(1100,), repeats=1)).reindex(columns=COLUMNS)
    assert rows["device"].eq("cpu").all() and rows["threads"].ge(1).all() and rows["part"].eq(ours).all()
    assert rows[rows["metric"].str.startswith("max_rel_diff")]["met"].tolist() == [True]
    compared = rows[rows["peer_name"].notna()]
    assert ((compared["peer"] / compared["ours"] / compared["ratio"] - 1).abs() < 1e-9).all()
    assert set(rows[rows["metric"] == "step"]["peer_name"]) >= {"full cache, SDPA"}
    assert set(rows["metric"]) >= {"step", "flops", "read", "step with its cache", "moved"}


def test_spectral_space_needs_a_tenth_of_the_flops():
    rows = pd.DataFrame(fourier.bench_steps(lengths=(1100,), repeats=1))
    assert rows[(rows["metric"] == "flops") & (rows["goal"] == 10.0)]["met"].tolist() == [True]


def test_the_full_caches_ways_are_one_attention():
    step = fourier.make_step(60, seed=0, device="cpu", orders=4, local=16)
    ways = fourier.make_ways(step)
    assert ways["full"]().shape == ways["full_cached"]().shape == step.q.shape
    torch.testing.assert_close(ways["full_cached"](), ways["full_cached"]())  # every call appends to the same past
    assert not torch.equal(ways["full_cached"](), ways["full"]())  # the appended token is attended to


def test_a_latent_s_append_leaves_its_past_as_it_was():
    ways = mla.make_ways(50, seed=0, device="cpu", dtype=torch.float32)
    first = ways["cached"]()
    assert torch.equal(first, ways["cached"]()) and not torch.equal(first, ways["absorbed"]())


def test_a_gap_is_judged_by_its_type():
    one = torch.ones(3)
    assert gap_row(one + 5e-6, one, peer_name="x")["met"] and not gap_row(one + 5e-5, one, peer_name="x")["met"]
    assert gap_row((one + 5e-3).half(), one.half(), peer_name="x")["met"]


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(GalleyError, match="device is 'tpu'"):
        write_bench(tmp_path / "b.csv", device="tpu")
