"""One pass over a prompt that every compressed cache can be made from.

Source: ours. Post-RoPE queries of the last tokens are recorded on the way, since SnapKV and its kin choose what to
keep by them; they are computed again from the attention layer's own projection, for those few tokens only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from galley.artifact import GalleyError


@dataclass(frozen=True)
class Prefill:
    """A prompt's exact keys and values (batch, n_kv, N, d_h), its last queries (batch, n_h, w, d_h), and its last logits."""

    ids: torch.Tensor  # (batch, N)
    keys: tuple[torch.Tensor, ...]  # one a layer, after RoPE
    values: tuple[torch.Tensor, ...]
    queries: tuple[torch.Tensor, ...]  # one a layer, after RoPE; w = min(window, N)
    logits: torch.Tensor  # (batch, vocabulary)


def prefill(model: PreTrainedModel, ids: torch.Tensor, *, window: int) -> Prefill:
    """Run a prompt (batch, N) once with a full cache, recording the last `window` queries of every layer."""
    cache = DynamicCache(config=model.config)
    queries: dict[int, torch.Tensor] = {}
    with torch.no_grad(), observed(model, window=window, record=queries.__setitem__):
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return Prefill(ids, keys, values, tuple(queries[i] for i in range(len(keys))), out.logits[:, -1])


@contextmanager
def observed(model: PreTrainedModel, *, window: int, record) -> Iterator[None]:
    """Call `record(layer, queries)` with the last `window` post-RoPE queries of each layer's prompt, before it attends.

    A pass of one token is a decode step and is not recorded. GalleyError for attention without `q_proj` and RoPE.
    """
    handles = []
    for index, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        if not hasattr(attention, "q_proj"):
            raise GalleyError(f"layer {index} is {type(attention).__name__}, which has no q_proj; its queries cannot be observed")

        def hook(module, args, kwargs, index: int = index) -> None:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            if hidden.shape[1] == 1:
                return
            last = hidden[:, -window:]
            cos, sin = kwargs["position_embeddings"]
            q = module.q_proj(last).unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
            if hasattr(module, "q_norm"):
                q = module.q_norm(q)
            record(index, apply_rotary_pos_emb(q, q, cos[:, -window:], sin[:, -window:])[0])

        handles.append(attention.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
