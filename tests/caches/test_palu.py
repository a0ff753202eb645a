import pytest
import torch
from cache_runs import filled, forced, full_logits, generated, greedy, prompt_ids
from tiny import tiny_llama
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from galley.artifact import GalleyError
from galley.caches.palu import PaluCache, decompose, rank_of_energy, rank_within, second_moments
from galley.caches.prefill import prefill
from galley.caches.rope import rope_frequencies, rotate
from galley.evaluate.cache_bytes import true_bytes


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def low_rank_twin(model, *, rank, groups):
    """Slow twin: the model with each projection's weight itself cut to `rank` in every group of rows, biases as they are."""
    twin = type(model)(model.config).eval().to(model.dtype)
    twin.load_state_dict(model.state_dict())
    for block in twin.model.layers:
        for projection in (block.self_attn.k_proj, block.self_attn.v_proj):
            parts = []
            for rows in projection.weight.data.double().chunk(groups):
                u, s, vh = torch.linalg.svd(rows, full_matrices=False)
                parts.append((u[:, :rank] * s[:rank]) @ vh[:rank])
            projection.weight.data = torch.cat(parts).to(projection.weight)
    return twin


def qwen2():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=97, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1, intermediate_size=48,
        max_position_embeddings=128, use_sliding_window=False, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


@pytest.mark.parametrize("kind", ["llama", "qwen2 with biases"])
@pytest.mark.parametrize(("rank", "group_heads"), [(5, 1), (11, 2)])
def test_one_layer_cannot_tell_it_from_low_rank_weights(kind, rank, group_heads):
    """With one layer, keys and values are projections of embeddings alone, so all tokens' are those of the cut weights."""
    model = (tiny_llama(layers=1) if kind == "llama" else qwen2()).double()
    ids = prompt_ids(model, 40)
    cache = filled(model, PaluCache(model, rank=rank, group_heads=group_heads), ids, prompt=30)
    twin = low_rank_twin(model, rank=rank, groups=2 // group_heads)
    with torch.no_grad():
        want, plain = twin(ids).logits[:, 30:], model(ids).logits[:, 30:]
    ours = forced(model, cache, ids, prompt=30)
    # Angles are float64 here and float32 in the model.
    torch.testing.assert_close(ours, want, atol=1e-4, rtol=0)
    assert (ours - plain).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["llama", "qwen2 with biases"])
def test_moments_of_a_text_make_the_least_error_on_it(kind):
    """Slow twin: the weights cut as SVD-LLM does, with the Cholesky factor of the inputs' second moment, in and out again."""
    model = (tiny_llama(layers=1) if kind == "llama" else qwen2()).double()
    ids = prompt_ids(model, 80)
    hidden = []
    attention = model.model.layers[0].self_attn
    handle = attention.k_proj.register_forward_pre_hook(lambda m, a: hidden.append(a[0][0]))
    prompt = prefill(model, ids, window=1)
    handle.remove()
    x, rank = hidden[0], 5
    moments = second_moments(model, [prompt])
    chol = torch.linalg.cholesky(x.T @ x + 1e-9 * torch.eye(64, dtype=torch.float64))
    for side, projection in enumerate((attention.k_proj, attention.v_proj)):
        ours = decompose(model, moments=moments)[0][side].leading(rank, None)
        alone = decompose(model)[0][side].leading(rank, None)
        for head, w in enumerate(projection.weight.double().chunk(2)):
            u, s, vh = torch.linalg.svd(w @ chol, full_matrices=False)
            theirs = x @ ((u[:, :rank] * s[:rank]) @ vh[:rank] @ torch.linalg.inv(chol)).T
            y = x @ w.T
            torch.testing.assert_close(y @ ours[head].double() @ ours[head].double().T, theirs, atol=1e-3, rtol=0)
            assert (y @ ours[head] @ ours[head].T - y).norm() < 0.99 * (y @ alone[head] @ alone[head].T - y).norm()


