"""FLOPs and bytes of one step, counted from shapes alone.

Source: ours. A multiply and an add count as two; exponentials, masks and merges are left out. A real FFT of length T counts
as 2.5 T log2 T; a length with a prime factor above 13 as the three complex FFTs of twice the length of Bluestein's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Counts of one step: queries, KV heads, head size, plain and middle tokens, window, orders, compressed channels."""

    n_h: int
    n_kv: int
    d_h: int
    n_plain: int
    n_middle: int
    period: int
    orders: int
    k_compressed: int  # Dc of keys, over all KV heads
    v_compressed: int
    batch: int = 1

    @property
    def group(self) -> int:
        """Return the query heads per KV head."""
        return self.n_h // self.n_kv

    @property
    def compressed(self) -> int:
        """Return the compressed channels of keys and values together."""
        return self.k_compressed + self.v_compressed

    @property
    def kept(self) -> int:
        """Return the uncompressed channels of keys and values together."""
        return 2 * self.n_kv * self.d_h - self.compressed


def fft_flops(period: int) -> float:
    """Return the FLOPs of one real FFT of length `period`, forward or inverse."""
    left = period
    for prime in (2, 3, 5, 7, 11, 13):
        while left % prime == 0:
            left //= prime
    if left == 1:
        return 2.5 * period * math.log2(max(period, 2))
    padded = 2 ** math.ceil(math.log2(2 * period - 1))
    return 3 * 5 * padded * math.log2(padded) + 20 * period


def prefers_fft(orders: int, period: int, n_middle: int) -> bool:
    """Return whether an FFT beats a product with the basis; it cannot hold orders above period / 2."""
    return orders <= period // 2 + 1 and fft_flops(period) < 4.0 * orders * n_middle


def transform_flops(shape: Shape) -> float:
    """Return the FLOPs of one head's F^T z, or F p, by the cheaper way."""
    if prefers_fft(shape.orders, shape.period, shape.n_middle):
        return fft_flops(shape.period)
    return 4.0 * shape.orders * shape.n_middle


def _plain_flops(shape: Shape) -> float:
    return 4.0 * shape.n_h * shape.n_plain * shape.d_h


def spectral_flops(shape: Shape, *, transform: str = "auto") -> float:
    """Return the FLOPs of a step in spectral space; `transform` is auto or matmul."""
    each = transform_flops(shape) if transform == "auto" else 4.0 * shape.orders * shape.n_middle
    by_state = 2.0 * shape.group * 2 * shape.orders * shape.compressed
    by_kept = 2.0 * shape.group * shape.n_middle * shape.kept
    return shape.batch * (by_state + 2 * shape.n_h * each + by_kept + _plain_flops(shape))


def rebuild_flops(shape: Shape, *, share: bool = False) -> float:
    """Return the FLOPs of a step that rebuilds the middle, per query head or, with `share`, once per KV head."""
    times = 1 if share else shape.group
    rebuilt = 2.0 * times * shape.n_middle * 2 * shape.orders * shape.compressed
    attended = 4.0 * shape.n_h * shape.n_middle * shape.d_h
    return shape.batch * (rebuilt + attended + _plain_flops(shape))


def full_flops(shape: Shape) -> float:
    """Return the FLOPs of attention over the uncompressed cache."""
    return shape.batch * 4.0 * shape.n_h * (shape.n_plain + shape.n_middle) * shape.d_h


def full_bytes(shape: Shape, *, element: int = 2) -> float:
    """Return the bytes that attention over the uncompressed cache reads."""
    return shape.batch * 2.0 * shape.n_kv * (shape.n_plain + shape.n_middle) * shape.d_h * element


def cache_bytes(shape: Shape, *, element: int = 2) -> float:
    """Return the bytes of the compressed cache that a step reads at least once; states are fp32."""
    plain = 2.0 * shape.n_kv * shape.n_plain * shape.d_h * element
    return shape.batch * (plain + shape.n_middle * shape.kept * element + 2 * shape.orders * shape.compressed * 4)
