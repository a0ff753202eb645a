"""What holds for every compressed cache: exact prompts, and models that none of them takes."""

import pytest
import torch
from cache_runs import prompt_ids
from tiny import tiny_llama
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel

from galley.artifact import GalleyError
from galley.caches.fourier import FourierCache
from galley.caches.h2o import H2OCache
from galley.caches.kivi import KiviCache
from galley.caches.palu import PaluCache
from galley.caches.pyramidkv import PyramidKVCache
from galley.caches.sink_window import SinkWindowCache
from galley.caches.snapkv import SnapKVCache

HALF = [(torch.arange(0, 32, 2), torch.arange(1, 32, 2))] * 2
CACHES = {
    "sink_window": lambda m: SinkWindowCache(m.config, sinks=3, window=6),
    "snapkv": lambda m: SnapKVCache(m.config, capacity=12, window=4),
    "pyramidkv": lambda m: PyramidKVCache(m.config, capacity=12, window=4),
    "h2o": lambda m: H2OCache(m.config, heavy=6, recent=6),
    "fourier": lambda m: FourierCache(m.config, channels=HALF, orders=5, sinks=2, local=8),
    "mean only": lambda m: FourierCache(m.config, channels=HALF, orders=1, sinks=2, local=8),
    "palu": lambda m: PaluCache(m, rank=5),
    "kivi": lambda m: KiviCache(m.config, nbits=2, group=8, residual=16),
}


@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)
def test_a_prompt_s_logits_are_those_of_no_cache_and_less_is_kept_after_it(make):
    model = tiny_llama()
    ids = prompt_ids(model, 40, batch=2)
    cache = make(model)
    with torch.no_grad(), cache.watching(model):
        got = model(ids, past_key_values=cache, use_cache=True).logits
        assert torch.equal(got, model(ids).logits)
    assert 0 < cache.nbytes() < 2 * 2 * 2 * 40 * 2 * 16 * 4  # layers, batch, heads, tokens, K and V, dims, fp32
    assert 0 < cache.nominal_bytes() <= cache.nbytes()
    assert cache.get_seq_length() == 40


@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)
def test_sliding_windows_and_models_without_rope_are_refused(make):
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 2}
    sliding = Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=64, intermediate_size=32, **sizes))
    with pytest.raises(GalleyError, match="layer_types of gemma3_text has sliding_attention"):
        make(sliding)
    plain = GPT2LMHeadModel(GPT2Config(n_embd=32, n_head=2, n_layer=2, vocab_size=64))
    with pytest.raises(GalleyError, match="rope_parameters of gpt2 is None"):
        make(plain)
