"""FourierAttention's cache: of the middle tokens some channels are kept, the others are 2k Fourier coefficients.

arXiv:2506.11886, section 3 and the authors' code. `sinks` first and `local` last tokens are whole. Three modes:
  paper     equation 6 as printed: X~ = (1/k) F^T C over a window of M + max_new tokens. It is no projection: a harmonic
            comes back T/(2k) times too large. A token that leaves the local window enters the coefficients.
  official  the same with the authors' repair: per channel an affine map, frozen at the prompt, that gives X~ the mean of X~
            and the largest deviation of X (the paper does not mention it).
  ours      weights 1/T at the mean and 2/T else over a window of exactly the middle: the orthogonal projection. Tokens
            that leave the local window later are kept whole, so nothing wraps around and generation has no limit.
Audits of the authors' code, for `official` only: `off_by_one` (the first token to leave is written one phase late),
`int_period` (the transform's window is int(1 / (1 / T)), one too short for 93, 99, 105, ...).
Settled: a prompt whose middle holds no more tokens than 2k reals stays whole, as in the authors' code.

Caches filled from one Prefill share its spectra: all channels are transformed once, whatever channels a cache compresses.
With `hold` the rebuilt middle stays as working memory; a token that enters the coefficients changes it by a product of two vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.prefill import Prefill
from galley.caches.rope import head_dim, kv_heads, require_count, require_rope_attention
from galley.caches.spectrum import Fourier, analyse, enter, synthesis_weights, table, transform, widened
from galley.kernels.flash_fourier.reference import expand
from galley.kernels.flash_fourier.step import Side

__all__ = ["AUDITS", "MODES", "Fourier", "FourierCache", "FourierLayer", "analyse", "synthesis_weights", "transform"]

MODES = ("paper", "official", "ours")
AUDITS = ("off_by_one", "int_period")


class FourierLayer(CompressedLayer):
    """One layer: `keys` and `values` hold the whole tokens (sinks, local, later), `middle` the compressed ones."""

    def __init__(self, *, by: Fourier, k_channels: torch.Tensor, v_channels: torch.Tensor, hold: bool) -> None:
        super().__init__()
        self.by, self.k_channels, self.v_channels, self.hold = by, k_channels, v_channels, hold
        self.middle: tuple[Side, Side] | None = None
        self.period = 0
        self.held: tuple[torch.Tensor, torch.Tensor] | None = None
        self.spectra: tuple[dict, Any] | None = None  # a prompt's shared spectra and this layer's key in them

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Turn the middle of a prompt's keys and values (B, n_kv, N, d_h) into kept channels and coefficients."""
        by, tokens = self.by, keys.shape[-2]
        n_middle = tokens - by.sinks - by.local
        if n_middle <= 2 * by.orders and not (by.mode == "ours" and by.orders == n_middle // 2 + 1):
            self.keys, self.values = keys, values
            return
        self.period = by.period(n_middle)
        if by.orders > self.period // 2 + 1:
            raise GalleyError(f"orders is {by.orders} in a window of {self.period} tokens; allowed: at most {self.period // 2 + 1}")
        inner = slice(by.sinks, tokens - by.local)
        flat = (x[..., inner, :].transpose(1, 2).flatten(2) for x in (keys, values))
        chosen = (self.k_channels.to(keys.device), self.v_channels.to(keys.device))
        spectra, index = self.spectra or (None, None)
        k, v = (
            analyse(x, ids, by=by, spectra=spectra, key=("spectra", index, side, by.sinks, by.local))
            for x, ids, side in zip(flat, chosen, "kv", strict=True)
        )
        self.middle = (k, v)
        self.keys, self.values = (torch.cat([x[..., : by.sinks, :], x[..., inner.stop :, :]], dim=-2) for x in (keys, values))

    def room(self) -> int | None:
        """Return any number where later tokens stay whole, else one: every step changes the middle."""
        return None if self.middle is None or self.by.mode == "ours" else 1

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add a token; return all tokens, the middle rebuilt."""
        super().step(key, value)
        if self.middle is None:
            return self.keys, self.values
        if self.by.mode != "ours" and self.keys.shape[-2] > self.by.sinks + self.by.local:
            self._let_go()
        return tuple(torch.cat([x, y], dim=-2) for x, y in zip(self.rebuilt(), (self.keys, self.values), strict=True))  # type: ignore[return-value]

    def rebuilt(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the middle's keys and values (B, n_kv, M, d_h); with `hold` they are kept as working memory."""
        assert self.middle is not None
        n_middle = self.middle[0].middle.shape[1]
        if self.held is None:
            # Places that tokens may still take are rebuilt too: their compressed channels are not zero.
            n = self.period if self.hold else n_middle
            f = table(self.by.orders, self.period, n, like=self.middle[0].state)
            sides = (replace(side, middle=pad(side.middle, (0, 0, 0, n - n_middle))) for side in self.middle)
            pair = tuple(expand(side, self.keys.shape[1], self.period, f=f) for side in sides)
            if not self.hold:
                return pair  # type: ignore[return-value]
            self.held = pair  # type: ignore[assignment]
        assert self.held is not None
        return tuple(x[..., :n_middle, :] for x in self.held)  # type: ignore[return-value]

    def _let_go(self) -> None:
        """Move the oldest local token into the middle."""
        assert self.middle is not None
        by, place = self.by, self.middle[0].middle.shape[1]
        if place >= self.period:
            raise GalleyError(
                f"the spectral window is {self.period} tokens and full; allowed: max_new_tokens = {by.max_new_tokens} new ones; "
                "make the cache with a larger max_new_tokens, or mode='ours', which has no limit"
            )
        phase = place + ("off_by_one" in by.audits)
        f = table(by.orders, self.period, self.period + 1, like=self.middle[0].state)
        turn = f[:, phase]
        sides = []
        for i, (side, x) in enumerate(zip(self.middle, (self.keys, self.values), strict=True)):
            token = x[..., by.sinks, :].flatten(1)
            state = side.state + turn[:, None] * widened(token[:, None, side.channels])
            if self.held is not None:
                enter(self.held[i], token, side, place=place, echo=(side.weight * turn) @ f[:, : self.period])
            middle = torch.cat([side.middle, token[:, None, side.rest]], dim=1)
            sides.append(replace(side, state=state, middle=middle))
        self.middle = (sides[0], sides[1])
        keep = [i for i in range(self.keys.shape[-2]) if i != by.sinks]
        self.keys, self.values = self.keys[..., keep, :], self.values[..., keep, :]
        if self.held is not None and self.held[0].dtype != f.dtype:
            self.held = None  # in 16 bits the roundings of many tokens would add up

    def n_visible(self) -> int:
        """Return the whole and the middle tokens."""
        return super().n_visible() + (self.middle[0].middle.shape[1] if self.middle else 0)

    def stored(self) -> list[torch.Tensor]:
        """Return whole tokens, kept channels, coefficients, and in mode official the affine maps."""
        tensors = [self.keys, self.values]
        for side in self.middle or ():
            tensors += [side.middle, side.state] + ([side.gain, side.offset] if self.by.mode == "official" else [])
        return tensors


class FourierCache(CompressedCache):
    """FourierAttention's cache; `channels` are each layer's compressed channels of keys and of values.

    A channel is h d_h + j for KV head h; lists must be sorted and without repeats. GalleyError for settings that do not fit.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        channels: Sequence[tuple[torch.Tensor, torch.Tensor]],
        orders: int = 512,
        sinks: int = 4,
        local: int = 1020,
        mode: str = "ours",
        max_new_tokens: int = 512,
        audits: Sequence[str] = (),
        hold: bool = False,
    ) -> None:
        config = require_rope_attention(config)
        require_count("sinks", sinks, least=0, why="4 is the paper's")
        require_count("local", local, least=1, why="1020 is the authors'")
        require_count("orders", orders, least=1, why="512 is the paper's (1024 reals)")
        require_count("max_new_tokens", max_new_tokens, least=0, why="the window must hold every new token")
        if mode not in MODES:
            raise GalleyError(f"mode is {mode!r}; allowed: {', '.join(MODES)}")
        wrong = sorted(set(audits) - set(AUDITS)) or (sorted(audits) if mode != "official" else [])
        if wrong:
            raise GalleyError(f"audits has {wrong[0]!r} in mode {mode!r}; allowed: {', '.join(AUDITS)} in mode 'official'")
        if len(channels) != config.num_hidden_layers:
            raise GalleyError(f"channels has {len(channels)} layers; the model has {config.num_hidden_layers}; calibrate on this model")
        total = kv_heads(config) * head_dim(config)
        for index, pair in enumerate(channels):
            for name, ids in zip("kv", pair, strict=True):
                if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= total or bool((ids[1:] <= ids[:-1]).any())):
                    raise GalleyError(f"channels of layer {index} ({name}) are not sorted numbers from 0 to {total - 1}, each once")
        by = Fourier(sinks, local, orders, mode, max_new_tokens, frozenset(audits))
        super().__init__(layers=[FourierLayer(by=by, k_channels=k.long(), v_channels=v.long(), hold=hold) for k, v in channels])

    def fill(self, prompt: Prefill) -> CompressedCache:
        """Take a prompt's exact keys and values; the spectra of all its channels are shared with other caches of this prompt."""
        for index, layer in enumerate(self.layers):
            layer.spectra = (prompt.shared, index)  # type: ignore[attr-defined]
        super().fill(prompt)
        for layer in self.layers:
            layer.spectra = None  # type: ignore[attr-defined]
        return self

    def nominal_bytes(self) -> float:
        """Return the paper's account: 16 bits an element, coefficients in 32."""
        states = [side.state.numel() for layer in self.layers for side in (layer.middle or ())]  # type: ignore[attr-defined]
        return super().nominal_bytes() + 2.0 * sum(states)
