import copy

import pytest
import torch
from transformers import DynamicCache

from galley.caches.latent import LatentCache
from galley.kernels.mla_decode.layer import BLOCK
from galley.models.scratch import build_llama
from galley.papers.mha2mla.convert import convert_mla


def states(tokens, *, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, tokens, 4, generator=generator), torch.randn(batch, 1, tokens, 10, generator=generator)


def same(ours, theirs):
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values)
    assert ours.get_seq_length() == theirs.get_seq_length()


def append(ours, theirs, tokens, *, batch=2, seed=0, layers=2):
    for layer in range(layers):
        got = ours.update(*states(tokens, batch=batch, seed=seed + layer), layer)
        want = theirs.update(*states(tokens, batch=batch, seed=seed + layer), layer)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_random_appends_crops_reorders_and_selections_are_a_dynamic_cache_s(seed):
    generator = torch.Generator().manual_seed(seed)

    def pick(n):
        return int(torch.randint(n, (), generator=generator))

    ours, theirs = LatentCache(), DynamicCache()
    append(ours, theirs, 1 + pick(400))
    batch = 2
    for step in range(40):
        what = pick(6)
        if what <= 2:
            append(ours, theirs, (1, 3, 200)[what], batch=batch, seed=100 + 10 * step)
        elif what == 3:
            removed = pick(min(5, ours.get_seq_length() - 1)) if ours.get_seq_length() > 1 else 0
            ours.crop(-removed)
            theirs.crop(-removed)
        elif what == 4:
            order = torch.randint(batch, (batch,), generator=generator)
            ours.reorder_cache(order)
            theirs.reorder_cache(order)
        elif batch == 2:
            ours.batch_repeat_interleave(2)
            theirs.batch_repeat_interleave(2)
            batch = 4
        else:
            kept = torch.tensor([3, 0])
            ours.batch_select_indices(kept)
            theirs.batch_select_indices(kept)
            batch = 2
        same(ours, theirs)


def test_appending_does_not_copy_what_is_cached():
    cache = LatentCache()
    cache.update(*states(5), 0)
    start = cache.layers[0].keys.data_ptr()
    for step in range(BLOCK - 1):
        cache.update(*states(1, seed=step), 0)
    assert cache.layers[0].keys.data_ptr() == start
    for step in range(BLOCK):
        cache.update(*states(1, seed=step), 0)
    assert cache.layers[0].keys.data_ptr() != start  # a full buffer did grow


def test_a_slice_of_the_batch_is_not_written_through_to_its_old_buffer():
    cache = LatentCache()
    cache.update(*states(5), 0)
    layer = cache.layers[0]
    whole = layer.keys
    layer.keys, layer.values = layer.keys[:1], layer.values[:1]  # a view at the buffer's own address
    keys, values = cache.update(*states(2, batch=1, seed=9), 0)
    assert keys.shape == (1, 3, 7, 4) and values.shape == (1, 1, 7, 10)
    assert torch.equal(whole, states(5)[0])


def test_a_deep_copy_is_independent():
    cache = LatentCache()
    cache.update(*states(5), 0)
    other = copy.deepcopy(cache)
    cache.update(*states(1, seed=1), 0)
    other.update(*states(1, seed=2), 0)
    assert torch.equal(cache.layers[0].keys[:, :, 5:], states(1, seed=1)[0])
    assert torch.equal(other.layers[0].keys[:, :, 5:], states(1, seed=2)[0])


def test_a_reset_cache_starts_anew():
    cache = LatentCache()
    cache.update(*states(5), 0)
    cache.reset()
    assert cache.get_seq_length() == 0
    keys, _ = cache.update(*states(2, batch=3, seed=4), 0)
    assert torch.equal(keys, states(2, batch=3, seed=4)[0])


def test_gradients_flow_through_earlier_tokens():
    ours, theirs = LatentCache(), DynamicCache()
    grads = []
    for cache in (ours, theirs):
        pieces = [tuple(t.requires_grad_() for t in states(n, seed=n)) for n in (3, 2)]
        for keys, values in pieces:
            k, v = cache.update(keys, values, 0)
        (k.square().sum() + v.sin().sum()).backward()
        grads.append([t.grad for piece in pieces for t in piece])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.fixture(scope="module")
def converted():
    base = build_llama(vocab_size=60, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64, context=512, seed=0)
    with torch.no_grad():
        for p in base.parameters():
            p.mul_(4.0)
    return convert_mla(base.eval(), strategy="high", r=2, d_kv=6)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_generation_is_a_dynamic_cache_s(converted, beams, padded):
    ids = torch.randint(1, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, :4] = 0
    texts = [
        converted.generate(ids, attention_mask=mask, max_new_tokens=12, min_new_tokens=12, do_sample=False, num_beams=beams,
                           past_key_values=cache, pad_token_id=0)
        for cache in (LatentCache(), DynamicCache(), None)
    ]  # fmt: skip
    assert texts[0].shape == (2, 21)
    assert torch.equal(texts[0], texts[1]) and torch.equal(texts[0], texts[2])
    assert len(set(texts[0][0, 9:].tolist())) > 2  # more than one token repeated
