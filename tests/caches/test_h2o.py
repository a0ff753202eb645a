import pytest
import torch
from cache_runs import forced, generated, prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.follow import follow
from galley.caches.h2o import H2OCache, H2OLayer
from galley.caches.prefill import prefill
from galley.caches.votes import attention_scale
from galley.evaluate.cache_bytes import true_bytes


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def h2o_by_loops(q, k, *, n_prompt, heavy, recent):
    """Slow twin, for one head of one query group: q (group, n, d), k (n, d); the places that each later step attends to."""
    group, n, d = q.shape

    def weights(t, kept):
        return [torch.softmax(torch.stack([q[g, t] @ k[j] for j in kept]) / d**0.5, 0).tolist() for g in range(group)]

    sums = [0.0] * n
    for t in range(n_prompt):
        for row in weights(t, range(t + 1)):
            for j, w in enumerate(row):
                sums[j] += w / group
    kept = list(range(n_prompt))
    if n_prompt > heavy + recent:
        old = sorted(kept[: n_prompt - recent], key=lambda j: -sums[j])[:heavy]
        kept = sorted(old) + kept[n_prompt - recent :]
    seen = []
    for t in range(n_prompt, n):
        kept = [*kept, t]
        seen.append(list(kept))
        for row in weights(t, kept):
            for j, w in zip(kept, row, strict=True):
                sums[j] += w / group
        if len(kept) > heavy + recent:
            kept.remove(min(kept[: len(kept) - recent], key=lambda j: sums[j]))
    return seen


