"""The Triton kernels against the slow reference, through Triton's interpreter in a process of its own.

The interpreter is chosen when triton is imported, so it must not leak into other tests. No GPU was ever used here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from fourier_steps import make_step
from galley.kernels.flash_fourier import triton as ours, triton_rebuild as theirs
from galley.kernels.flash_fourier.reference import reference

shapes = {
    "gqa": {}, "mha": {"n_h": 3, "n_kv": 3}, "mqa": {"n_h": 5, "n_kv": 1, "k_counts": [6], "v_counts": [3]},
    "ragged": {"k_counts": [0, 8, 5], "v_counts": [8, 0, 1]}, "no middle": {"m": 0}, "no plain": {"n_plain": 0},
    "odd head": {"d_h": 7, "k_counts": [3, 7, 0], "v_counts": [2, 0, 7]},
}
small = ours.Blocks(tokens=16, chunk=16, orders=16, splits=2)
for name, shape in shapes.items():
    step = make_step(batch=1, dtype=torch.float32, **shape)
    want = reference(step)
    for way in ("matmul", "fft"):
        print(name, way, float((ours.spectral(step, transform=way, blocks=small) - want).abs().max()))
    print(name, "rebuild", float((theirs.rebuild(step, block=16, tile=16) - want).abs().max()))
step = make_step(batch=1, dtype=torch.float32, m=70, period=80)
for tokens, splits in ((16, 1), (16, 3), (32, 2), (64, 4)):
    blocks = ours.Blocks(tokens=tokens, chunk=16, orders=16, splits=splits)
    print("blocks", f"{tokens}x{splits}", float((ours.spectral(step, transform="matmul", blocks=blocks) - reference(step)).abs().max()))
for dtype in (torch.float16, torch.bfloat16):
    step = make_step(batch=1, dtype=dtype)
    want = reference(make_step(batch=1, dtype=torch.float32))
    gap = (ours.spectral(step, transform="matmul", blocks=small).float() - want).abs().max()
    print("half", str(dtype), float(gap) * 1e-5 / (8 * torch.finfo(dtype).eps))
step = make_step(batch=1, dtype=torch.float32)
import dataclasses
wrong = dataclasses.replace(step, period=step.period + 1)
print("control", "period", float((ours.spectral(wrong, transform="matmul", blocks=small) - reference(step)).abs().max()))
"""


@pytest.fixture(scope="module")
def gaps():
    env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(Path(__file__).parent)], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return [(line.rsplit(" ", 2)[0], line.split(" ")[-2], float(line.split(" ")[-1])) for line in run.stdout.splitlines()]


def test_every_shape_way_and_block_size_equals_the_reference(gaps):
    checked = [row for row in gaps if row[0] not in ("control", "half")]
    assert len(checked) == 7 * 3 + 4
    assert max(gap for *_, gap in checked) < 1e-5, checked


def test_half_tensors_err_by_their_rounding(gaps):
    halves = [row for row in gaps if row[0] == "half"]
    assert len(halves) == 2 and max(gap for *_, gap in halves) < 1e-5, halves


def test_a_wrong_window_is_seen(gaps):
    assert next(gap for name, _, gap in gaps if name == "control") > 1e-3
