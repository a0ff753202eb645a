"""Bytes of a KV cache, counted on the tensors that it really holds.

Source: ours. Two numbers: `true_bytes`, what the cached tokens take (codes, scales, zeros and the full-precision
residual), and `allocated_bytes`, the memory behind them, with room kept free for tokens to come.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache


def tensors_of(value: Any, *, seen: set[int] | None = None) -> list[torch.Tensor]:
    """Return every distinct tensor reachable through lists, dicts and attributes of cache layers.

    Attributes that a class lists in `spare` are left out: buffers whose used part is another attribute.
    """
    seen = set() if seen is None else seen
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, torch.Tensor) and type(value) in (torch.Tensor, torch.nn.Parameter):
        return [value]
    if isinstance(value, torch.Tensor):  # a tensor subclass (quanto) keeps its parts as attributes
        names, _ = value.__tensor_flatten__()  # type: ignore[attr-defined]
        return [t for name in names for t in tensors_of(getattr(value, name), seen=seen)]
    if isinstance(value, list | tuple):
        return [t for part in value for t in tensors_of(part, seen=seen)]
    if isinstance(value, dict):
        return [t for part in value.values() for t in tensors_of(part, seen=seen)]
    if hasattr(value, "__dict__"):
        spare = getattr(type(value), "spare", ())
        return [t for name, part in vars(value).items() if name not in spare for t in tensors_of(part, seen=seen)]
    return []


def true_bytes(cache: Cache) -> int:
    """Return the bytes of the cached tokens' tensors: scales, zeros and residuals included, each region once."""
    regions: dict[tuple, int] = {}
    for layer in cache.layers:
        for t in tensors_of(layer):
            regions[t.data_ptr(), tuple(t.shape), t.stride()] = t.numel() * t.element_size()
    return sum(regions.values())


def allocated_bytes(cache: Cache) -> int:
    """Return the bytes of the memory blocks behind the cache, room for more tokens included, each block once."""
    blocks: dict[int, int] = {}
    for layer in cache.layers:
        for t in tensors_of(layer):
            blocks[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
    return sum(blocks.values())
