import pytest
import torch
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.caches.latent import LatentCache
from galley.caches.quantized import RtnLayer, make_quantized_cache, nominal_bytes, unpack
from galley.evaluate.cache_bytes import true_bytes
from galley.models.scratch import build_llama
from galley.papers.mha2mla.convert import convert_mla

TOKENS = 192


@pytest.fixture(scope="module")
def model():
    return build_llama(vocab_size=64, d_model=128, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=32, context=512, seed=0).eval()


@pytest.fixture(scope="module")
def latent(model):
    return convert_mla(model, strategy="high", r=4, d_kv=8)


def tensor(seed=0):
    return torch.randn(1, 2, TOKENS, 32, generator=torch.Generator().manual_seed(seed)) * 3 + 1


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_rounding_to_nearest_errs_by_half_a_step_at_most(nbits):
    layer, x = RtnLayer(nbits=nbits, q_group_size=64), tensor()
    packed = layer._quantize(x, axis=0)
    back = layer._dequantize(packed)
    groups = x.reshape(-1, 64)
    step = (groups.amax(1) - groups.amin(1)) / (2**nbits - 1)
    error = (back - x).reshape(-1, 64).abs().amax(1)
    assert back.shape == x.shape
    assert (error <= step / 2 * (1 + 1e-4) + 1e-6).all()
    assert (error > step / 8).any()  # it does round
    assert int(packed[0].max()) == 2**nbits - 1 and int(packed[0].min()) == 0


def test_rounding_keeps_constant_groups_and_the_extremes():
    layer = RtnLayer(nbits=1, q_group_size=64)
    x = torch.cat([torch.full((64,), 2.5), torch.tensor([-1.0, 3.0]).repeat(32)]).view(1, 1, 2, 64)
    assert torch.allclose(layer._dequantize(layer._quantize(x, axis=0)), x, atol=1e-6)


def stored_error(model, backend, nbits):
    """Relative error of what a cache gives back for what it was given."""
    cache = make_quantized_cache(model, backend=backend, nbits=nbits, residual_length=32)
    cache.update(tensor(0), tensor(1), 0)
    keys, _ = cache.update(tensor(2)[:, :, :1], tensor(3)[:, :, :1], 0)
    return float((keys[:, :, :-1] - tensor(0)).norm() / tensor(0).norm())


@pytest.mark.parametrize("backend", ["hqq", "quanto", "rtn"])
def test_fewer_bits_err_more_and_one_bit_most(model, backend):
    four, two, one = stored_error(model, backend, 4), stored_error(model, backend, 2), stored_error(model, "rtn", 1)
    assert 0 < four < two / 2 < two < one
    assert four < 0.1 < two


@pytest.mark.parametrize("backend", ["hqq", "quanto"])
def test_a_library_agrees_with_the_slow_twin_to_within_a_factor(model, backend):
    for nbits in (2, 4):
        assert 0.5 < stored_error(model, backend, nbits) / stored_error(model, "rtn", nbits) < 1.5


@pytest.mark.parametrize("backend", ["hqq", "quanto", "rtn"])
def test_the_residual_window_is_exact_until_it_is_full(model, backend):
    cache = make_quantized_cache(model, backend=backend, nbits=2, residual_length=8)
    cache.update(tensor(0), tensor(1), 0)
    codes = true_bytes(cache)
    new = tensor(2)[:, :, :8], tensor(3)[:, :, :8]
    for t in range(7):
        keys, values = cache.update(*(x[:, :, t : t + 1] for x in new), 0)
        assert torch.equal(keys[:, :, TOKENS:], new[0][:, :, : t + 1]) and torch.equal(values[:, :, TOKENS:], new[1][:, :, : t + 1])
        assert true_bytes(cache) == codes + (t + 1) * 2 * 2 * 32 * 4
    cache.update(*(x[:, :, 7:] for x in new), 0)  # the eighth fills the window: all is quantised
    assert cache.layers[0].keys.numel() == 0
    assert true_bytes(cache) == pytest.approx(codes * (TOKENS + 8) / TOKENS)
    assert cache.get_seq_length() == TOKENS + 8


@pytest.mark.parametrize(("backend", "nbits"), [("hqq", 4), ("hqq", 2), ("quanto", 4), ("quanto", 2), ("rtn", 4), ("rtn", 1)])
@pytest.mark.parametrize("kind", ["model", "latent"])
def test_quantised_caches_take_less_than_sixteen_bits_but_more_than_claimed(kind, backend, nbits, request):
    model = request.getfixturevalue(kind)
    cache = make_quantized_cache(model, backend=backend, nbits=nbits, residual_length=32)
    ids = torch.randint(0, 64, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(ids, past_key_values=cache, use_cache=True)
    assert nominal_bytes(model, tokens=TOKENS, nbits=nbits) < true_bytes(cache) < nominal_bytes(model, tokens=TOKENS, nbits=16)


@pytest.mark.parametrize("kind", ["model", "latent"])
def test_eight_bits_hardly_change_the_logits_and_one_bit_does(kind, request):
    model = request.getfixturevalue(kind)
    ids = torch.randint(0, 64, (1, TOKENS + 1), generator=torch.Generator().manual_seed(0))

    def last(cache):
        with torch.no_grad():
            model(ids[:, :-1], past_key_values=cache, use_cache=True)
            return model(ids[:, -1:], past_key_values=cache, use_cache=True).logits[0, -1]

    exact = last(LatentCache() if kind == "latent" else DynamicCache())
    gaps = {n: float((last(make_quantized_cache(model, backend="rtn", nbits=n)) - exact).norm() / exact.norm()) for n in (8, 1)}
    assert 0 < gaps[8] < 0.01 and gaps[1] > 10 * gaps[8]


@pytest.mark.parametrize("bits", [2, 4])
def test_unpack_inverts_packing_in_blocks(bits):
    values = torch.randint(0, 2**bits, (8 // bits, 5, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    packed = torch.zeros(5, 3, dtype=torch.uint8)
    for i, block in enumerate(values):
        packed |= block << (bits * i)
    assert torch.equal(unpack(packed, bits), values.flatten(0, 1))


def test_refusals_name_what_is_allowed(model):
    with pytest.raises(GalleyError, match="backend is 'zip'; allowed: hqq, quanto, rtn"):
        make_quantized_cache(model, backend="zip", nbits=4)
    with pytest.raises(GalleyError, match="nbits is 3; hqq takes 2, 4"):
        make_quantized_cache(model, backend="hqq", nbits=3)
    assert len(make_quantized_cache(model, backend="rtn", nbits=8).layers) == 2


def test_hqq_refuses_tensors_that_do_not_fill_its_groups(model):
    cache = make_quantized_cache(model, backend="hqq", nbits=4)
    odd = torch.ones(1, 1, 3, 32)
    with pytest.raises(GalleyError, match=r"\(1, 1, 3, 32\)"):
        cache.update(odd, odd, 0)
