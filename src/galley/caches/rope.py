"""Which attention the compressed caches take, and the rotation of rotary positions.

Source: ours; RoPE is arXiv:2104.09864, in the half-split layout (pair j = dims j and j + d_h/2). A cache sees keys
after RoPE: turning a key by n positions more, or back by its own position, is a pure rotation, so it is exact whatever
factor the model's RoPE also applies. Angles are taken in float64: one rounding, whatever the position.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from galley.artifact import GalleyError

ANY = "a model whose layers all attend to the whole past with RoPE (Llama, SmolLM2, Qwen2, Mistral without its window)"
FIXED_ROPE = ("default", "linear", "llama3", "yarn")  # frequencies that do not depend on the length


def require_rope_attention(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return the text config of a model whose every layer has full attention with RoPE on all of a head's dims.

    GalleyError for no RoPE, layers without it, a part of the dims, sliding windows, length-dependent RoPE, latent caches.
    """
    config = config.get_text_config()
    name = config.model_type
    kinds = sorted({kind for kind in getattr(config, "layer_types", None) or [] if kind != "full_attention"})
    if kinds:
        raise GalleyError(f"layer_types of {name} has {', '.join(kinds)}; allowed: full_attention in all layers; use {ANY}")
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True) and not getattr(config, "layer_types", None):
        raise GalleyError(f"sliding_window of {name} is {config.sliding_window}; allowed: none; use {ANY}")
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_theta" not in rope:
        raise GalleyError(f"rope_parameters of {name} is {rope or None}; allowed: one rope_theta for all layers; use {ANY}")
    if rope.get("rope_type", "default") not in FIXED_ROPE:
        raise GalleyError(f"rope_type of {name} is {rope['rope_type']}; allowed: {', '.join(FIXED_ROPE)}; use {ANY}")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise GalleyError(f"partial_rotary_factor of {name} is {rope['partial_rotary_factor']}; allowed: 1; use {ANY}")
    if not all(getattr(config, "no_rope_layers", None) or [1]):  # 1 means RoPE there, despite the name
        raise GalleyError(f"no_rope_layers of {name} leaves layers without RoPE; use {ANY}")
    if getattr(config, "latent_rank", 0):
        raise GalleyError(
            f"latent_rank of {name} is {config.latent_rank}: it caches a latent, not keys; use galley.caches.latent.LatentCache"
        )
    return config


def head_dim(config: PreTrainedConfig) -> int:
    """Return d_h, the width of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def kv_heads(config: PreTrainedConfig) -> int:
    """Return n_kv, the number of key-value heads."""
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def rope_frequencies(config: PreTrainedConfig) -> torch.Tensor:
    """Return the radians a position of every rotary pair, (d_h/2,) in float32 as the model has them."""
    return LlamaRotaryEmbedding(config).inv_freq.clone()


def rotate(x: torch.Tensor, positions: torch.Tensor | int, *, frequencies: torch.Tensor) -> torch.Tensor:
    """Return x (..., tokens, d_h) turned by `positions` (tokens,) or one count for all; negative turns back."""
    turns = torch.as_tensor(positions, dtype=torch.float64, device=x.device)
    angles = turns[..., None] * frequencies.to(x.device, torch.float64)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def require_count(field: str, value: object, *, least: int, why: str) -> int:
    """Return `value` if it is a whole number of at least `least`; else GalleyError with what to do."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GalleyError(f"{field} is {value!r}; allowed: whole numbers >= {least}; {why}")
    return value