@pytest.mark.parametrize(("n_kv", "group"), [(1, 4), (2, 2), (3, 1)])
@pytest.mark.parametrize(("heavy", "recent"), [(3, 4), (1, 1), (8, 2), (10, 30)])
def test_every_step_attends_to_what_the_loops_keep(n_kv, group, heavy, recent):
    generator = torch.Generator().manual_seed(0)
    n, n_prompt, d = 34, 20, 8
    q = torch.randn(2, n_kv * group, n, d, generator=generator, dtype=torch.float64) * 2
    k, v = (torch.randn(2, n_kv, n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    layer = H2OLayer(heavy=heavy, recent=recent, scale=d**-0.5)
    layer.queries = q[:, :, :n_prompt]
    layer.update(k[:, :, :n_prompt], v[:, :, :n_prompt])
    for t in range(n_prompt, n):
        layer.queries = q[:, :, t : t + 1]
        keys, values = layer.update(k[:, :, t : t + 1], v[:, :, t : t + 1])
        for row in range(2):
            for head in range(n_kv):
                mine = q[row, head * group : (head + 1) * group]
                places = h2o_by_loops(mine[:, : t + 1], k[row, head, : t + 1], n_prompt=n_prompt, heavy=heavy, recent=recent)[-1]
                assert torch.equal(keys[row, head], k[row, head, places]) and torch.equal(values[row, head], v[row, head, places])
        assert layer.keys.shape[2] == layer.sums.shape[2] <= heavy + recent


def test_one_layer_cannot_tell_it_from_a_mask_of_what_is_kept():
    """With one layer keys and values know nothing of other tokens: decoding is the model's own attention under the twin's mask."""
    model = tiny_llama(layers=1, n_heads=4, n_kv=2)
    n, n_prompt, heavy, recent = 40, 28, 5, 4
    ids = prompt_ids(model, n)
    whole = prefill(model, ids, window=n)
    ours = follow(
        model, H2OCache(model.config, heavy=heavy, recent=recent).fill(prefill(model, ids[:, :n_prompt], window=n)), ids[:, n_prompt:]
    )
    mask = torch.ones(n, n, dtype=torch.bool).tril().expand(1, 4, n, n).clone()
    for head in range(2):
        seen = h2o_by_loops(
            whole.queries[0][0, 2 * head : 2 * head + 2], whole.keys[0][0, head], n_prompt=n_prompt, heavy=heavy, recent=recent
        )
        for t, places in enumerate(seen, start=n_prompt):
            mask[0, 2 * head : 2 * head + 2, t] = False
            mask[0, 2 * head : 2 * head + 2, t, places] = True
    with torch.no_grad():
        twin, plain = model(ids, attention_mask=mask).logits[:, n_prompt:], model(ids).logits[:, n_prompt:]
    torch.testing.assert_close(ours, twin, atol=1e-4, rtol=1e-4)
    assert (ours - plain).abs().max() > 0.01


def test_kvpress_observed_attention_is_the_same_votes_divided_by_their_voters(model):
    """NVIDIA kvpress's definition, rederived: the mean attention a key got from the queries that could see it, mean over the group."""
    ids = prompt_ids(model, 30, batch=2)
    votes = prefill(model, ids, window=1, votes=True).votes
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    for layer in range(2):
        voters = torch.arange(30, 0, -1)
        theirs = torch.stack([attentions[layer][:, 2 * h : 2 * h + 2].sum(2).mean(1) / voters for h in range(2)], dim=1)
        torch.testing.assert_close(votes[layer] / voters, theirs, atol=1e-6, rtol=1e-4)


def test_votes_at_the_prefill_are_those_of_recorded_queries(model):
    ids = prompt_ids(model, 30)
    lean, all_of_it = prefill(model, ids, window=3, votes=True), prefill(model, ids, window=30)
    assert lean.queries[0].shape[2] == 3
    torch.testing.assert_close(lean.queries[1], all_of_it.queries[1][:, :, -3:])
    caches = [H2OCache(model.config, heavy=4, recent=4).fill(p) for p in (lean, all_of_it)]
    for a, b in zip(*(c.layers for c in caches), strict=True):
        assert torch.equal(a.keys, b.keys)
        torch.testing.assert_close(a.sums, b.sums)
        torch.testing.assert_close(lean.votes[0].sum(-1), torch.full((1, 2), 30.0))
    assert torch.equal(lean.logits, prefill(model, ids, window=1).logits)


def test_a_budget_for_all_is_the_full_cache_and_a_small_one_is_not(model):
    ids = prompt_ids(model, 40)
    prompt = prefill(model, ids[:, :30], window=1, votes=True)
    with torch.no_grad():
        want = model(ids).logits[:, 30:]
    gaps = [
        float((follow(model, H2OCache(model.config, heavy=h, recent=10).fill(prompt), ids[:, 30:]) - want).abs().max()) for h in (30, 4)
    ]
    assert gaps[0] < 1e-4 and gaps[1] > 0.01


def test_generate_watches_prompt_and_steps(model):
    ids = prompt_ids(model, 30, batch=2)
    cache = H2OCache(model.config, heavy=5, recent=5)
    out = generated(model, cache, ids)
    prompt = prefill(model, ids, window=1, votes=True)
    again = H2OCache(model.config, heavy=5, recent=5).fill(prompt)
    logits = torch.cat([prompt.logits[:, None], follow(model, again, out[:, :-1])], dim=1)
    logits[..., model.config.eos_token_id] = float("-inf")
    assert torch.equal(logits.argmax(-1), out)
    assert cache.layers[0].n_visible() == 10


def test_bytes_are_those_of_the_budget_and_its_sums(model):
    cache = H2OCache(model.config, heavy=5, recent=7).fill(prefill(model, prompt_ids(model, 30), window=1, votes=True))
    assert cache.nbytes() == true_bytes(cache) == 2 * 2 * 12 * (2 * 16 * 4 + 4)  # layers, heads, tokens, (K and V, dims, fp32) and a sum
    assert cache.nominal_bytes() == 2 * 2 * 12 * 2 * 16 * 2


def test_refusals(model):
    config, ids = model.config, prompt_ids(model, 30)
    assert attention_scale(config) == 0.25
    with pytest.raises(GalleyError, match="heavy is 0"):
        H2OCache(config, heavy=0, recent=4)
    with pytest.raises(GalleyError, match="recent is 0"):
        H2OCache(config, heavy=4, recent=0)
    with pytest.raises(GalleyError, match=r"3 of the prompt's 30 queries; use prefill\(.*votes=True"):
        H2OCache(config, heavy=4, recent=4).fill(prefill(model, ids, window=3))
    with pytest.raises(GalleyError, match="0 of the prompt's last 30 queries"):
        model(ids, past_key_values=H2OCache(config, heavy=4, recent=4))
    cache = H2OCache(config, heavy=4, recent=4).fill(prefill(model, ids, window=30))
    with pytest.raises(GalleyError, match="no query for a step"):
        forced(model, cache, torch.cat([ids, ids[:, :1]], dim=1), prompt=30)
