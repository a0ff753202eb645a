import pytest
import torch
from cache_runs import filled, forced, prompt_ids
from tiny import tiny_llama
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.follow import follow, tokens_at_once
from galley.caches.fourier import FourierCache
from galley.caches.h2o import H2OCache
from galley.caches.kivi import KiviCache
from galley.caches.palu import PaluCache
from galley.caches.prefill import prefill
from galley.caches.pyramidkv import PyramidKVCache
from galley.caches.quantized import make_quantized_cache
from galley.caches.sink_window import SinkWindowCache
from galley.caches.snapkv import SnapKVCache

PROMPT, N = 40, 52
HALF = [(torch.arange(0, 32, 2), torch.arange(1, 32, 2))] * 2


def fourier(model, mode):
    return FourierCache(model.config, channels=HALF, orders=5, sinks=2, local=8, mode=mode, max_new_tokens=20, hold=True)


def quantized(model):
    cache = make_quantized_cache(model, backend="rtn", nbits=4, group=16, residual_length=5)
    cache.fill = lambda prompt: [cache.update(k, v, i) for i, (k, v) in enumerate(zip(prompt.keys, prompt.values, strict=True))] and cache
    return cache


CACHES = {
    "full": (lambda m: CompressedCache(layers=[CompressedLayer() for _ in range(2)]), None),
    "snapkv": (lambda m: SnapKVCache(m.config, capacity=12, window=4), None),
    "pyramidkv": (lambda m: PyramidKVCache(m.config, capacity=12, window=4), None),
    "sink_window": (lambda m: SinkWindowCache(m.config, sinks=3, window=6, reindex=False), None),
    "window": (lambda m: SinkWindowCache(m.config, sinks=0, window=6), None),
    "sink_window, renumbered": (lambda m: SinkWindowCache(m.config, sinks=3, window=6), 1),
    "fourier": (lambda m: fourier(m, "ours"), None),
    "fourier, official": (lambda m: fourier(m, "official"), 1),
    "palu": (lambda m: PaluCache(m, rank=5, hold=True), None),
    "kivi": (lambda m: KiviCache(m.config, nbits=4, group=8, residual=16), 1),
    "h2o": (lambda m: H2OCache(m.config, heavy=6, recent=6), 1),
    "quantised": (quantized, 5),
}


@pytest.fixture(scope="module")
def model():
    return tiny_llama().double()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CACHES)
def test_reading_known_tokens_is_feeding_them_one_by_one(model, name, attention):
    """Slow twin: one forward a token, in sdpa."""
    make, room = CACHES[name]
    ids = prompt_ids(model, N, batch=2 if name != "quantised" else 1)
    caches = [filled(model, make(model), ids, prompt=PROMPT) for _ in range(2)]
    assert tokens_at_once(caches[0]) == room
    if caches[0].__class__ is H2OCache:
        with caches[1].watching(model):
            want = forced(model, caches[1], ids, prompt=PROMPT)
    else:
        want = forced(model, caches[1], ids, prompt=PROMPT)
    model.set_attn_implementation(attention)
    passes = []
    handle = model.model.layers[0].register_forward_pre_hook(lambda m, a: passes.append(a[0].shape[1]))
    got = follow(model, caches[0], ids[:, PROMPT:])
    handle.remove()
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9 if attention == "sdpa" else 1e-5)  # eager takes its softmax in fp32
    assert sum(passes) == N - PROMPT and (max(passes) > 1) == (room != 1)
    assert caches[0].get_seq_length() == caches[1].get_seq_length() == N
    if isinstance(caches[0], CompressedCache):
        assert caches[0].nbytes() == caches[1].nbytes()
        assert not any(layer.in_block for layer in caches[0].layers)


def test_a_plain_transformers_cache_is_followed_too(model):
    ids = prompt_ids(model, N)
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids[:, :PROMPT], past_key_values=cache)
        want = model(ids).logits[:, PROMPT:]
    torch.testing.assert_close(follow(model, cache, ids[:, PROMPT:]), want, rtol=0, atol=1e-9)


def test_the_mask_matters(model):
    """Control: with the mask of a cache that drops nothing, the window's logits are others."""
    ids = prompt_ids(model, N)
    right, wrong = (filled(model, SinkWindowCache(model.config, sinks=3, window=6, reindex=False), ids, prompt=PROMPT) for _ in range(2))
    for layer in wrong.layers:
        layer.seen = lambda n, layer=layer: CompressedLayer.seen(layer, n)
    gap = (follow(model, right, ids[:, PROMPT:]) - follow(model, wrong, ids[:, PROMPT:])).abs().max()
    assert gap > 1e-3


def test_refusals(model):
    cache = CompressedCache(layers=[CompressedLayer() for _ in range(2)]).fill(prefill(model, prompt_ids(model, 20), window=1))
    with pytest.raises(GalleyError, match="ids holds 0 tokens"):
        follow(model, cache, torch.empty(1, 0, dtype=torch.long))
    with pytest.raises(GalleyError, match="one token at a time"):  # outside follow no layer has its own mask
        model(torch.tensor([[1, 2]]), past_key_values=cache)
