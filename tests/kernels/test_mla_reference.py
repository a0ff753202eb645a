import dataclasses

import pytest
import torch
from mla_steps import SHAPES, make_step
from torch.nn.functional import scaled_dot_product_attention

from galley.artifact import GalleyError
from galley.kernels.mla_decode import cost
from galley.kernels.mla_decode.dispatch import decode
from galley.kernels.mla_decode.reference import absorbed, reference
from galley.kernels.mla_decode.step import check


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_two_products_are_the_loops(shape):
    step = make_step(**shape)
    want = reference(step)
    torch.testing.assert_close(absorbed(step), want, rtol=0, atol=1e-12)
    torch.testing.assert_close(decode(step), want, rtol=0, atol=1e-12)
    assert want.shape == (*step.c_q.shape[:2], step.value_width)
    assert bool(want.any()) == bool(step.c.shape[1])


def test_it_is_attention_over_expanded_keys_and_values():
    """Slow twin: keys and values of every KV head made from the latent, then the library's attention."""
    n_h, n_kv, rope, rank, d_nope, d_v = 6, 3, 6, 20, 10, 16
    step = make_step(n_h=n_h, n_kv=n_kv, rope=rope, rank=rank)
    gen = torch.Generator().manual_seed(1)
    w_uk, w_uv = (torch.randn(n_kv, d, rank, generator=gen, dtype=torch.float64) for d in (d_nope, d_v))
    q_nope = torch.randn(2, n_h, d_nope, generator=gen, dtype=torch.float64)
    c_q = torch.stack([q_nope[:, h] @ w_uk[h // 2] for h in range(n_h)], dim=1)
    out = absorbed(dataclasses.replace(step, c_q=c_q))
    ours = torch.stack([out[:, h] @ w_uv[h // 2].T for h in range(n_h)], dim=1)
    k_nope, v = (torch.einsum("btr,jdr->bjtd", step.c, w) for w in (w_uk, w_uv))
    q, k = torch.cat([step.q_rope, q_nope], dim=-1)[:, :, None], torch.cat([step.k_rope, k_nope], dim=-1)
    want = scaled_dot_product_attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), scale=step.scale)[:, :, 0]
    torch.testing.assert_close(ours, want, rtol=0, atol=1e-10)


def test_a_query_of_another_group_gives_another_output():
    """Control: rotated keys belong to KV heads, so their order matters."""
    step = make_step()
    assert (absorbed(dataclasses.replace(step, k_rope=step.k_rope.flip(1))) - absorbed(step)).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors_take_their_softmax_in_fp32(dtype):
    step = make_step(dtype=dtype)
    wide = {f.name: x.double() if isinstance(x := getattr(step, f.name), torch.Tensor) else x for f in dataclasses.fields(step)}
    out = absorbed(step)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), reference(type(step)(**wide)), rtol=0, atol=16 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_h": 5}, "5 heads over 3"),
        ({"c": torch.zeros(2, 36, 20, dtype=torch.float64)}, r"c has shape \(2, 36, 20\); allowed \(2, 37, 20\)"),
        ({"value_at": 20}, "values begin at 20"),
        ({"c": torch.zeros(2, 37, 20)}, "dtypes are torch.float32, torch.float64"),
        ({"lengths": torch.zeros(3)}, r"lengths has shape \(3,\)"),
    ],
)
def test_bad_steps_are_refused(change, message):
    step = make_step(n_h=change["n_h"]) if "n_h" in change else dataclasses.replace(make_step(), **change)
    with pytest.raises(GalleyError, match=message):
        check(step)


def test_counted_costs():
    # 8B-like, 32k tokens: a latent of 256 and 8 x 32 rotated dims against 8 heads of 128 keys and values.
    shape = cost.Shape(n_h=32, n_kv=8, rope=32, r_k=256, r_v=256, rank=256, tokens=32_768)
    assert cost.full_bytes(shape, d_h=128) / cost.latent_bytes(shape) == 4.0
    assert cost.absorbed_flops(shape) == 2 * 32 * 32_768 * (32 + 512)
    step = make_step(dtype=torch.float32)
    small = cost.Shape(6, 3, 6, 20, 20, 20, tokens=37, batch=2)
    assert cost.latent_bytes(small, element=4) == step.c.nbytes + step.k_rope.nbytes
