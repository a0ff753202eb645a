"""Broken variants and the authors' own shortcuts: controls that must fail the exact claims.

Each takes a converted model and returns it changed (in place). See the card of known faults in
recipes/mha2mla/README.md: the main branch of the official code caches full keys and values.

Source: ours, after arXiv:2502.14837 and its official code.
"""

from __future__ import annotations

import torch

from galley.models.mla import MlaAttention, MlaLlamaForCausalLM


def _layers(model: MlaLlamaForCausalLM) -> list[MlaAttention]:
    return [layer.self_attn for layer in model.model.layers]


def cache_full_heads(model: MlaLlamaForCausalLM) -> MlaLlamaForCausalLM:
    """Cache expanded keys and values, as the official main branch does: the latent saves nothing."""
    model.config.cache_impl = "full"
    return model


def contiguous_dims(model: MlaLlamaForCausalLM) -> MlaLlamaForCausalLM:
    """Take rotary pairs for neighbouring dims (2k, 2k+1) of a model whose layout is (k, k + d_h/2)."""
    for attention in _layers(model):
        order = torch.arange(2 * attention.r).view(-1, 2).T.flatten()
        for linear, heads in ((attention.q_proj, attention.n_h), (attention.k_r_proj, attention.n_kv)):
            weight = linear.weight.data.unflatten(0, (heads, -1))
            weight[:, : 2 * attention.r] = weight[:, order].clone()
    return model


def wrong_theta(model: MlaLlamaForCausalLM) -> MlaLlamaForCausalLM:
    """Rotate every kept pair by its neighbour's angle."""
    for attention in _layers(model):
        attention.pairs = attention.pairs.roll(1, dims=-1)
    return model


def latent_scale(model: MlaLlamaForCausalLM) -> MlaLlamaForCausalLM:
    """Scale scores by 1/sqrt(R + d_r) in the place of 1/sqrt(d_h)."""
    for attention in _layers(model):
        attention.scaling = (model.config.latent_rank + 2 * attention.r) ** -0.5
    return model
