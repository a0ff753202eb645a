"""A middle of tokens as kept channels and Fourier coefficients: windows, weights, transforms, the authors' affine map.

arXiv:2506.11886, equations 4 to 6, and the authors' code; the modes and audits are those of fourier.py. What is done for all
channels of a prompt (coefficients, affine map) can be kept for the next cache of the same prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from galley.kernels.flash_fourier.reference import to_orders
from galley.kernels.flash_fourier.step import Side, basis

MATMUL_UP_TO = 2**21  # elements of the basis up to which a product with it beats an FFT on a CPU (4 times faster at 2**19, even at 2**21)

_table = lru_cache(maxsize=4)(basis)  # every layer and step of a prompt shares one table


def table(orders: int, period: int, n: int, *, like: torch.Tensor) -> torch.Tensor:
    """Return the basis of the first n <= period + 1 phases, (2k, n), in the type and on the device of `like`."""
    return _table(orders, period, period + 1, dtype=like.dtype, device=like.device)[:, :n]


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
        f = table(orders, period, m, like=x) if m <= period else basis(orders, period, m, dtype=x.dtype, device=x.device)
        return f @ x
    return to_orders(x.mT, period, orders, None).mT.contiguous()


def widened(x: torch.Tensor) -> torch.Tensor:
    """Return x in the type that coefficients are kept in: float32, or float64 when x is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def analyse(x: torch.Tensor, channels: torch.Tensor, *, by: Fourier, spectra: dict | None = None, key: Any = None) -> Side:
    """Return the middle x (B, M, n_kv d_h) as kept channels and coefficients of `channels` (sorted flat ids).

    `spectra` keeps what is done for all channels under `key`, which names x, for the next cache of the same prompt.
    """
    period = by.period(x.shape[1])
    taken = torch.zeros(x.shape[-1], dtype=torch.uint8, device=x.device).index_fill(0, channels, 1)
    rest_ids = taken.argsort(stable=True)[: x.shape[-1] - len(channels)]  # a shape that does not wait for the values
    if spectra is None:  # only what is asked for
        spectra, x_of, ids = {}, widened(x[..., channels]), torch.arange(len(channels), device=x.device)
    else:
        x_of, ids = widened(x), channels
    state = _coefficients(x_of, by=by, period=period, spectra=spectra, key=key)
    gain, offset = x_of.new_ones(x.shape[0], x_of.shape[-1]), x_of.new_zeros(x.shape[0], x_of.shape[-1])
    weight = synthesis_weights(by.orders, period, mode=by.mode).to(x_of)
    if by.mode == "official" and len(channels):
        at = (key, "repair", period, by.orders, by.audits)
        if at not in spectra:
            spectra[at] = _repair(x_of, state, weight, period=period)
        gain, offset = spectra[at]
    return Side(channels, rest_ids, x[..., rest_ids].contiguous(), state[..., ids], weight, gain[:, ids], offset[:, ids])


def _coefficients(x: torch.Tensor, *, by: Fourier, period: int, spectra: dict, key: Any) -> torch.Tensor:
    """Return C (B, 2k, c) of x (B, M, c), as rows of what was already transformed at more orders, if it was."""
    seen = int(1 / (1 / period)) if "int_period" in by.audits else period
    at = (key, "state", seen)
    if at not in spectra or spectra[at].shape[1] < 2 * by.orders:
        spectra[at] = transform(x, orders=by.orders, period=seen)
    cos, sin = spectra[at].chunk(2, dim=1)
    return torch.cat([cos[:, : by.orders], sin[:, : by.orders]], dim=1)


def _repair(x: torch.Tensor, state: torch.Tensor, weight: torch.Tensor, *, period: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return gain and offset (B, c) of the authors' affine map, by which the rebuilt middle deviates as far as x (B, M, c) does."""
    f = table(state.shape[1] // 2, period, x.shape[1], like=x)
    rebuilt = f.mT @ (state * weight[:, None])
    # A constant channel deviates nowhere; it is then its mean.
    gain = _deviation(x) / _deviation(rebuilt).clamp_min(1e-12)
    # The mean that comes back is that of x: X~'s own is T/k times too large.
    return gain, x.mean(dim=1) - gain * rebuilt.mean(dim=1)


def _deviation(x: torch.Tensor) -> torch.Tensor:
    """Return the largest deviation from the mean over time, (B, M, c) -> (B, c)."""
    mean = x.mean(dim=1)
    return torch.maximum(x.amax(dim=1) - mean, mean - x.amin(dim=1))


def enter(held: torch.Tensor, token: torch.Tensor, side: Side, *, place: int, echo: torch.Tensor) -> None:
    """Change a rebuilt middle (B, n_kv, T, d_h) in place as its coefficients do when `token` (B, n_kv d_h) enters at `place`.

    `echo` (T,) is what a coefficient of one at the token's phase adds to every place, F^T W f.
    """
    heads = held.shape[1]
    add = torch.zeros_like(token)
    add[:, side.channels] = (widened(token[:, side.channels]) * side.gain).to(token.dtype)
    held += echo.to(held)[:, None] * add.unflatten(1, (heads, 1, -1))
    row = held[..., place, :].flatten(1).clone()
    row[:, side.rest] = token[:, side.rest]
    held[..., place, :] = row.unflatten(1, (heads, -1))
