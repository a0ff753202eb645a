import dataclasses

import pytest
import torch
from fourier_steps import make_step

from galley.artifact import GalleyError
from galley.kernels.flash_fourier import cost
from galley.kernels.flash_fourier.reference import expand, rebuild, reference, spectral
from galley.kernels.flash_fourier.step import basis, make_plan

SHAPES = {
    "gqa": {},
    "mha": {"n_h": 3, "n_kv": 3},
    "mqa": {"n_h": 5, "n_kv": 1, "k_counts": [6], "v_counts": [3]},
    "heads with none and all compressed": {"k_counts": [0, 8, 5], "v_counts": [8, 0, 1]},
    "nothing compressed": {"k_counts": [0, 0, 0], "v_counts": [0, 0, 0]},
    "all compressed": {"k_counts": [8, 8, 8], "v_counts": [8, 8, 8]},
    "even window, every order": {"period": 40, "orders": 21},
    "odd window, every order": {"period": 41, "orders": 21},
    "more orders than the window has": {"period": 41, "orders": 30},
    "window full": {"m": 41},
    "no middle": {"m": 0},
    "no plain tokens": {"n_plain": 0},
    "one of each": {"batch": 1, "m": 1, "n_plain": 1, "orders": 1},
    "no affine map": {"affine": False},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_three_ways_are_one(shape):
    step = make_step(**shape)
    want = reference(step)
    assert want.abs().max() > 0.1
    allowed = ["auto", "matmul"] + (["fft"] if shape.get("orders", 4) <= 21 else [])
    for transform in allowed:
        torch.testing.assert_close(spectral(step, transform=transform), want, rtol=0, atol=1e-10)
    for share in (False, True):
        torch.testing.assert_close(rebuild(step, share=share), want, rtol=0, atol=1e-10)


def test_rebuilding_from_every_order_returns_the_tokens():
    step = make_step(m=41, period=41, orders=21, affine=False)
    x = torch.randn(2, 41, len(step.k.channels), dtype=torch.float64)
    f = basis(21, 41, 41, dtype=torch.float64)
    side = dataclasses.replace(step.k, state=f @ x)
    whole = expand(side, 3, 41).transpose(1, 2).flatten(2)
    torch.testing.assert_close(whole[..., side.channels], x, rtol=0, atol=1e-10)
    torch.testing.assert_close(whole[..., side.rest], side.middle, rtol=0, atol=0)


def test_a_plan_and_a_longer_basis_serve_every_step():
    step = make_step()
    plan, f = make_plan(step), basis(4, 41, 41, dtype=torch.float64)
    torch.testing.assert_close(spectral(step, plan, f=f, transform="matmul"), reference(step), rtol=0, atol=1e-10)
    torch.testing.assert_close(rebuild(step, plan, f=f), reference(step), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors_are_summed_in_fp32(dtype):
    step = make_step(dtype=dtype)
    wide = {x.name: getattr(step, x.name) for x in dataclasses.fields(step)}
    wide = {n: x.double() if isinstance(x, torch.Tensor) else x for n, x in wide.items()}
    for name in "kv":
        side = wide[name]
        wide[name] = dataclasses.replace(side, **{n: getattr(side, n).double() for n in ("middle", "state", "weight", "gain", "offset")})
    want = reference(dataclasses.replace(step, **wide))
    out = spectral(step)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), want, rtol=0, atol=4 * torch.finfo(dtype).eps * want.abs().max().item())


def test_phases_are_exact_far_out():
    f = basis(512, 32_767, 32_767)[:, -3:]
    n, t = torch.arange(512, dtype=torch.float64)[:, None], torch.arange(32_764, 32_767, dtype=torch.float64)
    angle = 2 * torch.pi * n * t / 32_767
    torch.testing.assert_close(f.double(), torch.cat([angle.cos(), angle.sin()]), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": 36}, "window of 36"),
        ({"n_h": 5}, "5 heads over 3"),
        ({"m": 0, "n_plain": 0}, "holds 0 tokens"),
        ({"period": 2**31}, "below 2"),
    ],
)
def test_bad_steps_are_refused(change, message):
    with pytest.raises(GalleyError, match=message):
        make_plan(make_step(**change))


def test_bad_channel_lists_are_refused():
    step = make_step()
    doubled = dataclasses.replace(step.k, channels=torch.cat([step.k.channels[1:], step.k.channels[-1:]]))
    with pytest.raises(GalleyError, match="together are each"):
        make_plan(dataclasses.replace(step, k=doubled))
    with pytest.raises(GalleyError, match=r"k\.gain has shape"):
        make_plan(dataclasses.replace(step, k=dataclasses.replace(step.k, gain=step.k.gain[:, 1:])))


def test_counted_costs():
    # Llama-3.1-8B, 32k: the card's 13 TFLOP a token for rebuilding and its 0.13 TFLOP absorbed.
    shape = cost.Shape(
        n_h=32, n_kv=8, d_h=128, n_plain=1024, n_middle=31_744, period=32_244, orders=512, k_compressed=784, v_compressed=784
    )
    assert 32 * cost.rebuild_flops(shape) == pytest.approx(13e12, rel=0.05)
    assert 32 * cost.spectral_flops(shape, transform="matmul") == pytest.approx(0.13e12, rel=0.15)
    shape = dataclasses.replace(shape, period=32_400)
    assert cost.spectral_flops(shape) < cost.spectral_flops(shape, transform="matmul") / 4
    assert cost.fft_flops(2**14) == 2.5 * 2**14 * 14
    assert cost.fft_flops(32_719) > 8 * cost.fft_flops(2**15)  # a prime length
    assert not cost.prefers_fft(30, 41, 41)
