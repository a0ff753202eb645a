"""What all caches that compress a prompt share: exact prompt attention, one token a step, honest byte counts.

Source: ours, on transformers' Cache. The prompt comes in one forward, whose own attention is exact; `compress` then
decides what stays. Later tokens come one by one: layers may hold different numbers of tokens, for which no shared
causal mask exists. Positions go on counting all tokens seen, whatever was dropped. follow.py feeds several known tokens
in one forward where a method's rule allows it, each layer with its own mask.
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
    queries: torch.Tensor | None = None  # (batch, n_h, w, d_h), the prompt's last, or a step's, where the method asks for them
    votes: torch.Tensor | None = None  # (batch, n_kv, N), the attention that a prompt's tokens got, where the method asks for it
    in_block = False  # whether follow() is feeding several tokens with this layer's own mask

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
        if n_new != 1 and not (self.in_block and n_new <= (self.room() or n_new)):
            raise GalleyError(
                f"{type(self).__name__} got {n_new} tokens after its prompt; it takes the prompt in one forward, then one token at a time "
                "(no assisted generation, no chunked prefill; galley.caches.follow reads known tokens)"
            )
        self.n_seen += n_new
        return self.step(key_states, value_states)

    def room(self) -> int | None:
        """Return how many tokens one forward may bring so that each attends as if it came alone; None is any number."""
        return None if type(self).step is CompressedLayer.step else 1

    def seen(self, n_new: int) -> torch.Tensor:
        """Return which of a forward's kept and new tokens each new one attends to, (n_new, n_visible + n_new)."""
        kept = self.n_visible()
        return torch.ones(n_new, kept + n_new, dtype=torch.bool, device=self.device).tril(kept)

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep what the method keeps of a prompt's keys and values; this base keeps all."""
        self.keys, self.values = keys, values

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add one token (or several, inside follow) and return what they attend to."""
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

    A method that chooses by queries sets `window` and is used inside `watching(model)`; one that goes on choosing at every
    step sets `watches_steps` too, and its steps run inside it as well.
    """

    window = 0  # prompt queries that the method asks for
    watches_steps = False

    def nbytes(self) -> int:
        """Return the bytes of all tensors that live between steps; views of one buffer count their own elements."""
        return sum(t.nbytes for layer in self.layers if layer.is_initialized for t in layer.stored())

    def nominal_bytes(self) -> float:
        """Return the bytes by the method's own account, at 16 bits an element unless it says otherwise."""
        return sum(2.0 * t.numel() for layer in self.layers if layer.is_initialized for t in layer.stored())

    def fill(self, prompt: Prefill) -> CompressedCache:
        """Take a prompt's exact keys and values, as if it had run through this cache; return self."""
        for index, layer in enumerate(self.layers):
            if self.window:
                layer.queries = prompt.queries[index][..., -self.window :, :]
            if prompt.votes is not None:
                layer.votes = prompt.votes[index]
            layer.update(prompt.keys[index], prompt.values[index])
            layer.votes = None
        return self

    def room(self) -> int | None:
        """Return how many tokens one forward may bring, the least of all layers; None is any number."""
        rooms = [room for layer in self.layers if (room := layer.room()) is not None]
        return min(rooms, default=None)

    def watching(self, model: PreTrainedModel):
        """Return a context in which the model's prompt hands its last queries to this cache, and each step its own if asked for."""
        return observed(
            model, window=self.window or 1, steps=self.watches_steps,
            record=lambda index, queries: setattr(self.layers[index], "queries", queries),
        )  # fmt: skip
