"""Bytes of a KV cache, counted on the tensors that it really holds.

Source: ours.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache


def tensors_of(value: Any, *, seen: set[int] | None = None) -> list[torch.Tensor]:
    """Return every distinct tensor reachable through lists, dicts and attributes of cache layers."""
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
        return [t for part in vars(value).values() for t in tensors_of(part, seen=seen)]
    return []


def true_bytes(cache: Cache) -> int:
    """Return the bytes of all tensors in the cache's layers: scales, zeros and residuals included."""
    return sum(t.numel() * t.element_size() for layer in cache.layers for t in tensors_of(layer))
