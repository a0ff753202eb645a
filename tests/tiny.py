"""Tiny models that several tests use."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(*, n_heads=4, n_kv=2, d_h=16, layers=2, vocab=97, seed=0):
    """A random Llama whose weights are large enough for attention to matter."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=n_heads * d_h, num_attention_heads=n_heads, num_key_value_heads=n_kv,
        num_hidden_layers=layers, intermediate_size=48, max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.add_(0.1 * torch.randn_like(p))
    return model
