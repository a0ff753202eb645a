import os

import pandas as pd
import pytest

pytest.importorskip("triton")
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

from galley.artifact import GalleyError
from galley.kernels.build import COLUMNS, build_rows, kernels, write_rows
from galley.kernels.datasheets import GPUS, roofline_seconds
from galley.kernels.roofline import roofline_rows, shape_of, write_table

OURS = [name for name in kernels() if "rebuild" not in name]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", OURS)
def test_our_kernels_do_not_spill(kernel, target):
    rows = build_rows(kernel, target)
    assert [row["d_h"] for row in rows] == [64, 128]
    for row in rows:
        assert row["spill_bytes"] == 0 and 0 < row["registers"] <= 255 and row["shared_bytes"] <= 48 * 1024, row


def test_a_build_for_amd_reports_its_registers(tmp_path):
    frame = write_rows("flash_fourier.merge", "gfx942", tmp_path / "merge.csv")
    assert list(frame.columns) == COLUMNS and (frame["registers"] > 0).all() and (frame["status"] == "ok").all()
    write_table([tmp_path / "merge.csv"], tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv")
    assert set(table["status"]) == {"ok", "model"} and len(table) == 2 + len(roofline_rows())


@pytest.mark.parametrize(
    ("call", "message"),
    [(("flash", "sm_80"), "kernel is 'flash'"), (("flash_fourier.merge", "sm_1"), "target is 'sm_1'")],
)
def test_unknown_builds_are_refused_with_the_known_ones(call, message):
    with pytest.raises(GalleyError, match=message):
        build_rows(*call)


def test_a_table_of_absent_builds_is_refused(tmp_path):
    with pytest.raises(GalleyError, match="build-kernel"):
        write_table([tmp_path / "no.csv"], tmp_path / "table.csv")


def test_the_roofline_is_the_slower_of_compute_and_memory():
    gpu = GPUS[0]
    assert roofline_seconds(gpu, flops=gpu.fp32_flops, size=1) == 1.0
    assert roofline_seconds(gpu, flops=1, size=2 * gpu.bytes_per_s) == 2.0
    assert roofline_seconds(gpu, flops=gpu.half_flops, size=1, half=True) == 1.0 < roofline_seconds(gpu, flops=gpu.half_flops, size=1)
    rows = roofline_rows().set_index(["kernel", "gpu", "d_h", "tokens"])["roofline_us"]
    at = ("A100-SXM-80GB", 128, 32768)
    assert rows[("flash_fourier (spectral)", *at)] < rows[("flash_fourier (rebuild)", *at)] / 20
    assert shape_of(4096, d_h=64).n_middle == 3072
