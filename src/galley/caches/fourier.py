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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from transformers import PreTrainedConfig

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.rope import head_dim, kv_heads, require_count, require_rope_attention
from galley.kernels.flash_fourier.reference import expand, to_orders
from galley.kernels.flash_fourier.step import Side, basis

MODES = ("paper", "official", "ours")
AUDITS = ("off_by_one", "int_period")

MATMUL_UP_TO = 2**21  # elements of the basis up to which a product with it beats an FFT on a CPU (4 times faster at 2**19, even at 2**21)

_basis = lru_cache(maxsize=2)(basis)  # every layer and step of a prompt shares one table


@dataclass(frozen=True)
class Fourier:
    """The method's settings: whole tokens at both ends, orders k, mode, room for new tokens, the authors' bugs to keep."""

    sinks: int
    local: int
    orders: int
    mode: str
    max_new_tokens: int
    audits: frozenset[str]

    def period(self, n_middle: int) -> int:
        """Return the window T of a prompt with `n_middle` middle tokens."""
        return n_middle if self.mode == "ours" else n_middle + self.max_new_tokens


def synthesis_weights(orders: int, period: int, *, mode: str) -> torch.Tensor:
    """Return the weight of each of 2k coefficients, (2k,): 1/k as printed, or those that make F^T W F a projection."""
    if mode != "ours":
        return torch.full((2 * orders,), 1.0 / orders, dtype=torch.float64)
    weight = torch.full((2 * orders,), 2.0 / period, dtype=torch.float64)
    weight[0] = 1.0 / period
    if orders == period // 2 + 1 and period % 2 == 0:
        weight[orders - 1] = 1.0 / period  # the order at half the window has one phase only
    return weight


def transform(x: torch.Tensor, *, orders: int, period: int) -> torch.Tensor:
    """Return C = F X, (B, M, c) -> (B, 2k, c), in float32 or wider."""
    x = widened(x)
    if not x.numel():  # the FFT refuses empty tensors
        return x.new_zeros(x.shape[0], 2 * orders, x.shape[2])
    m = x.shape[1]
    if 2 * orders * m <= MATMUL_UP_TO or orders > period // 2 + 1:
        return _basis(orders, period, m, dtype=x.dtype, device=x.device) @ x
    return to_orders(x.mT, period, orders, None).mT.contiguous()


def widened(x: torch.Tensor) -> torch.Tensor:
    """Return x in the type that coefficients are kept in: float32, or float64 when x is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def analyse(x: torch.Tensor, channels: torch.Tensor, *, by: Fourier) -> Side:
    """Return the middle x (B, M, n_kv d_h) as kept channels and coefficients of `channels` (sorted flat ids)."""
    period = by.period(x.shape[1])
    taken = torch.zeros(x.shape[-1], dtype=torch.uint8, device=x.device).index_fill(0, channels, 1)
    rest_ids = taken.argsort(stable=True)[: x.shape[-1] - len(channels)]  # a shape that does not wait for the values
    chosen = widened(x[..., channels])
    seen = int(1 / (1 / period)) if "int_period" in by.audits else period
    state = transform(chosen, orders=by.orders, period=seen)
    weight = synthesis_weights(by.orders, period, mode=by.mode).to(chosen)
    one = chosen.new_ones(x.shape[0], len(channels))
    side = Side(channels, rest_ids, x[..., rest_ids].contiguous(), state, weight, one, torch.zeros_like(one))
    return _repaired(side, chosen, period) if by.mode == "official" else side


def _repaired(side: Side, x: torch.Tensor, period: int) -> Side:
    """Return the side with the authors' affine map, so that the rebuilt middle deviates as far as x (B, M, c) does."""
    if not x.shape[-1]:
        return side
    f = _basis(side.state.shape[1] // 2, period, x.shape[1], dtype=x.dtype, device=x.device)
    rebuilt = f.mT @ (side.state * side.weight[:, None])
    mean = rebuilt.mean(dim=1)
    # A constant channel deviates nowhere; it is then its mean.
    gain = _deviation(x) / _deviation(rebuilt).clamp_min(1e-12)
    # The mean that comes back is that of x: X~'s own is T/k times too large.
    return replace(side, gain=gain, offset=x.mean(dim=1) - gain * mean)


def _deviation(x: torch.Tensor) -> torch.Tensor:
    """Return the largest deviation from the mean over time, (B, M, c) -> (B, c)."""
    mean = x.mean(dim=1)
    return torch.maximum(x.amax(dim=1) - mean, mean - x.amin(dim=1))


class FourierLayer(CompressedLayer):
    """One layer: `keys` and `values` hold the whole tokens (sinks, local, later), `middle` the compressed ones."""

    def __init__(self, *, by: Fourier, k_channels: torch.Tensor, v_channels: torch.Tensor, hold: bool) -> None:
        super().__init__()
        self.by, self.k_channels, self.v_channels, self.hold = by, k_channels, v_channels, hold
        self.middle: tuple[Side, Side] | None = None
        self.period = 0
        self.held: tuple[torch.Tensor, torch.Tensor] | None = None

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
        k, v = (analyse(x, ids, by=by) for x, ids in zip(flat, chosen, strict=True))
        self.middle = (k, v)
        self.keys, self.values = (torch.cat([x[..., : by.sinks, :], x[..., inner.stop :, :]], dim=-2) for x in (keys, values))

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add a token; return all tokens, the middle rebuilt."""
        super().step(key, value)
        if self.middle is None:
            return self.keys, self.values
        if self.by.mode != "ours" and self.keys.shape[-2] > self.by.sinks + self.by.local:
            self._let_go()
        return tuple(torch.cat([x, y], dim=-2) for x, y in zip(self.rebuilt(), (self.keys, self.values), strict=True))  # type: ignore[return-value]

    def rebuilt(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the middle's keys and values (B, n_kv, M, d_h); with `hold` a middle that cannot change is kept as working memory."""
        assert self.middle is not None
        if self.held is None:
            k, v = self.middle
            f = _basis(self.by.orders, self.period, k.middle.shape[1], dtype=k.state.dtype, device=k.state.device)
            pair = tuple(expand(side, self.keys.shape[1], self.period, f=f) for side in (k, v))
            if not (self.hold and self.by.mode == "ours"):
                return pair  # type: ignore[return-value]
            self.held = pair  # type: ignore[assignment]
        return self.held  # type: ignore[return-value]

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
        turn = _basis(by.orders, self.period, self.period + 1, dtype=widened(self.keys).dtype, device=self.keys.device)[:, phase]
        sides = []
        for side, x in zip(self.middle, (self.keys, self.values), strict=True):
            token = x[..., by.sinks, :].flatten(1)
            state = side.state + turn[:, None] * widened(token[:, None, side.channels])
            middle = torch.cat([side.middle, token[:, None, side.rest]], dim=1)
            sides.append(replace(side, state=state, middle=middle))
        self.middle = (sides[0], sides[1])
        keep = [i for i in range(self.keys.shape[-2]) if i != by.sinks]
        self.keys, self.values = self.keys[..., keep, :], self.values[..., keep, :]

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

    def nominal_bytes(self) -> float:
        """Return the paper's account: 16 bits an element, coefficients in 32."""
        states = [side.state.numel() for layer in self.layers for side in (layer.middle or ())]  # type: ignore[attr-defined]
        return super().nominal_bytes() + 2.0 * sum(states)
