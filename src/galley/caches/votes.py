"""How much a prompt's last queries attend to each of its tokens, and keeping the tokens that win.

Source: ours; the shared arithmetic of SnapKV (arXiv:2404.14469), PyramidKV (arXiv:2406.02069) and H2O (arXiv:2306.14048).
Settled: with grouped queries, a key-value head's vote is the mean over its query heads (the originals repeat the keys).
"""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.rope import head_dim

BLOCK = 64  # queries whose attention is held at once


def attention_scale(config: PreTrainedConfig) -> float:
    """Return what the model multiplies its scores by."""
    return getattr(config, "attention_multiplier", None) or head_dim(config) ** -0.5


def attention_votes(queries: torch.Tensor, keys: torch.Tensor, *, scale: float) -> torch.Tensor:
    """Return the attention that the last w queries (batch, n_h, w, d_h) give keys (batch, n_kv, N, d_h), summed over queries.

    Causal, softmax in float32, a few queries at a time; (batch, n_kv, group, N), all of a token's rows adding up to w.
    """
    batch, n_kv, tokens, _ = keys.shape
    width = queries.shape[-2]
    grouped = queries.unflatten(1, (n_kv, -1))
    votes = keys.new_zeros(batch, n_kv, grouped.shape[2], tokens, dtype=torch.float32)
    for start in range(0, width, BLOCK):
        block = grouped[..., start : start + BLOCK, :] * scale
        rows = block.shape[-2]
        seen = tokens - width + start + rows  # keys up to the block's last query; later ones get nothing
        scores = (block.flatten(2, 3) @ keys[..., :seen, :].transpose(-1, -2)).float().unflatten(2, (-1, rows))
        hidden = torch.ones(rows, rows, dtype=torch.bool, device=keys.device).triu(1)
        scores[..., seen - rows :].masked_fill_(hidden, float("-inf"))
        votes[..., :seen] += scores.softmax(dim=-1).sum(dim=-2)
    return votes


def require_queries(queries: torch.Tensor | None, *, tokens: int, window: int, method: str) -> torch.Tensor:
    """Return the prompt's last min(window, tokens) queries; GalleyError when they were not, or not all, handed over."""
    wanted = min(window, tokens)
    if queries is None or queries.shape[-2] < wanted:
        got = 0 if queries is None else queries.shape[-2]
        raise GalleyError(
            f"{method} got {got} of the prompt's last {wanted} queries; run the prompt inside `with cache.watching(model):`, "
            f"or fill the cache from prefill(model, ids, window={wanted} or more)"
        )
    return queries[..., -wanted:, :]


def keep_winners(x: torch.Tensor, chosen: torch.Tensor, *, recent: int) -> torch.Tensor:
    """Return the chosen tokens (batch, n_kv, c), in order of time, and the last `recent` of x (batch, n_kv, N, d_h)."""
    picked = x.gather(2, chosen[..., None].expand(*chosen.shape, x.shape[-1]))
    return torch.cat([picked, x[..., x.shape[-2] - recent :, :]], dim=-2)


def winners(votes: torch.Tensor, count: int) -> torch.Tensor:
    """Return the places of the `count` largest votes (..., N) in order of time; of equal votes the earlier wins."""
    # Maximum pooling makes neighbours exactly equal, and topk does not say which of equals it takes.
    return votes.sort(dim=-1, descending=True, stable=True).indices[..., :count].sort(dim=-1).values
