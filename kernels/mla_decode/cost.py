"""FLOPs and bytes of one absorbed decode step, counted from shapes alone.

Source: ours. A multiply and an add count as two; exponentials and merges are left out, and so are the projections around the step
(W_uk onto the query, W_uv onto the output), which do not depend on the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Counts of one step: query and KV heads, rotated dims 2r a head, widths of the key and value latents, cached R, tokens."""

    n_h: int
    n_kv: int
    rope: int
    r_k: int
    r_v: int
    rank: int
    tokens: int
    batch: int = 1


def absorbed_flops(shape: Shape) -> float:
    """Return the FLOPs of scores and outputs in the latent."""
    return 2.0 * shape.batch * shape.n_h * shape.tokens * (shape.rope + shape.r_k + shape.r_v)


def latent_bytes(shape: Shape, *, element: int = 2) -> float:
    """Return the bytes of the cache that a step reads at least once: rotated keys of every KV head and one latent."""
    return float(shape.batch * shape.tokens * (shape.n_kv * shape.rope + shape.rank) * element)


def full_flops(shape: Shape, *, d_h: int) -> float:
    """Return the FLOPs of attention over keys and values of head size d_h."""
    return 4.0 * shape.batch * shape.n_h * shape.tokens * d_h


def full_bytes(shape: Shape, *, d_h: int, element: int = 2) -> float:
    """Return the bytes of keys and values of head size d_h."""
    return 2.0 * shape.batch * shape.n_kv * shape.tokens * d_h * element
