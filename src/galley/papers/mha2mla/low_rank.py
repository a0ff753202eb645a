"""The low-rank half of MHA2MLA: one truncated SVD gives the shared latent of keys and values.

arXiv:2502.14837, section 2.2. With W_c = [W_k,nope ; W_v] (output rows stacked, one input basis):
joint: W_c = U S V^T cut to rank R = n_kv d_kv; c = down x; [k_nope ; v] = up c.
split: separate SVDs of W_k,nope and W_v with R/2 each, which is a rank-R candidate for W_c too, so
joint is never worse in Frobenius error (Eckart-Young): claim A4.
Settled: balanced (paper) puts sqrt(S) on both sides, one_sided (authors' code) all of S on `up`;
the function is the same, the optimisation differs. Decomposed in float64, cast afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from galley.artifact import GalleyError
from galley.papers.mha2mla.partial_rope import head_rows, select_pairs

METHODS = ("joint", "split")
BALANCES = ("balanced", "one_sided")


@dataclass(frozen=True)
class Factors:
    """c = down x; k_nope = up_k c_k and v = up_v c_v, where c_k = c_v = c (joint) or halves of c (split)."""

    down: torch.Tensor  # (R, d)
    up_k: torch.Tensor  # (n_kv (d_h - 2r), R or R/2)
    up_v: torch.Tensor  # (n_kv d_h, R or R/2)


def factor(w_k_nope: torch.Tensor, w_v: torch.Tensor, *, rank: int, method: str = "joint", balance: str = "balanced") -> Factors:
    """Factor key rows (n, d) and value rows (m, d) to a latent of `rank`; ranks above full are cut to full."""
    if method not in METHODS:
        raise GalleyError(f"svd is {method!r}; allowed: {', '.join(METHODS)}")
    if rank < 2 or (method == "split" and rank % 2):
        raise GalleyError(f"latent rank is {rank}; it must be at least 2, and even for split")
    if method == "joint":
        down, up = truncated(torch.cat([w_k_nope, w_v]), rank=rank, balance=balance)
        return Factors(down, up[: len(w_k_nope)], up[len(w_k_nope) :])
    down_k, up_k = truncated(w_k_nope, rank=rank // 2, balance=balance)
    down_v, up_v = truncated(w_v, rank=rank // 2, balance=balance)
    return Factors(torch.cat([down_k, down_v]), up_k, up_v)


def truncated(w: torch.Tensor, *, rank: int, balance: str = "balanced") -> tuple[torch.Tensor, torch.Tensor]:
    """Return (down (rank, d), up (rows, rank)) with up @ down the best rank-`rank` approximation of w.

    A rank above full is padded with zeros, so that the shapes stay those asked for.
    """
    if balance not in BALANCES:
        raise GalleyError(f"balance is {balance!r}; allowed: {', '.join(BALANCES)}")
    u, s, vt = torch.linalg.svd(w.double(), full_matrices=False)
    kept = min(rank, len(s))
    u, s, vt = u[:, :kept], s[:kept], vt[:kept]
    root = s.sqrt() if balance == "balanced" else torch.ones_like(s)
    down, up = root[:, None] * vt, u * (s / root.clamp_min(torch.finfo(s.dtype).tiny))
    pad = rank - kept
    if pad:
        down = torch.nn.functional.pad(down, (0, 0, 0, pad))
        up = torch.nn.functional.pad(up, (0, pad))
    return down.to(w.dtype), up.to(w.dtype)


def squared_error(w_k_nope: torch.Tensor, w_v: torch.Tensor, *, rank: int, method: str) -> float:
    """Return ||W_c - approximation||_F^2 / ||W_c||_F^2 of the factors as they are made."""
    w_k, w_v = w_k_nope.double(), w_v.double()
    parts = factor(w_k, w_v, rank=rank, method=method)
    down_k, down_v = (parts.down, parts.down) if method == "joint" else parts.down.chunk(2)
    lost = (w_k - parts.up_k @ down_k).square().sum() + (w_v - parts.up_v @ down_v).square().sum()
    return float(lost / (w_k.square().sum() + w_v.square().sum()))


def joint_minus_split_errors(model: PreTrainedModel, *, rope_fraction: float, d_kv_fraction: float) -> list[tuple[float, float]]:
    """Per layer, joint's squared error minus split's: at an equal cache, and with split at double cache (S_high)."""
    config = model.config
    d_h, n_kv = config.head_dim, config.num_key_value_heads
    r = max(1, round(rope_fraction * d_h))
    pairs = select_pairs("high", r=r, d_h=d_h, n_kv=n_kv, n_layers=1)[0, 0]
    _, nope = head_rows(pairs, d_h)
    rank = n_kv * max(2, round(d_kv_fraction * d_h))
    rows = []
    for layer in model.model.layers:
        w_k = layer.self_attn.k_proj.weight.detach().unflatten(0, (n_kv, d_h))[:, nope].flatten(0, 1)
        w_v = layer.self_attn.v_proj.weight.detach()
        joint = squared_error(w_k, w_v, rank=rank, method="joint")
        equal = squared_error(w_k, w_v, rank=rank, method="split")
        double = squared_error(w_k, w_v, rank=2 * rank, method="split")
        rows.append((joint - equal, joint - double))
    return rows
