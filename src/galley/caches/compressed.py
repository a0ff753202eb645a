"""What all caches that compress a prompt share: exact prompt attention, one token a step, honest byte counts.

Source: ours, on transformers' Cache. The prompt comes in one forward, whose own attention is exact; `compress` then
decides what stays. Later tokens come one by one: layers may hold different numbers of tokens, for which no shared
causal mask exists. Positions go on counting all tokens seen, whatever was dropped.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from galley.artifact import GalleyError
from galley.caches.prefill import Prefill, observed


class CompressedLayer(DynamicLayer):
    """One layer's compressed cache: a method writes `compress`, and `step` where appending is not all."""

    keys: torch.Tensor
    values: torch.Tensor
    is_croppable = False
    queries: torch.Tensor | None = None  # (batch, n_h, w, d_h), the prompt's last, where the method asks for them

    def __init__(self) -> None:
        super().__init__()
        self.n_seen = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Take new keys and values (batch, n_kv, new, d_h); return those that this step attends to."""
        n_new = key_states.shape[-2]
        if self.n_seen == 0:
            self.lazy_initialization(key_states, value_states)
            self.n_seen = n_new
            self.compress(key_states, value_states)
            self.queries = None
            return key_states, value_states
        if n_new != 1:
            raise GalleyError(
                f"{type(self).__name__} got {n_new} tokens after its prompt; it takes the prompt in one forward, then one token at a time "
                "(no assisted generation, no chunked prefill)"
            )
        self.n_seen += 1
        return self.step(key_states, value_states)

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep what the method keeps of a prompt's keys and values; this base keeps all."""
        self.keys, self.values = keys, values

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add one token and return what it attends to."""
        self.keys = torch.cat([self.keys, key], dim=-2)
        self.values = torch.cat([self.values, value], dim=-2)
        return self.keys, self.values

    def stored(self) -> list[torch.Tensor]:
        """Return every tensor that must live between steps."""
        return [self.keys, self.values]

    def n_visible(self) -> int:
        """Return the tokens that the next step attends to, without its own."""
        return self.keys.shape[-2] if self.is_initialized else 0

    def get_seq_length(self) -> int:
        """Return the tokens seen, so that positions go on."""
        return self.n_seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and offset of what is attended to: the newest tokens line up with the queries."""
        visible = self.n_visible()
        return visible + query_length, self.n_seen - visible

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: what was dropped cannot come back."""
        raise GalleyError(f"{type(self).__name__} cannot be cropped; use a full cache for assisted generation")


class CompressedCache(Cache):
    """A transformers Cache of CompressedLayers; pass it to `generate(past_key_values=...)` or `fill` it from a Prefill.

    A method that chooses by queries sets `window` and is used inside `watching(model)`.
    """

    window = 0  # prompt queries that the method asks for

    def nbytes(self) -> int:
        """Return the bytes of all tensors that live between steps; views of one buffer count their own elements."""
        return sum(t.nbytes for layer in self.layers if layer.is_initialized for t in layer.stored())

    def nominal_bytes(self) -> float:
        """Return the bytes by the method's own account, at 16 bits an element unless it says otherwise."""
        return sum(2.0 * t.numel() for layer in self.layers if layer.is_initialized for t in layer.stored())

    def fill(self, prompt: Prefill) -> CompressedCache:
        """Take a prompt's exact keys and values, as if it had run through this cache; return self."""
        for layer, keys, values, queries in zip(self.layers, prompt.keys, prompt.values, prompt.queries, strict=True):
            if self.window:
                layer.queries = queries[..., -self.window :, :]
            layer.update(keys, values)
        return self

    def watching(self, model: PreTrainedModel):
        """Return a context in which the model's prompt hands its last queries to this cache."""
        return observed(model, window=self.window or 1, record=lambda index, queries: setattr(self.layers[index], "queries", queries))
