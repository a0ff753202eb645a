import pytest
import torch
from tiny import tiny_llama
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.prefill import prefill


def full(model):
    return CompressedCache(layers=[CompressedLayer() for _ in range(model.config.num_hidden_layers)])


def decode(model, cache, logits, steps=6):
    ids = [int(logits[0].argmax())]
    rows = [logits[0]]
    with torch.no_grad():
        for _ in range(steps):
            rows.append(model(torch.tensor([[ids[-1]]]), past_key_values=cache, use_cache=True).logits[0, -1])
            ids.append(int(rows[-1].argmax()))
    return torch.stack(rows)


def test_a_filled_cache_goes_on_as_the_full_one():
    model = tiny_llama()
    ids = torch.randint(0, model.config.vocab_size, (1, 40), generator=torch.Generator().manual_seed(0))
    prompt = prefill(model, ids, window=8)
    reference = DynamicCache(config=model.config)
    with torch.no_grad():
        logits = model(ids, past_key_values=reference, use_cache=True).logits[:, -1]
    torch.testing.assert_close(prompt.logits, logits)
    cache = full(model).fill(prompt)
    torch.testing.assert_close(decode(model, cache, logits), decode(model, reference, logits), atol=1e-5, rtol=1e-5)
    assert cache.get_seq_length() == 46


def test_generate_takes_it():
    model = tiny_llama()
    ids = torch.randint(0, model.config.vocab_size, (1, 20), generator=torch.Generator().manual_seed(1))
    run = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    assert model.generate(ids, past_key_values=full(model), **run).tolist() == model.generate(ids, **run).tolist()


def test_observed_queries_are_the_models_own():
    model = tiny_llama()
    ids = torch.randint(0, model.config.vocab_size, (2, 12), generator=torch.Generator().manual_seed(2))
    prompt = prefill(model, ids, window=5)
    config = model.config
    group = config.num_attention_heads // config.num_key_value_heads
    # The queries' attention over the recorded keys and values must be what the layer put out.
    outputs = []
    handle = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(lambda m, a: outputs.append(a[0]))
    with torch.no_grad():
        model(ids)
    handle.remove()
    k, v = (t[0].repeat_interleave(group, dim=1) for t in (prompt.keys, prompt.values))
    mask = torch.ones(5, 12, dtype=torch.bool).tril(7)
    seen = torch.nn.functional.scaled_dot_product_attention(prompt.queries[0], k, v, attn_mask=mask)
    torch.testing.assert_close(seen.transpose(1, 2).flatten(2), outputs[0][:, -5:], atol=1e-5, rtol=1e-5)


def test_two_tokens_after_the_prompt_are_refused():
    model = tiny_llama()
    cache = full(model).fill(prefill(model, torch.arange(10)[None], window=1))
    with pytest.raises(GalleyError, match="one token at a time"):
        model(torch.tensor([[1, 2]]), past_key_values=cache)
