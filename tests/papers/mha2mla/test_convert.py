import pytest
import torch
from tiny import tiny_llama
from transformers import DynamicCache, Gemma3TextConfig, Qwen2Config, Qwen2ForCausalLM, Qwen3Config

from galley.artifact import GalleyError
from galley.caches.latent import LatentCache
from galley.models import mla as architecture
from galley.papers.mha2mla import audits
from galley.papers.mha2mla.convert import check_convertible, convert_mla
from galley.papers.mha2mla.partial_rope import STRATEGIES, head_rows


def logits(model, ids, **kwargs):
    with torch.no_grad():
        return model(ids, **kwargs).logits


def scores_for(model, seed=0):
    config = model.config
    shape = (config.num_hidden_layers, config.num_key_value_heads, config.head_dim // 2)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_kv", [1, 2, 4], ids=["mqa", "gqa", "mha"])
def test_all_pairs_without_svd_is_bit_equal(n_kv, ids):
    model = tiny_llama(n_kv=n_kv)
    converted = convert_mla(model, strategy="high", r=8, d_kv=None)
    assert torch.equal(logits(converted, ids), logits(model, ids))


@pytest.mark.parametrize("expand", [False, True], ids=["gqa", "gqa2mha"])
@pytest.mark.parametrize("svd", ["joint", "split"])
def test_full_rank_equals_the_original(llama, ids, expand, svd):
    # split needs twice the width to be of full rank on both sides
    converted = convert_mla(llama, strategy="high", r=8, d_kv=32 if svd == "joint" else 64, svd=svd, expand_gqa=expand)
    assert (logits(converted, ids) - logits(llama, ids)).abs().max() < 1e-4


@pytest.mark.parametrize("audit", [audits.contiguous_dims, audits.wrong_theta])
def test_wrong_pairs_are_seen(llama, ids, audit):
    converted = audit(convert_mla(llama, strategy="high", r=8, d_kv=None))
    assert (logits(converted, ids) - logits(llama, ids)).abs().max() > 1e-2


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n_kv", [2, 4], ids=["gqa", "mha"])
@pytest.mark.parametrize("svd", ["joint", "split"])
def test_absorbed_is_expanded_and_steps_are_prefill(strategy, n_kv, svd, ids):
    model = tiny_llama(n_kv=n_kv)
    mla = convert_mla(model, strategy=strategy, r=2, d_kv=6, svd=svd, scores=scores_for(model))
    expanded = logits(mla, ids)
    mla.config.attn_impl = "absorbed"
    assert (logits(mla, ids) - expanded).abs().max() < 1e-4
    mla.config.attn_impl = "auto"
    for cache in (LatentCache(), DynamicCache()):
        steps = [logits(mla, ids[:, t : t + 1], past_key_values=cache, use_cache=True) for t in range(ids.shape[1])]
        assert (torch.cat(steps, dim=1) - expanded).abs().max() < 1e-4


def naive_attention(mla, layer, x, scale):
    """The slow twin: one head and one query at a time, from the equations."""
    a = mla.model.layers[layer].self_attn
    batch, n, _ = x.shape
    half = a.head_dim // 2
    theta = mla.config.rope_parameters["rope_theta"] ** (-torch.arange(half).double() / half)
    q, kr, c = a.q_proj(x).double(), a.k_r_proj(x).double(), a.kv_down(x).double()
    out = torch.zeros(batch, n, a.n_h, a.head_dim, dtype=torch.double)

    def turn(vector, angle, r):
        first, second = vector[:r], vector[r:]
        return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()])

    for b in range(batch):
        for h in range(a.n_h):
            j = h // a.num_key_value_groups
            w_uk = a.k_up.weight.double().view(a.n_kv, a.d_nope, -1)[j]
            w_uv = a.v_up.weight.double().view(a.n_kv, a.head_dim, -1)[j]
            angles = theta[a.pairs[j]]
            for t in range(n):
                q_t = q[b, t].view(a.n_h, a.head_dim)[h]
                weights = []
                for s in range(t + 1):
                    k_s = kr[b, s].view(a.n_kv, -1)[j]
                    rope = turn(q_t[: 2 * a.r], t * angles, a.r) @ turn(k_s, s * angles, a.r)
                    weights.append((rope + q_t[2 * a.r :] @ (w_uk @ c[b, s])) * scale)
                p = torch.stack(weights).softmax(0)
                out[b, t, h] = sum(p[s] * (w_uv @ c[b, s]) for s in range(t + 1))
    return a.o_proj(out.float().flatten(2))


def test_attention_equals_the_naive_twin(llama):
    mla = convert_mla(llama, strategy="2-norm", r=2, d_kv=6, scores=scores_for(llama))
    x = torch.randn(1, 7, 64, generator=torch.Generator().manual_seed(2))
    position = mla.model.rotary_emb(x, torch.arange(7)[None])
    with torch.no_grad():
        ours, _ = mla.model.layers[1].self_attn(x, position)
        twin = naive_attention(mla, 1, x, scale=16**-0.5)
    assert (ours - twin).abs().max() < 1e-5


