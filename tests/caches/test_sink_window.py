import pytest
import torch
from cache_runs import filled, forced, full_logits, generated, greedy, prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.rope import rope_frequencies, rotate
from galley.caches.sink_window import SinkWindowCache, SinkWindowLayer, drop_middle
from galley.evaluate.cache_bytes import true_bytes


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.mark.parametrize("reindex", [True, False])
def test_a_window_as_long_as_all_is_the_full_cache(model, reindex):
    ids = prompt_ids(model, 40)
    cache = filled(model, SinkWindowCache(model.config, sinks=4, window=36, reindex=reindex), ids, prompt=30)
    torch.testing.assert_close(forced(model, cache, ids, prompt=30), full_logits(model, ids, prompt=30), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("sinks", "window"), [(4, 8), (0, 5), (3, 1)])
def test_scores_are_those_of_positions_inside_the_cache(model, sinks, window):
    """Slow twin: keys before RoPE, numbered by their place in the cache, and the query by its own."""
    n, prompt, frequencies = 50, 20, rope_frequencies(model.config)
    generator = torch.Generator().manual_seed(3)
    plain, queries, values = (torch.randn(2, 2, n, 16, generator=generator) for _ in range(3))
    seen = rotate(plain, torch.arange(n), frequencies=frequencies)
    layer = SinkWindowLayer(sinks=sinks, window=window, frequencies=frequencies)
    layer.update(seen[:, :, :prompt], values[:, :, :prompt])
    for t in range(prompt, n):
        keys, got = layer.update(seen[:, :, t : t + 1], values[:, :, t : t + 1])
        kept = [*range(sinks), *range(t - window, t + 1)]
        twin = rotate(plain[:, :, kept], torch.arange(len(kept)), frequencies=frequencies)
        query = rotate(queries[:, :, t : t + 1], torch.tensor([len(kept) - 1]), frequencies=frequencies)
        ours = rotate(queries[:, :, t : t + 1], torch.tensor([t]), frequencies=frequencies) @ keys.transpose(-1, -2)
        torch.testing.assert_close(ours, query @ twin.transpose(-1, -2), atol=1e-4, rtol=1e-4)
        assert torch.equal(got, values[:, :, kept])


def test_one_layer_cannot_tell_it_from_a_text_without_the_middle():
    """With one layer, keys know nothing of other tokens: the decoded logits are those of the shortened text."""
    model = tiny_llama(layers=1)
    ids = prompt_ids(model, 60)
    cache = filled(model, SinkWindowCache(model.config, sinks=4, window=10), ids, prompt=30)
    ours = forced(model, cache, ids, prompt=30)
    with torch.no_grad():
        for t in range(30, 60):
            shortened = drop_middle(ids[:, : t + 1], sinks=4, window=11)
            assert shortened.shape == (1, 15)
            torch.testing.assert_close(ours[:, t - 30], model(shortened).logits[:, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_without_reindexing_it_is_a_mask(model, batch):
    """Slow twin: one forward over all tokens, in which later ones are forbidden the middle."""
    n, prompt, sinks, window = 50, 30, 4, 8
    ids = prompt_ids(model, n, batch=batch)
    cache = filled(model, SinkWindowCache(model.config, sinks=sinks, window=window, reindex=False), ids, prompt=prompt)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    for t in range(prompt, n):
        mask[t, sinks : t - window] = False
    with torch.no_grad():
        twin = model(ids, attention_mask=mask.expand(batch, 1, n, n)).logits[:, prompt:]
        plain = model(ids).logits[:, prompt:]
    ours = forced(model, cache, ids, prompt=prompt)
    torch.testing.assert_close(ours, twin, atol=1e-4, rtol=1e-4)
    assert (ours - plain).abs().max() > 0.01  # the middle does matter here


def test_reindexing_changes_what_follows(model):
    ids = prompt_ids(model, 60)
    both = [
        forced(model, filled(model, SinkWindowCache(model.config, sinks=4, window=8, reindex=r), ids, prompt=50), ids, prompt=50)
        for r in (True, False)
    ]
    assert (both[0] - both[1]).abs().max() > 0.01


@pytest.mark.parametrize("reindex", [True, False])
def test_generate_takes_it(model, reindex):
    ids = prompt_ids(model, 40, batch=2)
    caches = [SinkWindowCache(model.config, sinks=2, window=6, reindex=reindex) for _ in range(2)]
    assert torch.equal(generated(model, caches[0], ids), greedy(model, caches[1], ids))


def test_bytes_are_those_of_sinks_and_window(model):
    ids = prompt_ids(model, 50)
    cache = filled(model, SinkWindowCache(model.config, sinks=4, window=8), ids, prompt=30)
    for _ in range(2):
        assert cache.nbytes() == true_bytes(cache) == 2 * 2 * 12 * 2 * 16 * 4  # layers, K and V, tokens, heads, dims, fp32
        assert cache.nominal_bytes() == cache.nbytes() / 2
        forced(model, cache, ids, prompt=30)
    assert cache.get_seq_length() == 70 and cache.layers[0].n_visible() == 12


def test_the_middle_is_dropped_from_ids_only_when_there_is_one():
    ids = torch.arange(20)[None]
    assert drop_middle(ids, sinks=2, window=3).tolist() == [[0, 1, 17, 18, 19]]
    assert drop_middle(ids, sinks=0, window=2).tolist() == [[18, 19]]
    assert torch.equal(drop_middle(ids, sinks=4, window=16), ids)


def test_refusals(model):
    with pytest.raises(GalleyError, match="sinks is -1"):
        SinkWindowCache(model.config, sinks=-1)
    with pytest.raises(GalleyError, match="window is 0"):
        SinkWindowCache(model.config, window=0)
    with pytest.raises(GalleyError, match="the prompt has 3 tokens; allowed: at least sinks = 4"):
        filled(model, SinkWindowCache(model.config), prompt_ids(model, 3), prompt=3)
    with pytest.raises(GalleyError, match="window is 0"):
        drop_middle(torch.arange(4)[None], sinks=1, window=0)
