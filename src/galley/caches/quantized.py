"""Quantised KV caches: HQQ and Quanto through transformers, and a plain round-to-nearest twin.

arXiv:2502.14837, section 4.3 (HQQ and Quanto, 4 and 2 bits, residual 128). Groups of 64 elements share a scale
and a zero, grouped along the libraries' axis 0 (`rtn`: consecutive elements). Whatever a model caches is quantised:
keys and values, or the latent and the rotated key slice. `rtn` is the slow obvious reference, also used for the
1-bit control.
Settled: group size and axis are not stated in the paper; the libraries' defaults are taken.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, HQQQuantizedLayer, QuantizedLayer, QuantoQuantizedLayer

from galley.artifact import GalleyError


class RtnLayer(QuantizedLayer):
    """Round-to-nearest affine quantisation of groups of consecutive elements, in plain torch."""

    def _quantize(self, tensor: torch.Tensor, axis: int):
        groups = tensor.float().reshape(-1, self.q_group_size)
        low, high = groups.amin(dim=1, keepdim=True), groups.amax(dim=1, keepdim=True)
        scale = (high - low).clamp_min(1e-8) / (2**self.nbits - 1)
        codes = ((groups - low) / scale).round().to(torch.uint8)
        return codes, scale.to(tensor.dtype), low.to(tensor.dtype), tensor.shape

    def _dequantize(self, packed) -> torch.Tensor:
        codes, scale, low, shape = packed
        return (codes.to(scale.dtype) * scale + low).reshape(shape)


class HqqLayer(HQQQuantizedLayer):
    """The library's layer, whose refusal of odd sizes names the sizes."""

    def _quantize(self, tensor: torch.Tensor, axis: int):
        if tensor.numel() % self.q_group_size:
            raise GalleyError(
                f"hqq groups {self.q_group_size} elements, which a cached tensor of {tuple(tensor.shape)} does not fill; use quanto or rtn"
            )
        return super()._quantize(tensor, axis)


LAYERS = {"hqq": (HqqLayer, (2, 4)), "quanto": (QuantoQuantizedLayer, (2, 4)), "rtn": (RtnLayer, (1, 2, 4, 8))}


def make_quantized_cache(model: PreTrainedModel, *, backend: str, nbits: int, group: int = 64, residual_length: int = 128) -> Cache:
    """Return an empty quantised cache for `model`; pass it as `past_key_values`.

    GalleyError for an unknown backend or width, or when the backend's package is not installed.
    """
    if backend not in LAYERS:
        raise GalleyError(f"cache backend is {backend!r}; allowed: {', '.join(LAYERS)}")
    layer, widths = LAYERS[backend]
    if nbits not in widths:
        raise GalleyError(f"nbits is {nbits}; {backend} takes {', '.join(map(str, widths))}")
    try:
        if backend == "quanto":
            _without_compiler()
        layers = [layer(nbits=nbits, q_group_size=group, residual_length=residual_length) for _ in range(model.config.num_hidden_layers)]
    except ImportError as error:
        raise GalleyError(f"cache backend {backend!r} needs its package: pip install 'galley[quant]' ({error})") from None
    return Cache(layers=layers)


def _without_compiler() -> None:
    """Give quanto a plain torch `unpack`, so that its first use does not compile C++ for a minute.

    The library would build an extension inside its own package folder; the result is the same integers.
    """
    from optimum.quanto.library.extensions import get_extension

    get_extension("quanto_cpp")._lib = SimpleNamespace(unpack=unpack)


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Return uint8 values of `bits` (2 or 4) from bytes, lowest bits first, blocks of values along dim 0."""
    return torch.cat([(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)])


def nominal_bytes(model: PreTrainedModel, *, tokens: int, nbits: int) -> float:
    """Return the paper's count: every cached element at nbits, nothing else."""
    config = model.config
    if getattr(config, "latent_rank", 0):
        per_token = config.num_key_value_heads * (2 * len(config.rope_pairs[0][0]) + config.d_kv)
    else:
        per_token = 2 * config.num_key_value_heads * config.head_dim
    return per_token * config.num_hidden_layers * tokens * nbits / 8
