import pytest
import torch
from cache_runs import filled, forced, full_logits, generated, greedy, prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.kivi import KiviCache, KiviLayer, dequantize, quantize
from galley.evaluate.cache_bytes import true_bytes


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def by_loops(x, *, nbits, group):
    """Slow twin: each group of a row rounded to nearest between its own least and largest, one number at a time."""
    out = x.clone()
    for row in out.view(-1, group):
        low, high = float(row.min()), float(row.max())
        step = (high - low) / (2**nbits - 1)
        for i, value in enumerate(row.tolist()):
            row[i] = low + step * round((value - low) / step) if step else low
    return out


@pytest.mark.parametrize("nbits", [2, 4])
def test_codes_round_to_nearest_and_fill_their_bytes(nbits):
    x = torch.randn(2, 3, 5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    packed = quantize(x, nbits=nbits, group=16)
    assert packed.codes.dtype == torch.uint8 and packed.codes.numel() * 8 == x.numel() * nbits
    torch.testing.assert_close(dequantize(packed, nbits=nbits), by_loops(x, nbits=nbits, group=16), atol=1e-5, rtol=0)
    flat = quantize(torch.full((1, 1, 1, 16), 2.5), nbits=nbits, group=16)
    assert torch.equal(dequantize(flat, nbits=nbits), torch.full((1, 1, 1, 16), 2.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors_err_by_half_a_step_and_their_rounding(dtype):
    x = (torch.randn(4, 64, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    packed = quantize(x, nbits=4, group=32)
    back = dequantize(packed, nbits=4)
    assert back.dtype == packed.scale.dtype == dtype
    error = (back.float() - x.float()).view(4, 2, 32).abs().amax(-1, keepdim=True)
    assert (error <= packed.scale.float() * 0.51 + 16 * torch.finfo(dtype).eps * 10).all()


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("n_prompt", [5, 16, 40, 47])
def test_a_step_sees_old_keys_by_channel_and_old_values_by_token(n_prompt, hold):
    """Slow twin: dense tensors of which the due parts are replaced by what the loops round them to."""
    group, residual, nbits, n = 8, 16, 2, 75
    k, v = (torch.randn(2, 2, n, 16, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    layer = KiviLayer(nbits=nbits, group=group, residual=residual, hold=hold)
    layer.update(k[:, :, :n_prompt], v[:, :, :n_prompt])
    k_old, v_old = n_prompt // residual * residual, max(0, n_prompt - residual)
    for t in range(n_prompt, n):
        keys, values = layer.update(k[:, :, t : t + 1], v[:, :, t : t + 1])
        want_k, want_v = k[:, :, : t + 1].clone(), v[:, :, : t + 1].clone()
        old = want_k[:, :, :k_old].transpose(-1, -2).contiguous()
        want_k[:, :, :k_old] = by_loops(old, nbits=nbits, group=group).transpose(-1, -2)
        want_v[:, :, :v_old] = by_loops(want_v[:, :, :v_old].contiguous(), nbits=nbits, group=group)
        torch.testing.assert_close(keys, want_k, atol=1e-5, rtol=0)
        torch.testing.assert_close(values, want_v, atol=1e-5, rtol=0)
        k_old, v_old = (t + 1) // residual * residual, max(0, t + 1 - residual)  # after the step
        assert layer.keys.shape[2] == t + 1 - k_old and layer.values.shape[2] == t + 1 - v_old
    assert layer.n_visible() == n
    assert any(x is not None for x in layer.held) == hold and all(x is not h for x in layer.stored() for h in layer.held)


def test_keys_by_channel_beat_keys_by_token_when_a_channel_is_large():
    """The paper's reason: outlier channels of keys. Control: the groups exchanged."""
    x = torch.randn(1, 1, 64, 32, generator=torch.Generator().manual_seed(0))
    x[..., 3] += 40
    by_channel = dequantize(quantize(x.transpose(-1, -2), nbits=2, group=32), nbits=2).transpose(-1, -2)
    by_token = dequantize(quantize(x, nbits=2, group=32), nbits=2)
    assert (by_channel - x).norm() < 0.2 * (by_token - x).norm()


def test_a_residual_that_holds_all_is_the_full_cache_and_two_bits_are_not(model):
    ids = prompt_ids(model, 60)
    gaps = []
    for nbits, residual in ((2, 64), (4, 16), (2, 16)):
        cache = filled(model, KiviCache(model.config, nbits=nbits, group=8, residual=residual), ids, prompt=50)
        gaps.append(float((forced(model, cache, ids, prompt=50) - full_logits(model, ids, prompt=50)).abs().max()))
    assert gaps[0] < 1e-5 < 10 * gaps[1] < 10 * gaps[2] and gaps[2] > 2 * gaps[1]


def test_generate_takes_it(model):
    ids = prompt_ids(model, 40, batch=2)
    caches = [KiviCache(model.config, nbits=2, group=8, residual=16) for _ in range(2)]
    assert torch.equal(generated(model, caches[0], ids), greedy(model, caches[1], ids))


@pytest.mark.parametrize("nbits", [2, 4])
def test_bytes_are_codes_scales_zeros_and_residuals(model, nbits):
    group, residual, n = 8, 16, 53
    cache = filled(model, KiviCache(model.config, nbits=nbits, group=group, residual=residual), prompt_ids(model, n), prompt=n)
    k_old, v_old = 48, 37
    codes = (k_old + v_old) * 16 * nbits / 8
    whole = (2 * n - k_old - v_old) * 16
    scales = (k_old + v_old) * 16 / group * 2
    assert cache.nbytes() == true_bytes(cache) == 2 * 2 * (codes + 4 * whole + 4 * scales)  # layers, heads
    assert cache.nominal_bytes() == 2 * 2 * (codes + 2 * whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nbits": 3}, "nbits is 3; allowed: 2, 4"),
        ({"group": 12}, "group is 12; allowed: divisors of the head width 16"),
        ({"group": 32}, "group is 32; allowed: divisors of the head width 16"),
        ({"residual": 20}, "residual is 20; allowed: multiples of group = 8"),
        ({"residual": 0}, "residual is 0"),
    ],
)
def test_refusals(model, change, message):
    with pytest.raises(GalleyError, match=message):
        KiviCache(model.config, **{"nbits": 2, "group": 8, "residual": 16} | change)
