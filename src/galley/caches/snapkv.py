"""SnapKV: the prompt's last queries vote on what to keep of it.

arXiv:2404.14469, section 4. The attention of the last `window` tokens over all before them is summed over these queries,
pooled along time (kernel 5, mean or maximum) so that neighbours of a hit stay too, and the `capacity - window` best
tokens of each key-value head are kept with the window itself. Later tokens are all kept; positions do not change.
Settled: pooling is per query head, then the mean over a group's heads (the order matters for the maximum only).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool1d, max_pool1d
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.rope import require_count, require_rope_attention
from galley.caches.votes import attention_scale, attention_votes, keep_winners, require_queries, winners

POOLS = ("mean", "max")


@dataclass(frozen=True)
class Snap:
    """How a prompt's last `window` queries vote: pooling kernel and kind, and what the model multiplies its scores by."""

    window: int
    kernel: int
    pool: str
    scale: float


def snap(config: PreTrainedConfig, *, window: int, kernel: int, pool: str) -> Snap:
    """Return the vote of a model; GalleyError for no window, an even kernel, or an unknown pooling."""
    require_count("window", window, least=1, why="give the last tokens whose queries vote")
    if require_count("kernel", kernel, least=1, why="5 is the paper's") % 2 == 0:
        raise GalleyError(f"kernel is {kernel}; allowed: odd numbers; 5 is the paper's")
    if pool not in POOLS:
        raise GalleyError(f"pool is {pool!r}; allowed: {', '.join(POOLS)}")
    return Snap(window, kernel, pool, attention_scale(config))


def snap_votes(queries: torch.Tensor, keys: torch.Tensor, *, by: Snap) -> torch.Tensor:
    """Return the pooled votes (batch, n_kv, N - w) of the last w queries (batch, n_h, w, d_h) on the tokens before them."""
    votes = attention_votes(queries, keys, scale=by.scale)[..., : keys.shape[-2] - queries.shape[-2]]
    pooling = avg_pool1d if by.pool == "mean" else max_pool1d
    pooled = pooling(votes.flatten(0, 2)[:, None], by.kernel, stride=1, padding=by.kernel // 2)
    return pooled.view_as(votes).mean(dim=2)


class SnapKVLayer(CompressedLayer):
    """One layer of SnapKV: winners and window, then every later token."""

    def __init__(self, *, by: Snap, capacity: int) -> None:
        super().__init__()
        self.by, self.capacity = by, capacity

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep the winners of the vote and the window; GalleyError when the prompt's queries were not handed over."""
        tokens, capacity, window = keys.shape[-2], self.capacity_for(keys.shape[-2]), self.by.window
        if tokens > capacity:
            queries = require_queries(self.queries, tokens=tokens, window=window, method="a cache that chooses by attention")
            chosen = winners(snap_votes(queries, keys, by=self.by), capacity - window)
            keys, values = (keep_winners(x, chosen, recent=window) for x in (keys, values))
        self.keys, self.values = keys, values

    def capacity_for(self, tokens: int) -> int:
        """Return how many of a prompt's tokens stay in this layer."""
        return self.capacity


class SnapKVCache(CompressedCache):
    """SnapKV's cache of `capacity` prompt tokens, `window` of them the last; use it inside `watching(model)` or `fill` it."""

    def __init__(self, config: PreTrainedConfig, *, capacity: int, window: int = 64, kernel: int = 5, pool: str = "mean") -> None:
        config = require_rope_attention(config)
        by = snap(config, window=window, kernel=kernel, pool=pool)
        require_count("capacity", capacity, least=window + 1, why="it holds the window and at least one token more")
        super().__init__(layers=[SnapKVLayer(by=by, capacity=capacity) for _ in range(config.num_hidden_layers)])
        self.window = window
