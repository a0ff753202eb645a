"""Known tokens read through a cache, as many at once as its rule allows: the logits are those of feeding them one by one.

Source: ours. Where a method keeps every later token, or drops by place alone, a token's sight of the cache does not depend on
how the tokens arrive, so one forward with each layer's own causal mask gives what single steps give, up to rounding. Methods whose
rule looks at every step (H2O, spectral states that take in tokens, quantisation with a moving window) take one token a forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, QuantizedLayer

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache

MASKED = ("sdpa", "eager")  # attention implementations that take a mask tensor


def follow(model: PreTrainedModel, cache: Cache, ids: torch.Tensor) -> torch.Tensor:
    """Feed ids (batch, n), n >= 1, into a filled cache; return the logits after each, (batch, n, vocabulary)."""
    if not ids.shape[1]:
        raise GalleyError("ids holds 0 tokens; allowed: 1 or more")
    watch = cache.watching(model) if isinstance(cache, CompressedCache) and cache.watches_steps else nullcontext()
    logits, start = [], 0
    with torch.no_grad(), watch:
        while start < ids.shape[1]:
            attention = model.config._attn_implementation
            room = tokens_at_once(cache) if attention in MASKED else 1
            part = ids[:, start : start + room] if room else ids[:, start:]
            # One token sees all there is, and sdpa needs no mask to know it; eager would take the first layer's for all.
            own = isinstance(cache, CompressedCache) and (part.shape[1] > 1 or attention == "eager")
            with own_masks(model, cache, part.shape[1]) if own else nullcontext():  # type: ignore[arg-type]
                logits.append(model(part, past_key_values=cache, use_cache=True).logits)
            start += part.shape[1]
    return torch.cat(logits, dim=1)


def tokens_at_once(cache: Cache) -> int | None:
    """Return how many tokens one forward may bring; None is any number, 1 what is safe for a cache that is not known."""
    if isinstance(cache, CompressedCache):
        return cache.room()
    rooms = []
    for layer in cache.layers:
        if isinstance(layer, QuantizedLayer):  # what fills the residual is quantised with it, but only for the tokens after
            held = layer.keys.shape[-2] if layer.is_initialized and layer.keys.dim() == 4 else 0
            rooms.append(max(1, layer.residual_length - held))
        elif type(layer) is not DynamicLayer:
            return 1
    return min(rooms, default=None)


@contextmanager
def own_masks(model: PreTrainedModel, cache: CompressedCache, n_new: int) -> Iterator[None]:
    """Within, a forward of `n_new` tokens gives every attention layer the mask of its own cache layer."""

    def hook(layer):
        def give(module, args, kwargs):
            q = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            seen = layer.seen(n_new)
            mask = torch.zeros(seen.shape, dtype=q.dtype, device=q.device).masked_fill_(~seen, torch.finfo(q.dtype).min)
            return args, kwargs | {"attention_mask": mask[None, None]}

        return give

    handles = []
    for block, layer in zip(model.model.layers, cache.layers, strict=True):
        handles.append(block.self_attn.register_forward_pre_hook(hook(layer), with_kwargs=True))
        layer.in_block = True
    try:
        yield
    finally:
        for handle, layer in zip(handles, cache.layers, strict=True):
            handle.remove()
            layer.in_block = False
