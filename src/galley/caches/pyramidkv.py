"""PyramidKV: SnapKV's vote with fewer tokens in every next layer.

arXiv:2406.02069, section 4: layers keep window + n_i tokens, n_i falling linearly from the first layer to the last, where it is
the mean divided by beta = 20; the mean over layers is SnapKV's. A first layer that would keep more than the prompt keeps the
prompt, and the last gets the rest, so that the total is the same (the authors' code).
Settled: counts are rounded by largest remainders, so that their sum is the budget's.
"""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedModel

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache
from galley.caches.rope import require_count, require_rope_attention
from galley.caches.snapkv import Snap, SnapKVLayer, snap

BETA = 20


def pyramid_counts(n_layers: int, *, mean: int, most: int) -> list[int]:
    """Return each layer's tokens besides the window, falling, at most `most`, of sum n_layers x mean (less when most < mean)."""
    mean = min(mean, most)
    last = max(mean // BETA, 2 * mean - most)
    first = 2 * mean - last
    exact = [first - (first - last) * i / max(1, n_layers - 1) for i in range(n_layers)]
    counts = [int(x) for x in exact]
    left = n_layers * mean - sum(counts)
    for i in sorted(range(n_layers), key=lambda i: counts[i] - exact[i])[:left]:  # the largest remainders
        counts[i] += 1
    return sorted(counts, reverse=True)


class PyramidKVLayer(SnapKVLayer):
    """One layer of PyramidKV: its share of the tokens depends on its depth and on the prompt."""

    def __init__(self, *, by: Snap, capacity: int, index: int, n_layers: int) -> None:
        super().__init__(by=by, capacity=capacity)
        self.index, self.n_layers = index, n_layers

    def capacity_for(self, tokens: int) -> int:
        """Return how many of a prompt's tokens stay in this layer."""
        if tokens <= self.capacity:
            return tokens
        window = self.by.window
        return window + pyramid_counts(self.n_layers, mean=self.capacity - window, most=tokens - window)[self.index]


class PyramidKVCache(CompressedCache):
    """PyramidKV's cache of `capacity` prompt tokens on average over layers, `window` of them the last; use it like SnapKV's."""

    def __init__(self, config: PreTrainedConfig, *, capacity: int, window: int = 32, kernel: int = 5, pool: str = "mean") -> None:
        config = require_rope_attention(config)
        by = snap(config, window=window, kernel=kernel, pool=pool)
        require_count("capacity", capacity, least=window + 1, why="it holds the window and at least one token more")
        n = config.num_hidden_layers
        if n < 2:
            raise GalleyError(f"the model has {n} layer; allowed: 2 or more; use SnapKV")
        super().__init__(layers=[PyramidKVLayer(by=by, capacity=capacity, index=i, n_layers=n) for i in range(n)])
        self.window = window

    def watching(self, model: PreTrainedModel):
        """As every cache's; GalleyError for eager attention, which has one mask for layers that hold different numbers of tokens."""
        if model.config._attn_implementation == "eager":
            raise GalleyError(
                "attn_implementation is 'eager', which gives all layers the mask of the first one's tokens, and here each holds another "
                "number; call model.set_attn_implementation('sdpa'), or fill this cache and read on with galley.caches.follow"
            )
        return super().watching(model)
