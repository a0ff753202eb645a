"""Attention sinks and a sliding window: StreamingLLM.

arXiv:2309.17453, section 3.2. The first `sinks` and the last `window` tokens are kept; a new token attends to these and
itself, then the oldest of the window goes. With `reindex` positions count inside the cache, as the original does:
scores depend on distances only, so turning the sinks' keys on by the number of tokens gone is the same as numbering
all keys and the query by their place. The sinks are turned from their first rotation at each step, so errors do not add up.
Settled: the prompt attends exactly here and is compressed after it. FourierAttention's authors drop the middle's ids
before the prompt runs instead: `drop_middle`, to be used with a full cache.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.rope import require_count, require_rope_attention, rope_frequencies, rotate


class SinkWindowLayer(CompressedLayer):
    """One layer's sinks and window, both in `keys` and `values` in order of time, as the model rotated them."""

    spare = ("frequencies",)

    def __init__(self, *, sinks: int, window: int, frequencies: torch.Tensor | None) -> None:
        super().__init__()
        self.sinks, self.window, self.frequencies = sinks, window, frequencies

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep the first `sinks` and the last `window` tokens; GalleyError for a prompt shorter than the sinks."""
        tokens = keys.shape[-2]
        if tokens < self.sinks:
            raise GalleyError(f"the prompt has {tokens} tokens; allowed: at least sinks = {self.sinks}; give more tokens or fewer sinks")
        self.keys, self.values = self._kept(keys), self._kept(values)

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend to sinks, window and the new token; then let the oldest of the window go."""
        gone = self.n_seen - 1 - self.keys.shape[-2]
        keys, values = torch.cat([self.keys, key], dim=-2), torch.cat([self.values, value], dim=-2)
        self.keys, self.values = self._kept(keys), self._kept(values)
        if gone and self.sinks and self.frequencies is not None:
            turned = rotate(keys[..., : self.sinks, :], gone, frequencies=self.frequencies)
            keys = torch.cat([turned, keys[..., self.sinks :, :]], dim=-2)
        return keys, values

    def room(self) -> int | None:
        """Return any number where only places decide; with `reindex` every step turns the sinks by another angle."""
        return None if self.frequencies is None or not self.sinks else 1

    def seen(self, n_new: int) -> torch.Tensor:
        """Return the band that single steps see: the sinks, the last `window` before each new token, and itself."""
        seen = super().seen(n_new)
        own = torch.arange(n_new, device=seen.device)[:, None] + self.keys.shape[-2]
        place = torch.arange(seen.shape[1], device=seen.device)
        return seen & ((place < self.sinks) | (place >= own - self.window))

    def _kept(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-2] <= self.sinks + self.window:
            return x
        return torch.cat([x[..., : self.sinks, :], x[..., -self.window :, :]], dim=-2)


class SinkWindowCache(CompressedCache):
    """StreamingLLM's cache: `sinks` first and `window` last tokens; `reindex=False` keeps the distances of the text."""

    def __init__(self, config: PreTrainedConfig, *, sinks: int = 4, window: int = 1024, reindex: bool = True) -> None:
        config = require_rope_attention(config)
        require_count("sinks", sinks, least=0, why="4 is the paper's")
        require_count("window", window, least=1, why="give the last tokens to keep")
        frequencies = rope_frequencies(config) if reindex else None
        layers = [SinkWindowLayer(sinks=sinks, window=window, frequencies=frequencies) for _ in range(config.num_hidden_layers)]
        super().__init__(layers=layers)


def drop_middle(ids: torch.Tensor, *, sinks: int, window: int) -> torch.Tensor:
    """Return prompt ids (batch, N) with all but the first `sinks` and last `window` taken out, before any forward."""
    require_count("sinks", sinks, least=0, why="4 is the paper's")
    require_count("window", window, least=1, why="give the last tokens to keep")
    if ids.shape[-1] <= sinks + window:
        return ids
    return torch.cat([ids[..., :sinks], ids[..., -window:]], dim=-1)