@pytest.mark.parametrize("svd", ["joint", "split"])
def test_the_way_of_a_gpu_s_decode_steps_is_the_cpu_s(svd, ids, monkeypatch):
    """With the kernel's own torch twin in the kernel's place; tests/kernels runs the kernel itself in the interpreter."""
    mla = convert_mla(tiny_llama(), strategy="high", r=2, d_kv=6, svd=svd)
    cache, calls = LatentCache(), []
    logits(mla, ids[:, :-1], past_key_values=cache)
    monkeypatch.setattr(architecture, "takes_kernel", lambda x: True)
    decode = architecture.decode
    monkeypatch.setattr(architecture, "decode", lambda step: calls.append(step) or decode(step))
    step = logits(mla, ids[:, -1:], past_key_values=cache)[:, -1]
    assert len(calls) == 2  # one a layer
    torch.testing.assert_close(step, logits(mla, ids)[:, -1], atol=1e-4, rtol=0)


def test_permuting_kv_heads_with_their_groups_changes_nothing(llama, ids):
    scores = scores_for(llama)
    before = logits(convert_mla(llama, strategy="2-norm", r=3, d_kv=8, scores=scores), ids)
    with torch.no_grad():
        for layer in llama.model.layers:
            a = layer.self_attn
            for linear in (a.k_proj, a.v_proj):
                linear.weight.copy_(linear.weight.unflatten(0, (2, 16)).flip(0).flatten(0, 1))
            a.q_proj.weight.copy_(a.q_proj.weight.unflatten(0, (2, 32)).flip(0).flatten(0, 1))
            a.o_proj.weight.copy_(a.o_proj.weight.unflatten(1, (2, 32)).flip(1).flatten(1, 2))
    after = logits(convert_mla(llama, strategy="2-norm", r=3, d_kv=8, scores=scores.flip(1)), ids)
    assert (before - after).abs().max() < 1e-4


def test_left_padding_changes_nothing(llama, ids):
    mla = convert_mla(llama, strategy="uniform", r=2, d_kv=6)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), ids], dim=1)
    mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), torch.ones_like(ids)], dim=1)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    for how in ("expanded", "absorbed"):
        mla.config.attn_impl = how
        got = logits(mla, padded, attention_mask=mask, position_ids=positions)[:, 3:]
        assert (got - logits(mla, ids)).abs().max() < 1e-4


@pytest.mark.parametrize("cache", [None, LatentCache], ids=["default", "latent"])
def test_generate_caches_latents_only(llama, ids, cache):
    mla = convert_mla(llama, strategy="high", r=2, d_kv=6)
    extra = {"past_key_values": cache()} if cache else {}
    out = mla.generate(ids, max_new_tokens=6, do_sample=False, return_dict_in_generate=True, **extra)
    layer = out.past_key_values.layers[0]
    assert layer.keys.shape[1:] == (2, 24, 4) and layer.values.shape[1:] == (1, 24, 12)
    mla.config.attn_impl = "expanded"
    assert torch.equal(mla.generate(ids, max_new_tokens=6, do_sample=False), out.sequences)


def test_full_cache_audit_saves_nothing(llama, ids):
    mla = audits.cache_full_heads(convert_mla(llama, strategy="high", r=2, d_kv=6))
    with torch.no_grad():
        cache = mla(ids, use_cache=True).past_key_values
    assert cache.layers[0].keys.shape[-1] + cache.layers[0].values.shape[-1] == 2 * 16


def test_qwen2_biases(ids):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=97,
        hidden_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        intermediate_size=48,
    )
    model = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    mla = convert_mla(model, strategy="high", r=8, d_kv=32)
    assert (logits(mla, ids) - logits(model, ids)).abs().max() < 1e-3
    small = convert_mla(model, strategy="low", r=2, d_kv=6)
    expanded = logits(small, ids)
    small.config.attn_impl = "absorbed"
    assert (logits(small, ids) - expanded).abs().max() < 1e-4


@pytest.mark.parametrize("config", [Qwen3Config(), Gemma3TextConfig()], ids=["qwen3", "gemma3"])
def test_qk_norm_is_refused_with_the_reason(config):
    with pytest.raises(GalleyError, match="QK-norm"):
        check_convertible(config)


def test_gradients_reach_every_projection(llama, ids):
    mla = convert_mla(llama, strategy="high", r=2, d_kv=6).train()
    mla(ids, labels=ids).loss.backward()
    a = mla.model.layers[0].self_attn
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in a.parameters())


def test_head_rows_of_all_pairs_are_the_identity():
    rope, nope = head_rows(torch.arange(8), 16)
    assert rope.tolist() == list(range(16)) and not len(nope)