def test_latents_are_of_keys_before_rope(model):
    ids = prompt_ids(model, 25)
    prompt = prefill(model, ids, window=1)
    layer = PaluCache(model, rank=6).fill(prompt).layers[1]
    plain = rotate(prompt.keys[1], -torch.arange(25), frequencies=rope_frequencies(model.config))
    hidden = []
    handle = model.model.layers[1].self_attn.k_proj.register_forward_pre_hook(lambda m, a: hidden.append(a[0]))
    with torch.no_grad():
        model(ids)
    handle.remove()
    projected = model.model.layers[1].self_attn.k_proj(hidden[0]).unflatten(-1, (2, 16)).transpose(1, 2)
    torch.testing.assert_close(plain, projected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer.keys, projected @ layer.k_basis, atol=1e-4, rtol=1e-4)


def test_nearly_all_of_the_rank_is_nearly_the_full_cache_and_less_is_less(model):
    ids = prompt_ids(model, 50)
    want = full_logits(model, ids, prompt=40)
    gaps = [
        float((forced(model, filled(model, PaluCache(model, rank=r, group_heads=2), ids, prompt=40), ids, prompt=40) - want).norm())
        for r in (31, 20, 4)
    ]
    assert gaps[0] < gaps[1] < gaps[2] and gaps[0] < 0.3 * gaps[2]


def test_holding_changes_nothing_and_generate_takes_it(model):
    ids = prompt_ids(model, 30, batch=2)
    plain, held = (PaluCache(model, rank=7, hold=h) for h in (False, True))
    torch.testing.assert_close(
        forced(model, filled(model, plain, ids, prompt=20), ids, prompt=20),
        forced(model, filled(model, held, ids, prompt=20), ids, prompt=20),
    )
    assert plain.nbytes() == held.nbytes()
    caches = [PaluCache(model, rank=7) for _ in range(2)]
    assert torch.equal(generated(model, caches[0], ids), greedy(model, caches[1], ids))


def test_bytes_are_those_of_the_latents(model):
    cache = filled(model, PaluCache(model, rank=7, group_heads=2), prompt_ids(model, 30), prompt=30)
    assert cache.nbytes() == true_bytes(cache) == 2 * 1 * 30 * 2 * 7 * 4  # layers, groups, tokens, K and V, rank, fp32
    assert cache.nominal_bytes() == cache.nbytes() / 2
    assert rank_within(cache.nbytes(), tokens=30, n_layers=2, groups=1, element=4) == 7
    assert rank_within(cache.nbytes() - 1, tokens=30, n_layers=2, groups=1, element=4) == 6


def test_energy_chooses_the_least_rank_that_holds_it(model):
    values = torch.tensor([[3.0, 2.0, 1.0, 0.0], [2.0, 2.0, 2.0, 1.0]])
    assert [rank_of_energy(values, e) for e in (0.3, 9 / 14, 0.9, 0.999)] == [1, 3, 3, 4]
    directions = decompose(model)
    ranks = [PaluCache(model, energy=e, directions=directions).layers[0].k_basis.shape[-1] for e in (0.5, 0.8, 0.95)]
    assert ranks == sorted(ranks) and ranks[0] < ranks[2] < 16


def test_refusals(model):
    for settings, message in (
        ({"rank": 16}, "rank is 16, which keeps all 16"),
        ({"rank": 0}, "rank is 0"),
        ({"energy": 1.0}, "energy is 1.0; allowed: 0 < energy < 1"),
        ({"energy": 1 - 1e-14}, "keeps all 16"),
        ({}, "exactly one"),
        ({"rank": 3, "energy": 0.5}, "exactly one"),
        ({"rank": 3, "group_heads": 3}, "group_heads is 3; allowed: divisors of the model's 2"),
    ):
        with pytest.raises(GalleyError, match=message):
            PaluCache(model, **settings)
    config = Qwen3Config(hidden_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_hidden_layers=1, vocab_size=64)
    with pytest.raises(GalleyError, match="without a norm"):
        PaluCache(Qwen3ForCausalLM(config), rank=3)
