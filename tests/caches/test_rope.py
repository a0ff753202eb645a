import pytest
import torch
from transformers import BloomConfig, Gemma3TextConfig, GPTNeoXConfig, LlamaConfig, MistralConfig, Qwen2Config, SmolLM3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from galley.artifact import GalleyError
from galley.caches.rope import require_count, require_rope_attention, rope_frequencies, rotate


def test_rotation_is_the_models_own():
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e4})
    x = torch.randn(2, 3, 40, 16, generator=torch.Generator().manual_seed(0))
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(40)[None])
    theirs, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(rotate(x, torch.arange(40), frequencies=rope_frequencies(config)), theirs, atol=2e-6, rtol=1e-5)


def test_turns_add_up_and_undo_each_other():
    frequencies = rope_frequencies(LlamaConfig(hidden_size=64, num_attention_heads=4))
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    once = rotate(rotate(x, 30_000, frequencies=frequencies), 17, frequencies=frequencies)
    torch.testing.assert_close(once, rotate(x, 30_017, frequencies=frequencies), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(rotate(once, -30_017, frequencies=frequencies), x, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("config", [LlamaConfig(), MistralConfig(sliding_window=None), Qwen2Config()], ids=lambda c: c.model_type)
def test_full_attention_with_rope_is_taken(config):
    assert require_rope_attention(config) is config


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BloomConfig(), "rope_parameters of bloom is None"),
        (MistralConfig(), "sliding_window of mistral is 4096"),
        (Gemma3TextConfig(num_hidden_layers=6), "layer_types of gemma3_text has sliding_attention"),
        (Qwen2Config(use_sliding_window=True, sliding_window=64, max_window_layers=4), "layer_types of qwen2 has sliding_attention"),
        (SmolLM3Config(), "no_rope_layers of smollm3"),
        (GPTNeoXConfig(), "partial_rotary_factor of gpt_neox is 0.25"),
        (LlamaConfig(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "rope_type of llama is dynamic"),
    ],
    ids=lambda x: getattr(x, "model_type", ""),
)
def test_other_attention_is_refused_with_its_reason(config, words):
    with pytest.raises(GalleyError, match=words):
        require_rope_attention(config)


@pytest.mark.parametrize("value", [0, 2.0, True, "3", None])
def test_counts_are_whole_and_large_enough(value):
    with pytest.raises(GalleyError, match=r"taps is .*; allowed: whole numbers >= 1; turn one on"):
        require_count("taps", value, least=1, why="turn one on")
    assert require_count("taps", 1, least=1, why="") == 1
