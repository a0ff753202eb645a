"""The absorbed kernels against the slow reference, through Triton's interpreter in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.."]
import dataclasses
import torch
from mla_steps import SHAPES, make_step
from galley.kernels.mla_decode.reference import reference
from galley.kernels.mla_decode.triton import Blocks, decode

small = Blocks(tokens=16, split=32, chunk=16, columns=16, runs=2)
for name, shape in SHAPES.items():
    step = make_step(dtype=torch.float32, **shape)
    gap = (decode(step, blocks=small) - reference(step)).abs()
    print("shape", name.replace(" ", "_"), float(gap.max()) if gap.numel() else 0.0)
step = make_step(dtype=torch.float32, batch=1, tokens=70)
for tokens, split, chunk, columns in ((16, 16, 16, 32), (16, 48, 32, 16), (32, 64, 64, 64), (64, 512, 16, 16)):
    blocks = Blocks(tokens=tokens, split=split, chunk=chunk, columns=columns)
    print("blocks", f"{tokens}x{split}x{chunk}x{columns}", float((decode(step, blocks=blocks) - reference(step)).abs().max()))
roomy = make_step(dtype=torch.float32, tokens=50)
views = dataclasses.replace(roomy, k_rope=roomy.k_rope[:, :, :37], c=roomy.c[:, :37])
print("shape", "views_of_roomier_buffers", float((decode(views, blocks=small) - reference(views)).abs().max()))
for dtype in (torch.float16, torch.bfloat16):
    step = make_step(dtype=dtype)
    wide = make_step(dtype=torch.float32)
    gap = (decode(step, blocks=small).float() - reference(wide)).abs().max()
    print("half", str(dtype), float(gap) * 1e-5 / (16 * torch.finfo(dtype).eps))
step = make_step(dtype=torch.float32)
wrong = dataclasses.replace(step, k_rope=step.k_rope.flip(1))
print("control", "kv_heads_exchanged", float((decode(wrong, blocks=small) - reference(step)).abs().max()))

from tiny import tiny_llama
from galley.caches.latent import LatentCache
from galley.kernels.mla_decode import dispatch
from galley.models import mla
from galley.papers.mha2mla.convert import convert_mla
model = convert_mla(tiny_llama(), strategy="high", r=2, d_kv=6)
ids = torch.randint(1, 97, (2, 19), generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    cache = LatentCache()
    model(ids[:, :-1], past_key_values=cache)
    want = model(ids).logits[:, -1]
    mla.takes_kernel = dispatch.takes_kernel = lambda x: True
    print("model", "decode_step", float((model(ids[:, -1:], past_key_values=cache).logits[:, -1] - want).abs().max()))
"""


@pytest.fixture(scope="module")
def gaps():
    env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(Path(__file__).parent)], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return [(kind, name, float(gap)) for kind, name, gap in (line.split(" ") for line in run.stdout.splitlines())]


def test_every_shape_and_block_size_equals_the_reference(gaps):
    checked = [row for row in gaps if row[0] in ("shape", "blocks")]
    assert len(checked) == 10 + 4 + 1
    assert max(gap for *_, gap in checked) < 1e-5, checked


def test_half_tensors_err_by_their_rounding(gaps):
    halves = [row for row in gaps if row[0] == "half"]
    assert len(halves) == 2 and max(gap for *_, gap in halves) < 1e-5, halves


def test_exchanged_kv_heads_are_seen(gaps):
    assert next(gap for kind, _, gap in gaps if kind == "control") > 1e-2


def test_a_converted_model_decodes_through_the_kernel(gaps):
    assert next(gap for kind, _, gap in gaps if kind == "model") < 1e-4
