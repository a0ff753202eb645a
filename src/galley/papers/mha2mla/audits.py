"""Broken variants and the authors' own shortcuts: controls that must fail the exact claims.

Each takes a converted model and returns it changed (in place). See the card of known faults in
recipes/mha2mla/README.md: the main branch of the official code caches full keys and values.

Source: ours, after arXiv:2502.14837 and its official code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
    """Scale the scores of the absorbed form alone by 1/sqrt(R + d_r): where `absorbed` only runs expanded, nothing changes."""
    for attention in _layers(model):
        wrong = (model.config.latent_rank + 2 * attention.r) ** -0.5 / attention.scaling
        attention._absorbed = partial(_scaled, attention._absorbed, wrong)  # type: ignore[method-assign]
    return model


def _scaled(absorbed: Callable[..., torch.Tensor], wrong: float, q_rope: torch.Tensor, q_nope: torch.Tensor, *rest: Any) -> torch.Tensor:
    return absorbed(q_rope * wrong, q_nope * wrong, *rest)


def random_basis(model: MlaLlamaForCausalLM, *, seed: int) -> MlaLlamaForCausalLM:
    """Replace every latent basis by a random orthonormal one: what an SVD must beat."""
    generator = torch.Generator().manual_seed(seed)
    for attention in _layers(model):
        down = attention.kv_down.weight
        # W ~ up @ down; with a random orthonormal V the best up is W V^T, of which up @ down @ V^T is the seen part.
        basis = torch.linalg.qr(torch.randn(down.shape[1], down.shape[0], generator=generator))[0].T.to(down.device)
        seen = down.float() @ basis.T
        with torch.no_grad():
            for up in (attention.k_up, attention.v_up):
                up.weight.copy_((up.weight.float() @ seen).to(up.weight.dtype))
            down.copy_(basis.to(down.dtype))
    return model


def swapped_halves(model: MlaLlamaForCausalLM) -> MlaLlamaForCausalLM:
    """Let keys read the values' half of a split latent, and values the keys'."""
    for attention in _layers(model):
        weight = attention.kv_down.weight.data
        weight.copy_(weight.roll(len(weight) // 2, dims=0))
    return model


def queries_of_another_head(model: MlaLlamaForCausalLM) -> MlaLlamaForCausalLM:
    """Let the queries stand at the heads of the next group: what they look for is in no key that they see."""
    for attention in _layers(model):
        by = attention.num_key_value_groups if attention.n_kv > 1 else 1
        weight = attention.q_proj.weight.data.unflatten(0, (attention.n_h, -1))
        weight.copy_(weight.roll(by, dims=0))
    return model
