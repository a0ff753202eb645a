"""The peer of every compressed cache: transformers' DynamicCache with torch's SDPA, one layer's decode step.

Source: ours. DynamicCache appends by concatenation, so a step with its cache reads the past twice and writes it once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache

SDPA, CACHED = "full cache, SDPA", "DynamicCache and SDPA, with the append"


def full_ways(
    q: torch.Tensor, *, n_kv: int, tokens: int, generator: torch.Generator
) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Return attention of q (B, n_h, d_h) over `tokens` random keys and values, and the same after appending one token more."""
    batch, _, d_h = q.shape
    k, v, k_new, v_new = (torch.randn(batch, n_kv, n, d_h, generator=generator).to(q) for n in (tokens, tokens, 1, 1))
    cache = DynamicCache()
    cache.update(k, v, 0)

    def attend(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(q[:, :, None], keys, values, enable_gqa=True)[:, :, 0]

    def cached() -> torch.Tensor:
        cache.layers[0].keys, cache.layers[0].values = k, v  # every repeat appends to the same past
        return attend(*cache.update(k_new, v_new, 0))

    return lambda: attend(k, v), cached


def moved_bytes(read: float) -> float:
    """Return the bytes that a step moves whose cache of `read` bytes is copied to append: read, written, read again."""
    return 3 * read
