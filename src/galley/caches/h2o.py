"""H2O: the tokens that got the most attention so far, and the most recent ones.

arXiv:2306.14048, section 4. Every token's attention, from all queries of the prompt and of every step since, is added up per
head; the `heavy` largest sums and the `recent` last tokens stay. At each step the new token attends to these and itself, the
sums grow by what it gave, and the smallest sum outside the recent window goes: an evicted token never comes back.
Settled: sums are raw, as in the authors' code (dividing by the queries that could see a token is kvpress's variant); a
key-value head votes by the mean over its query heads; of equal sums the earlier token stays at the prompt and goes at a step.
The sums must live between steps: they are counted in `nbytes`, and left out of the paper's own account.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.prefill import Prefill
from galley.caches.rope import require_count, require_rope_attention
from galley.caches.votes import attention_scale, attention_votes, keep_winners, require_queries, winners


class H2OLayer(CompressedLayer):
    """One layer: `keys` and `values` in order of time, `sums` (batch, n_kv, kept) the attention that each got."""

    sums: torch.Tensor

    def __init__(self, *, heavy: int, recent: int, scale: float) -> None:
        super().__init__()
        self.heavy, self.recent, self.scale = heavy, recent, scale

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep the heavy hitters and the recent tokens of a prompt; GalleyError when its votes or queries were not handed over."""
        tokens = keys.shape[-2]
        if self.votes is None:
            queries = require_queries(self.queries, tokens=tokens, window=tokens, method="H2O")
            self.votes = attention_votes(queries, keys, scale=self.scale).mean(dim=2)
        sums = self.votes
        if tokens > self.heavy + self.recent:
            chosen = winners(sums[..., : tokens - self.recent], self.heavy)
            keys, values = (keep_winners(x, chosen, recent=self.recent) for x in (keys, values))
            sums = torch.cat([sums.gather(-1, chosen), sums[..., tokens - self.recent :]], dim=-1)
        self.keys, self.values, self.sums = keys, values, sums
        self.votes = None

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend to what is kept and the new token; add up what they got; let the lightest outside the recent window go."""
        if self.queries is None:
            raise GalleyError("H2O got no query for a step; run prompt and steps inside `with cache.watching(model):`")
        keys, values = torch.cat([self.keys, key], dim=-2), torch.cat([self.values, value], dim=-2)
        gave = attention_votes(self.queries, keys, scale=self.scale).mean(dim=2)
        sums = torch.cat([self.sums, torch.zeros_like(gave[..., :1])], dim=-1) + gave
        self.queries = None
        kept = keys, values
        total = keys.shape[-2]
        if total > self.heavy + self.recent:
            lightest = sums[..., : total - self.recent].argmin(dim=-1, keepdim=True)
            place = torch.arange(total - 1, device=keys.device)
            stay = place + (place >= lightest)  # all places but the lightest, (batch, n_kv, total - 1)
            index = stay[..., None].expand(*stay.shape, keys.shape[-1])
            kept, sums = (keys.gather(2, index), values.gather(2, index)), sums.gather(-1, stay)
        self.keys, self.values = kept
        self.sums = sums
        return keys, values

    def stored(self) -> list[torch.Tensor]:
        """Return the kept tokens and their sums."""
        return [self.keys, self.values, self.sums]


class H2OCache(CompressedCache):
    """H2O's cache of `heavy` + `recent` tokens a head; use it inside `watching(model)`, or `fill` it from prefill(votes=True).

    Steps need their queries too: run them inside `watching(model)`, or through galley.caches.follow.
    """

    watches_steps = True

    def __init__(self, config: PreTrainedConfig, *, heavy: int, recent: int) -> None:
        config = require_rope_attention(config)
        require_count("heavy", heavy, least=1, why="without heavy hitters it is a window: use SinkWindowCache")
        require_count("recent", recent, least=1, why="the newest token has had no chance to be attended to")
        scale = attention_scale(config)
        super().__init__(layers=[H2OLayer(heavy=heavy, recent=recent, scale=scale) for _ in range(config.num_hidden_layers)])
        self.window = config.max_position_embeddings  # every query of the prompt votes

    def fill(self, prompt: Prefill) -> CompressedCache:
        """Take a prompt's keys, values and votes; without votes its recorded queries must be all of them."""
        if prompt.votes is None and prompt.queries[0].shape[-2] < prompt.keys[0].shape[-2]:
            got, wanted = prompt.queries[0].shape[-2], prompt.keys[0].shape[-2]
            raise GalleyError(f"H2O got {got} of the prompt's {wanted} queries; use prefill(model, ids, window=..., votes=True)")
        return super().fill(prompt)

    def nominal_bytes(self) -> float:
        """Return the paper's account: kept keys and values at 16 bits."""
        return sum(2.0 * (layer.keys.numel() + layer.values.numel()) for layer in self.layers if layer.is_initialized)
