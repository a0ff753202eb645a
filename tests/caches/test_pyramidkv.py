from itertools import pairwise

import pytest
import torch
from cache_runs import filled, forced, full_logits, generated, greedy, prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.follow import follow
from galley.caches.pyramidkv import PyramidKVCache, pyramid_counts
from galley.caches.snapkv import SnapKVCache

PROMPT, EXTRA = 60, 6


@pytest.fixture(scope="module")
def model():
    return tiny_llama(layers=4)


@pytest.mark.parametrize(("n", "mean", "most"), [(30, 128, 4000), (32, 100, 5000), (4, 20, 30), (2, 7, 8), (28, 1000, 1100), (3, 1, 50)])
def test_counts_fall_by_equal_steps_to_a_twentieth_and_sum_to_the_budget(n, mean, most):
    counts = pyramid_counts(n, mean=mean, most=most)
    assert sum(counts) == n * mean and counts == sorted(counts, reverse=True) and counts[-1] >= 0 and counts[0] <= most
    steps = [a - b for a, b in pairwise(counts)]
    assert max(steps) - min(steps) <= 2
    if 2 * mean - mean // 20 <= most:
        assert abs(counts[-1] - mean // 20) <= 1


def test_a_prompt_shorter_than_the_mean_stays_whole():
    assert pyramid_counts(4, mean=50, most=20) == [20] * 4


def test_layers_hold_what_the_pyramid_gives_them_and_the_total_is_snapkv_s(model):
    ids = prompt_ids(model, PROMPT)
    ours = filled(model, PyramidKVCache(model.config, capacity=24, window=4), ids, prompt=PROMPT)
    held = [layer.keys.shape[-2] for layer in ours.layers]
    assert held == [4 + n for n in pyramid_counts(4, mean=20, most=PROMPT - 4)] and held[0] > held[-1]
    peer = filled(model, SnapKVCache(model.config, capacity=24, window=4), ids, prompt=PROMPT)
    assert ours.nbytes() == peer.nbytes()


def test_each_layer_keeps_snapkv_s_winners_of_its_own_size(model):
    ids = prompt_ids(model, PROMPT)
    ours = filled(model, PyramidKVCache(model.config, capacity=24, window=4), ids, prompt=PROMPT)
    for index, layer in enumerate(ours.layers):
        size = layer.keys.shape[-2]
        peer = filled(model, SnapKVCache(model.config, capacity=size, window=4), ids, prompt=PROMPT)
        assert torch.equal(layer.keys, peer.layers[index].keys) and torch.equal(layer.values, peer.layers[index].values)


def test_everything_kept_is_the_full_cache_and_generation_reads_the_same(model):
    ids = prompt_ids(model, PROMPT + EXTRA)
    cache = filled(model, PyramidKVCache(model.config, capacity=PROMPT, window=4), ids, prompt=PROMPT)
    torch.testing.assert_close(forced(model, cache, ids, prompt=PROMPT), full_logits(model, ids, prompt=PROMPT), rtol=0, atol=1e-4)
    small = {"capacity": 20, "window": 4}
    want = greedy(model, PyramidKVCache(model.config, **small), ids[:, :PROMPT])
    assert torch.equal(generated(model, PyramidKVCache(model.config, **small), ids[:, :PROMPT]), want)


@pytest.mark.parametrize(("change", "message"), [({"capacity": 4}, "capacity is 4"), ({"kernel": 2}, "kernel is 2")])
def test_bad_settings_are_refused(model, change, message):
    with pytest.raises(GalleyError, match=message):
        PyramidKVCache(model.config, **{"capacity": 20, "window": 4, **change})


def test_a_single_layer_has_no_pyramid():
    with pytest.raises(GalleyError, match="use SnapKV"):
        PyramidKVCache(tiny_llama(layers=1).config, capacity=20, window=4)


def test_eager_attention_is_refused_before_the_prompt_and_followed_all_the_same():
    model = tiny_llama(layers=4)
    ids = prompt_ids(model, PROMPT + EXTRA)
    small = {"capacity": 20, "window": 4}
    want = follow(model, filled(model, PyramidKVCache(model.config, **small), ids, prompt=PROMPT), ids[:, PROMPT:])
    filling = filled(model, PyramidKVCache(model.config, **small), ids, prompt=PROMPT)
    model.set_attn_implementation("eager")
    with pytest.raises(GalleyError, match="attn_implementation is 'eager'"):
        PyramidKVCache(model.config, **small).watching(model)
    torch.testing.assert_close(follow(model, filling, ids[:, PROMPT:]), want, rtol=0, atol=1e-5)
