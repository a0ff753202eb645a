"""KIVI: keys quantised per channel, values per token, the newest tokens whole.

arXiv:2402.02750, section 3. A group of keys is `group` consecutive tokens of one channel, a group of values `group` consecutive
channels of one token; each has a scale and a zero (asymmetric round to nearest). Keys wait in full precision until `residual`
tokens are there, then all of them are quantised; of the values the last `residual` tokens are whole, and each new token pushes
one over. A step attends before anything is quantised. Codes are packed, 8 / nbits of them a byte, along their group.
Settled: keys are quantised after RoPE, as the authors cache them; scales and zeros have the model's own type. With `hold` what the
codes stand for stays as working memory, so that a step unpacks only the codes that are new.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.rope import head_dim, require_count, require_rope_attention

WIDTHS = (2, 4)


@dataclass(frozen=True)
class Packed:
    """Codes (..., groups, group nbits / 8) as bytes, scale and zero (..., groups, 1), of a tensor whose last axis is grouped."""

    codes: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor


def quantize(x: torch.Tensor, *, nbits: int, group: int) -> Packed:
    """Return x (..., n), n a multiple of `group`, as codes of `nbits` in groups along the last axis."""
    groups = x.float().unflatten(-1, (-1, group))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    zero = low.to(x.dtype)
    scale = ((high - low) / (2**nbits - 1)).to(x.dtype)
    # Codes fit the scale and zero that are stored; of a constant group, whose scale is 0, all codes are 0.
    codes = ((groups - zero.float()) / scale.float().clamp_min(torch.finfo(x.dtype).tiny)).round().clamp(0, 2**nbits - 1).to(torch.uint8)
    per_byte = 8 // nbits
    shifts = torch.arange(per_byte, device=x.device, dtype=torch.uint8) * nbits
    packed = (codes.unflatten(-1, (-1, per_byte)) << shifts).sum(-1, dtype=torch.uint8)
    return Packed(packed, scale, zero)


def dequantize(packed: Packed, *, nbits: int) -> torch.Tensor:
    """Return the tensor that the codes stand for, (..., n)."""
    shifts = torch.arange(8 // nbits, device=packed.codes.device, dtype=torch.uint8) * nbits
    codes = ((packed.codes[..., None] >> shifts) & (2**nbits - 1)).flatten(-2)
    return torch.addcmul(packed.zero, codes.to(packed.scale.dtype), packed.scale).flatten(-2)


def join(first: Packed | None, second: Packed, *, dim: int) -> Packed:
    """Return two runs of groups as one, along `dim` of their codes."""
    if first is None:
        return second
    pairs = ((first.codes, second.codes), (first.scale, second.scale), (first.zero, second.zero))
    return Packed(*(torch.cat(pair, dim=dim) for pair in pairs))


class KiviLayer(CompressedLayer):
    """One layer: codes of the old tokens, `keys` and `values` whole (their numbers differ), as the paper's two residuals."""

    spare = ("held",)

    def __init__(self, *, nbits: int, group: int, residual: int, hold: bool = False) -> None:
        super().__init__()
        self.nbits, self.group, self.residual, self.hold = nbits, group, residual, hold
        self.held: list[torch.Tensor | None] = [None, None]  # what the codes of keys and of values stand for
        self.k_codes: Packed | None = None  # over (batch, n_kv, d_h, tokens): groups run along time
        self.v_codes: Packed | None = None  # over (batch, n_kv, tokens, d_h)

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Quantise whole residual windows of keys, and all values but the last `residual`."""
        tokens = keys.shape[-2]
        k_old, v_old = tokens - tokens % self.residual, max(0, tokens - self.residual)
        self._take_keys(keys[..., :k_old, :])
        self._take_values(values[..., :v_old, :])
        self.keys, self.values = keys[..., k_old:, :].contiguous(), values[..., v_old:, :].contiguous()

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend to the codes' tensors, the residuals and the new token; then quantise what is due."""
        self.keys, self.values = torch.cat([self.keys, key], dim=-2), torch.cat([self.values, value], dim=-2)
        out = self._whole()
        if self.keys.shape[-2] == self.residual:
            self._take_keys(self.keys)
            self.keys = self.keys[..., :0, :]
        over = self.values.shape[-2] - self.residual
        if over > 0:
            self._take_values(self.values[..., :over, :])
            self.values = self.values[..., over:, :]
        return out

    def room(self) -> int | None:
        """Return the tokens until something is quantised: the one that causes it still sees it whole."""
        return max(1, min(self.residual - self.keys.shape[-2], self.residual + 1 - self.values.shape[-2]))

    def _take_keys(self, x: torch.Tensor) -> None:
        if x.shape[-2]:
            new = quantize(x.transpose(-1, -2), nbits=self.nbits, group=self.group)
            self.k_codes = join(self.k_codes, new, dim=-2)
            self._grow(0, new)

    def _take_values(self, x: torch.Tensor) -> None:
        if x.shape[-2]:
            new = quantize(x, nbits=self.nbits, group=self.group)
            self.v_codes = join(self.v_codes, new, dim=-3)
            self._grow(1, new)

    def _unpacked(self, side: int, packed: Packed) -> torch.Tensor:
        whole = dequantize(packed, nbits=self.nbits)
        return whole if side else whole.transpose(-1, -2)

    def _grow(self, side: int, new: Packed) -> None:
        held = self.held[side]
        if held is not None:
            self.held[side] = torch.cat([held, self._unpacked(side, new)], dim=-2)

    def _whole(self) -> tuple[torch.Tensor, torch.Tensor]:
        out = []
        for side, (codes, rest) in enumerate(((self.k_codes, self.keys), (self.v_codes, self.values))):
            old = self.held[side]
            if codes is not None and old is None:
                old = self._unpacked(side, codes)
                self.held[side] = old if self.hold else None
            out.append(rest if old is None else torch.cat([old, rest], dim=-2))
        return out[0], out[1]

    def n_visible(self) -> int:
        """Return all tokens: none is dropped."""
        return self.n_seen

    def stored(self) -> list[torch.Tensor]:
        """Return codes, scales, zeros and the whole tokens."""
        codes = [t for p in (self.k_codes, self.v_codes) if p is not None for t in (p.codes, p.scale, p.zero)]
        return [self.keys, self.values, *codes]


