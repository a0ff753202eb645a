import pytest
import torch
from cache_runs import filled, forced, full_logits, generated, greedy, prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.prefill import prefill
from galley.caches.snapkv import SnapKVCache
from galley.evaluate.cache_bytes import true_bytes


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def snap_by_loops(queries, keys, *, window, capacity, kernel, pool):
    """Slow twin, for one sequence: queries (n_h, w, d), keys (n_kv, N, d); the kept places of every key-value head."""
    n_kv, tokens, d = keys.shape
    group = queries.shape[0] // n_kv
    kept = []
    for head in range(n_kv):
        total = [0.0] * (tokens - window)
        for h in range(head * group, (head + 1) * group):
            votes = [0.0] * (tokens - window)
            for i in range(window):
                last = tokens - window + i
                weights = torch.softmax(torch.stack([queries[h, i] @ keys[head, j] for j in range(last + 1)]) / d**0.5, 0).tolist()
                votes = [v + w for v, w in zip(votes, weights, strict=False)]
            for j in range(len(votes)):
                near = [votes[x] for x in range(j - kernel // 2, j + kernel // 2 + 1) if 0 <= x < len(votes)]
                total[j] += (max(near) if pool == "max" else sum(near) / kernel) / group
        best = sorted(range(len(total)), key=lambda j: -total[j])[: capacity - window]
        kept.append(sorted(best) + list(range(tokens - window, tokens)))
    return kept


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize(("window", "capacity", "kernel"), [(4, 12, 5), (8, 9, 3), (1, 20, 1)])
def test_what_stays_is_what_the_loops_choose(model, window, capacity, kernel, pool):
    prompt = prefill(model, prompt_ids(model, 40, batch=2), window=window)
    cache = SnapKVCache(model.config, capacity=capacity, window=window, kernel=kernel, pool=pool).fill(prompt)
    for layer in range(2):
        for row in range(2):
            twin = snap_by_loops(
                prompt.queries[layer][row], prompt.keys[layer][row], window=window, capacity=capacity, kernel=kernel, pool=pool
            )
            for head in range(2):
                assert torch.equal(cache.layers[layer].keys[row, head], prompt.keys[layer][row, head, twin[head]])
                assert torch.equal(cache.layers[layer].values[row, head], prompt.values[layer][row, head, twin[head]])


def test_a_capacity_for_all_is_the_full_cache(model):
    ids = prompt_ids(model, 40)
    cache = filled(model, SnapKVCache(model.config, capacity=30, window=8), ids, prompt=30)
    torch.testing.assert_close(forced(model, cache, ids, prompt=30), full_logits(model, ids, prompt=30), atol=1e-5, rtol=1e-5)


def test_later_steps_attend_to_what_stayed_and_all_that_follows(model):
    ids = prompt_ids(model, 44)
    cache = filled(model, SnapKVCache(model.config, capacity=12, window=4), ids, prompt=40)
    gap = (forced(model, cache, ids, prompt=40) - full_logits(model, ids, prompt=40)).abs().max()
    assert gap > 0.01
    assert cache.layers[0].n_visible() == 16 and cache.get_seq_length() == 44


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_generate_watches_the_queries_that_a_prefill_records(model, pool):
    ids = prompt_ids(model, 40, batch=2)
    caches = [SnapKVCache(model.config, capacity=12, window=4, pool=pool) for _ in range(2)]
    assert torch.equal(generated(model, caches[0], ids), greedy(model, caches[1], ids))
    assert all(layer.queries is None for layer in caches[0].layers)


def test_bytes_are_those_of_the_capacity(model):
    cache = filled(model, SnapKVCache(model.config, capacity=12, window=4), prompt_ids(model, 40), prompt=40)
    assert cache.nbytes() == true_bytes(cache) == 2 * 2 * 12 * 2 * 16 * 4
    assert cache.nominal_bytes() == cache.nbytes() / 2


def test_refusals(model):
    with pytest.raises(GalleyError, match="capacity is 8; allowed: whole numbers >= 9"):
        SnapKVCache(model.config, capacity=8, window=8)
    with pytest.raises(GalleyError, match="kernel is 4; allowed: odd"):
        SnapKVCache(model.config, capacity=80, kernel=4)
    with pytest.raises(GalleyError, match="pool is 'sum'; allowed: mean, max"):
        SnapKVCache(model.config, capacity=80, pool="sum")
    with pytest.raises(GalleyError, match="0 of the prompt's last 4 queries"):
        model(prompt_ids(model, 40), past_key_values=SnapKVCache(model.config, capacity=12, window=4))
    with pytest.raises(GalleyError, match="2 of the prompt's last 4 queries"):
        SnapKVCache(model.config, capacity=12, window=4).fill(prefill(model, prompt_ids(model, 40), window=2))
