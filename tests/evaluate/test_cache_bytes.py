import pytest
import torch
from transformers import DynamicCache

from galley.caches.latent import LatentCache
from galley.caches.quantized import make_quantized_cache, nominal_bytes
from galley.evaluate.cache_bytes import allocated_bytes, tensors_of, true_bytes
from galley.models.scratch import build_llama
from galley.papers.mha2mla.convert import convert_mla

N_KV, D_H, LAYERS = 2, 32, 2
PREFIX = 96


@pytest.fixture(scope="module")
def model():
    return build_llama(vocab_size=64, d_model=128, n_layers=LAYERS, n_heads=4, n_kv_heads=N_KV, d_ff=32, context=512, seed=0).eval()


@pytest.fixture(scope="module")
def latent(model):
    return convert_mla(model, strategy="high", r=4, d_kv=8)


def filled(model, cache, *, batch=1, pieces=(PREFIX,)):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for n in pieces:
            model(torch.randint(0, 64, (batch, n), generator=generator), past_key_values=cache, use_cache=True)
    return cache


@pytest.mark.parametrize("batch", [1, 3])
def test_a_plain_cache_holds_keys_and_values_and_nothing_else(model, batch):
    cache = filled(model, DynamicCache(), batch=batch, pieces=(PREFIX, 5))
    assert true_bytes(cache) == batch * LAYERS * (PREFIX + 5) * 2 * N_KV * D_H * 4
    assert allocated_bytes(cache) == true_bytes(cache)


@pytest.mark.parametrize("make", [LatentCache, DynamicCache])
def test_a_latent_costs_n_kv_times_d_r_plus_d_kv(latent, make):
    cache = filled(latent, make(), batch=2, pieces=(PREFIX, 1, 1))
    assert true_bytes(cache) == 2 * LAYERS * (PREFIX + 2) * N_KV * (8 + 8) * 4
    if make is LatentCache:
        assert cache.nbytes() == true_bytes(cache)
        assert cache.elements_per_token() == LAYERS * N_KV * (8 + 8)


def test_room_for_more_is_allocated_but_not_used(latent):
    cache = filled(latent, LatentCache(), pieces=(PREFIX, 1))
    used, allocated = true_bytes(cache), allocated_bytes(cache)
    per_token = LAYERS * N_KV * 16 * 4
    assert used == (PREFIX + 1) * per_token
    assert allocated == (PREFIX + 256) * per_token  # the room that the first block left
    filled(latent, cache, pieces=(1,))
    assert true_bytes(cache) == used + per_token and allocated_bytes(cache) == allocated
    cache.crop(-50)
    assert true_bytes(cache) == used - 49 * per_token and allocated_bytes(cache) == allocated


def test_an_empty_cache_has_no_bytes():
    assert true_bytes(LatentCache()) == allocated_bytes(LatentCache()) == LatentCache().nbytes() == 0


@pytest.mark.parametrize(("backend", "nbits"), [("hqq", 4), ("hqq", 2), ("quanto", 4), ("quanto", 2)])
def test_quantised_bytes_are_codes_scales_and_residual(model, backend, nbits):
    cache = filled(model, make_quantized_cache(model, backend=backend, nbits=nbits, residual_length=32), pieces=(PREFIX, 7))
    elements = LAYERS * PREFIX * 2 * N_KV * D_H
    codes, groups = elements * nbits / 8, elements / 64
    residual = LAYERS * 7 * 2 * N_KV * D_H * 4
    assert true_bytes(cache) == codes + groups * 2 * 4 + residual  # a float32 scale and zero a group


def test_rtn_keeps_a_byte_a_code_and_says_so(model):
    cache = filled(model, make_quantized_cache(model, backend="rtn", nbits=1, residual_length=32), pieces=(PREFIX, 7))
    elements = LAYERS * PREFIX * 2 * N_KV * D_H
    assert true_bytes(cache) == elements + elements / 64 * 2 * 4 + LAYERS * 7 * 2 * N_KV * D_H * 4


def test_nominal_bytes_are_the_paper_s(model, latent):
    assert nominal_bytes(model, tokens=10, nbits=16) == 10 * LAYERS * 2 * N_KV * D_H * 2
    assert nominal_bytes(latent, tokens=10, nbits=16) == 10 * LAYERS * N_KV * 16 * 2
    assert nominal_bytes(latent, tokens=10, nbits=4) / nominal_bytes(model, tokens=10, nbits=16) == pytest.approx(0.25 / 4)


def test_the_same_memory_reached_twice_counts_once(model):
    cache = filled(model, DynamicCache())
    before = true_bytes(cache)
    cache.layers[0].again = [cache.layers[0].keys, {"view": cache.layers[0].keys[:]}]
    assert true_bytes(cache) == before
    cache.layers[0].more = torch.zeros(10)
    assert true_bytes(cache) == before + 40


def test_tensors_are_found_in_lists_dicts_and_objects():
    a, b = torch.zeros(2), torch.zeros(3)
    assert {len(t) for t in tensors_of({"x": [a, (b, "text", None, 3)], "y": a})} == {2, 3}
    assert tensors_of("nothing") == []