class KiviCache(CompressedCache):
    """KIVI's cache at `nbits` (2 or 4); `residual` must be filled by groups, and `group` must divide a head's width."""

    def __init__(self, config: PreTrainedConfig, *, nbits: int = 2, group: int = 32, residual: int = 128, hold: bool = False) -> None:
        config = require_rope_attention(config)
        if nbits not in WIDTHS:
            raise GalleyError(f"nbits is {nbits}; allowed: {', '.join(map(str, WIDTHS))}")
        require_count("group", group, least=8, why="32 is the paper's")
        require_count("residual", residual, least=1, why="128 is the paper's")
        d_h = head_dim(config)
        if d_h % group or group % (8 // nbits):
            raise GalleyError(f"group is {group}; allowed: divisors of the head width {d_h} that fill bytes; 32 is the paper's")
        if residual % group:
            raise GalleyError(f"residual is {residual}; allowed: multiples of group = {group}, so that keys fill their groups")
        n_layers = config.num_hidden_layers
        super().__init__(layers=[KiviLayer(nbits=nbits, group=group, residual=residual, hold=hold) for _ in range(n_layers)])
        self.nbits = nbits

    def nominal_bytes(self) -> float:
        """Return the codes' bits alone for quantised tokens and 16 bits for the rest."""
        total = 0.0
        for layer in self.layers:
            if layer.is_initialized:
                total += 2.0 * (layer.keys.numel() + layer.values.numel())
                total += sum(p.codes.nbytes for p in (layer.k_codes, layer.v_codes) if p is not None)
        return total
