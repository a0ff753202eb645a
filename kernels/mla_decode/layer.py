"""What a decode step reads: one layer's rotated keys and latents, in buffers with room to grow.

arXiv:2502.14837, section 2.3. Buffers grow in blocks: the tokens already cached are not copied at each step. What `update` returned is
a view, which a crop followed by new tokens overwrites. Tensors that need gradients are concatenated.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicLayer

BLOCK = 256  # tokens by which a full buffer grows, at least


class LatentLayer(DynamicLayer):
    """One layer's latent cache; `keys` and `values` are views of buffers with room to grow."""

    keys: torch.Tensor
    values: torch.Tensor
    spare = ("_rooms",)  # buffers of which keys and values are views: not counted as used

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Append k_rope (batch, kv heads, new, 2r) and c_kv (batch, 1, new, R); return all of both."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._rooms: list[torch.Tensor | None] = [None, None]
        self.keys = self._append(0, self.keys, key_states)
        self.values = self._append(1, self.values, value_states)
        return self.keys, self.values

    def _append(self, slot: int, past: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        n_past = past.shape[-2] if past.dim() == 4 else 0
        if new.requires_grad or past.requires_grad:
            return torch.cat([past, new], dim=-2) if n_past else new
        total = n_past + new.shape[-2]
        room = self._rooms[slot]
        # After a crop `past` is still a view of the buffer; after a beam reorder it is a new tensor.
        moved = n_past > 0 and room is not None and past.data_ptr() != room.data_ptr()
        if room is None or room.shape[-2] < total or room.shape[:-2] != new.shape[:-2] or moved:
            room = new.new_empty(*new.shape[:-2], total + max(BLOCK, total // 4), new.shape[-1])
            if n_past:
                room[..., :n_past, :] = past
            self._rooms[slot] = room
        room[..., n_past:total, :] = new
        return room[..., :total, :]
