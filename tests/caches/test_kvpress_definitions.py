"""Our caches against the definitions in NVIDIA's kvpress, whose versions do not fit ours (it needs an older transformers).

Each definition is written out again here from what it says, on the model's own attention. ObservedAttention is in test_h2o.py.
"""

import pytest
import torch
from cache_runs import prompt_ids
from tiny import tiny_llama

from galley.caches.prefill import prefill
from galley.caches.pyramidkv import PyramidKVCache, pyramid_counts
from galley.caches.rope import rope_frequencies, rotate
from galley.caches.sink_window import SinkWindowCache
from galley.caches.snapkv import SnapKVCache

N = 60


@pytest.fixture(scope="module")
def model():
    return tiny_llama(layers=4)


@pytest.fixture(scope="module")
def attentions(model):
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(prompt_ids(model, N), output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    return weights


def snap_places(weights, *, window, kernel, kept):
    """SnapKVPress: mean over the window's queries, a zero-padded running mean, mean over a group's heads; the window always stays."""
    places = []
    for head in range(2):
        group = weights[0, 2 * head : 2 * head + 2, -window:, :-window].mean(dim=1)
        padded = torch.nn.functional.pad(group, (kernel // 2, kernel // 2))
        score = padded.unfold(-1, kernel, 1).mean(-1).mean(0)
        best = sorted(score.topk(kept - window).indices.tolist())
        places.append([*best, *range(N - window, N)])
    return places


def places_kept(model, cache):
    """Where each kept key of a cache stood in the prompt, found by its key."""
    prompt = prefill(model, prompt_ids(model, N), window=N)
    cache.fill(prompt)
    found = []
    for layer, keys in zip(cache.layers, prompt.keys, strict=True):
        same = (layer.keys[0][:, :, None] == keys[0][:, None]).all(-1)
        assert (same.sum(-1) == 1).all()
        found.append(same.int().argmax(-1).tolist())
    return found


@pytest.mark.parametrize(("window", "kernel", "kept"), [(4, 5, 12), (8, 3, 30), (2, 1, 5)])
def test_snapkv_keeps_what_kvpress_keeps(model, attentions, window, kernel, kept):
    ours = places_kept(model, SnapKVCache(model.config, capacity=kept, window=window, kernel=kernel))
    assert ours == [snap_places(a, window=window, kernel=kernel, kept=kept) for a in attentions]


@pytest.mark.parametrize(
    ("n_layers", "tokens", "window", "ratio"), [(30, 4096, 32, 0.7), (32, 2048, 8, 0.9), (4, 60, 2, 0.2), (28, 1000, 1, 0.95)]
)
def test_pyramid_budgets_are_kvpress_s_to_a_token(n_layers, tokens, window, ratio):
    """PyramidKVPress: a straight line over layers whose mean is the kept share of the prompt and whose end is a twentieth of it."""
    mean = tokens * (1 - ratio)
    low, high = mean / 20, 2 * mean - mean / 20
    if high >= tokens - window:
        high, low = tokens - window, 2 * mean - (tokens - window)
    assert low >= window  # else kvpress falls back to SnapKV
    theirs = [round(high - layer * (high - low) / (n_layers - 1)) for layer in range(n_layers)]
    ours = pyramid_counts(n_layers, mean=int(mean), most=tokens - window)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 2
    assert abs(sum(ours) - n_layers * mean) <= n_layers


def test_pyramidkv_votes_as_snapkv_with_its_own_budgets(model, attentions):
    window, capacity = 4, 20
    ours = places_kept(model, PyramidKVCache(model.config, capacity=capacity, window=window, kernel=5))
    budgets = [window + n for n in pyramid_counts(4, mean=capacity - window, most=N - window)]
    assert ours == [snap_places(a, window=window, kernel=5, kept=n) for a, n in zip(attentions, budgets, strict=True)]


@pytest.mark.parametrize(("sinks", "ratio"), [(4, 0.5), (1, 0.8)])
def test_streaming_llm_prunes_what_kvpress_prunes(model, sinks, ratio):
    """StreamingLLMPress: what is pruned comes right after the sinks."""
    pruned = N - int(N * (1 - ratio))
    theirs = [*range(sinks), *range(sinks + pruned, N)]
    ours = places_kept(model, SinkWindowCache(model.config, sinks=sinks, window=N - pruned - sinks))
    assert ours == [[theirs] * 2] * 4


def test_renumbered_keys_are_kvpress_s_rerotated_ones_seen_from_the_next_query(model):
    """KeyRerotationPress turns each kept key to its place in the cache; scores depend on distances, so only these are compared."""
    sinks, window, frequencies = 4, 11, rope_frequencies(model.config)
    prompt = prefill(model, prompt_ids(model, N), window=1)
    cache = SinkWindowCache(model.config, sinks=sinks, window=window).fill(prompt)
    query = torch.randn(1, 2, 1, 16, generator=torch.Generator().manual_seed(0))
    keys, _ = cache.layers[0].update(torch.zeros(1, 2, 1, 16), torch.zeros(1, 2, 1, 16))
    ours = rotate(query, torch.tensor([N]), frequencies=frequencies) @ keys[:, :, :-1].mT
    places = torch.tensor([*range(sinks), *range(N - window, N)])
    rerotated = rotate(prompt.keys[0][:, :, places], torch.arange(len(places)) - places, frequencies=frequencies)
    theirs = rotate(query, torch.tensor([len(places)]), frequencies=frequencies) @ rerotated.mT
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    apart = rotate(query, torch.tensor([N]), frequencies=frequencies) @ prompt.keys[0][:, :, places].mT
    assert (apart - theirs).abs().max() > 0.1  # control: without renumbering
