"""One pass over a prompt that every compressed cache can be made from.

Source: ours. Post-RoPE queries of the last tokens are recorded on the way, since SnapKV and its kin choose what to
keep by them; they are computed again from the attention layer's own projection, for those few tokens only. With `votes`
the attention that every token got from all queries is summed on the way too (for H2O), layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from galley.artifact import GalleyError
from galley.caches.votes import attention_scale, attention_votes


@dataclass(frozen=True)
class Prefill:
    """A prompt's exact keys and values (batch, n_kv, N, d_h), its last queries (batch, n_h, w, d_h), and its last logits."""

    ids: torch.Tensor  # (batch, N)
    keys: tuple[torch.Tensor, ...]  # one a layer, after RoPE
    values: tuple[torch.Tensor, ...]
    queries: tuple[torch.Tensor, ...]  # one a layer, after RoPE; w = min(window, N)
    logits: torch.Tensor  # (batch, vocabulary)
    votes: tuple[torch.Tensor, ...] | None = None  # one a layer, (batch, n_kv, N): attention got from all queries, mean over a group
    shared: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)  # small work that several caches of it share


def prefill(model: PreTrainedModel, ids: torch.Tensor, *, window: int, votes: bool = False) -> Prefill:
    """Run a prompt (batch, N) once with a full cache, recording the last `window` queries of every layer, and votes if asked for."""
    cache = DynamicCache(config=model.config)
    queries: dict[int, torch.Tensor] = {}
    got: dict[int, torch.Tensor] = {}

    def record(index: int, q: torch.Tensor) -> None:
        queries[index] = q
        if votes and index:
            count(index - 1)  # the layer before has attended by now: its keys are there

    def count(index: int) -> None:
        got[index] = attention_votes(queries[index], cache.layers[index].keys, scale=attention_scale(model.config)).mean(dim=2)
        queries[index] = queries[index][..., -window:, :].clone()

    with torch.no_grad(), observed(model, window=ids.shape[1] if votes else window, record=record):
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        if votes:
            count(len(cache.layers) - 1)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    order = range(len(keys))
    return Prefill(ids, keys, values, tuple(queries[i] for i in order), out.logits[:, -1], tuple(got[i] for i in order) if votes else None)


@contextmanager
def observed(model: PreTrainedModel, *, window: int, record, steps: bool = False) -> Iterator[None]:
    """Call `record(layer, queries)` with the last `window` post-RoPE queries of each layer's prompt, before it attends.

    A pass of one token is a decode step and is recorded with `steps` only. GalleyError for attention without `q_proj` and RoPE.
    """
    handles = []
    for index, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        if not hasattr(attention, "q_proj"):
            raise GalleyError(f"layer {index} is {type(attention).__name__}, which has no q_proj; its queries cannot be observed")

        def hook(module, args, kwargs, index: int = index) -> None:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            if hidden.shape[1] == 1 and not steps:
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
