"""The latent KV cache of MHA2MLA: a rotated key slice and one shared latent per token and layer.

arXiv:2502.14837, section 2.3. Stores k_rope (batch, kv heads, tokens, 2r) and c_kv (batch, 1, tokens, R)
in the slots where transformers keeps keys and values, so that everything that works on a
DynamicCache (generate, crop, beam search) works on it. A layer's buffers are the kernel's
(kernels/mla_decode/layer.py). The slow twin is DynamicCache itself, with one difference: what `update`
returned is a view, which a crop followed by new tokens overwrites.
"""

from __future__ import annotations

from transformers.cache_utils import Cache

from galley.kernels.mla_decode.layer import LatentLayer


class LatentCache(Cache):
    """A transformers Cache of LatentLayers; pass it to `generate(past_key_values=...)`."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=LatentLayer)

    def elements_per_token(self) -> int:
        """Return the elements stored per token over all layers and one sequence, counted on the tensors."""
        total = 0
        for layer in self.layers:
            if not layer.get_seq_length():
                continue
            batch, _, tokens, _ = layer.keys.shape
            total += (layer.keys.numel() + layer.values.numel()) // (batch * tokens)
        return total

    def nbytes(self) -> int:
        """Return the bytes of the cached tokens, without the room for more."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers if layer.is_initialized)
