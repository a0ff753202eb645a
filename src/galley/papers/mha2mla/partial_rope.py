"""Partial RoPE: which rotary pairs keep their rotation.

arXiv:2502.14837, section 2.1 (S_high, S_low, S_uniform, S_2-norm).
A pair k in 0..d_h/2-1 turns by theta_k = base^(-2k/d_h), k = 0 the fastest. Llama's layout puts pair k
in dims (k, k + d_h/2) (the paper writes (2k, 2k+1)), so every choice here is over pairs, never dims.
Settled: S_2-norm is per layer and KV head; query heads of a group share their KV head's pairs.
"""

from __future__ import annotations

import torch

from galley.artifact import GalleyError

STRATEGIES = ("high", "low", "uniform", "2-norm")


def select_pairs(strategy: str, *, r: int, d_h: int, n_kv: int, n_layers: int, scores: torch.Tensor | None = None) -> torch.Tensor:
    """Return the kept pairs, ascending, as (layers, kv heads, r); r = 0 is NoPE and r = d_h/2 is full RoPE.

    `scores` (layers, kv heads, d_h/2) ranks the pairs for 2-norm. GalleyError for an unknown
    strategy, an r out of range, a uniform step that does not divide, or missing scores.
    """
    n_pairs = d_h // 2
    if strategy not in STRATEGIES:
        raise GalleyError(f"rope strategy is {strategy!r}; allowed: {', '.join(STRATEGIES)}")
    if not 0 <= r <= n_pairs:
        raise GalleyError(f"rope pairs r is {r}; a head of size {d_h} has 0 to {n_pairs} of them")
    if strategy == "2-norm" and 0 < r < n_pairs:
        if scores is None:
            raise GalleyError("rope strategy '2-norm' needs calibrated scores; run the calibration first")
        if scores.shape != (n_layers, n_kv, n_pairs):
            raise GalleyError(f"scores have shape {tuple(scores.shape)}; expected {(n_layers, n_kv, n_pairs)}")
        return scores.topk(r, dim=-1).indices.sort(dim=-1).values
    if strategy == "high" or r in (0, n_pairs):
        pairs = torch.arange(r)
    elif strategy == "low":
        pairs = torch.arange(n_pairs - r, n_pairs)
    else:
        if n_pairs % r:
            raise GalleyError(f"uniform keeps every (d_h/2r)-th pair: r = {r} does not divide d_h/2 = {n_pairs}")
        pairs = torch.arange(0, n_pairs, n_pairs // r)
    return pairs.expand(n_layers, n_kv, r).clone()


def head_rows(pairs: torch.Tensor, d_h: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Split one head's rows into rotated ones (first halves, then second halves of the kept pairs) and the rest.

    `pairs` is (r,); returns index vectors of lengths 2r and d_h - 2r. With all pairs kept the
    rotated rows are 0..d_h-1 in order: full RoPE is the identity permutation.
    """
    rope = torch.cat([pairs, pairs + d_h // 2])
    kept = torch.zeros(d_h, dtype=torch.uint8).scatter(0, rope, 1)
    return rope, kept.argsort(stable=True)[: d_h - len(rope)]  # a shape that does not depend on the values
