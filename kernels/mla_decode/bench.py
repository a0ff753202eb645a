"""An absorbed decode step at Llama-like shapes against the latent expanded first and against attention over a full cache.

Source: ours; shapes of arXiv:2502.14837 (a quarter of each head rotated, a latent of a quarter head per KV head). All ways include
what turns a query into the latent and the output back. `cached` appends a token first, as LatentCache does, and meets DynamicCache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import Cache

from galley.kernels.bench import LENGTHS, dtype_on, facts_of, gap_row, interleaved, ratio_rows
from galley.kernels.full_cache import CACHED, SDPA, full_ways, moved_bytes
from galley.kernels.mla_decode import cost
from galley.kernels.mla_decode.dispatch import decode
from galley.kernels.mla_decode.layer import LatentLayer
from galley.kernels.mla_decode.step import MlaStep

N_H, N_KV, D_H = 8, 2, 64
ROPE, RANK = D_H // 4, N_KV * D_H // 4
PEERS = {"expanded": "the latent expanded to keys and values, SDPA", "full": SDPA}


def bench_steps(*, lengths: tuple[int, ...] = LENGTHS, device: str = "cpu", repeats: int = 41, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows per length: time, FLOPs and bytes against both peers, and time and bytes moved with each cache's append."""
    rows: list[dict[str, Any]] = []
    dtype = dtype_on(device)
    for tokens in lengths:
        ways = make_ways(tokens, seed=seed, device=device, dtype=dtype)
        facts = facts_of("mla_decode", f"tokens={tokens},batch=1", repeats=repeats, dtype=dtype, device=device)
        gap = gap_row(ways["absorbed"](), ways["expanded"](), peer_name="expanded", **facts)
        seconds = interleaved(ways, repeats=repeats, device=device, name=f"{tokens} tokens")
        shape = cost.Shape(N_H, N_KV, ROPE, RANK, RANK, RANK, tokens)
        flops = {"absorbed": cost.absorbed_flops(shape), "full": cost.full_flops(shape, d_h=D_H)}
        flops["expanded"] = flops["full"] + 2.0 * tokens * RANK * N_KV * (2 * D_H - ROPE)
        read = {"absorbed": cost.latent_bytes(shape, element=dtype.itemsize),
                "full": cost.full_bytes(shape, d_h=D_H, element=dtype.itemsize)}  # fmt: skip
        moved = {"cached": read["absorbed"], "full_cached": moved_bytes(read["full"])}  # LatentCache copies nothing to append
        rows += ratio_rows({"step": ("ms", 1e3, seconds), "flops": ("GFLOP", 1e-9, flops), "read": ("MB", 1e-6, read)},
                           ours="absorbed", peers=PEERS, **facts)  # fmt: skip
        rows += ratio_rows({"step with its cache": ("ms", 1e3, seconds), "moved": ("MB", 1e-6, moved)},
                           ours="cached", peers={"full_cached": CACHED}, **facts)  # fmt: skip
        rows.append(gap)
    return rows


def make_ways(tokens: int, *, seed: int, device: str, dtype: torch.dtype) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the ways to attend over `tokens` cached tokens of random content."""
    gen = torch.Generator().manual_seed(seed)
    d_nope, group = D_H - ROPE, N_H // N_KV

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=gen).to(device, dtype)

    q_rope, q_nope, k_rope, c = rand(1, N_H, ROPE), rand(1, N_H, d_nope), rand(1, N_KV, tokens, ROPE), rand(1, 1, tokens, RANK)
    w_uk, w_uv = rand(N_KV, d_nope, RANK) * RANK**-0.5, rand(N_KV, D_H, RANK) * RANK**-0.5
    k_new, c_new = rand(1, N_KV, 1, ROPE), rand(1, 1, 1, RANK)
    cache = Cache(layer_class_to_replicate=LatentLayer)
    cache.update(k_rope, c, 0)

    def absorbed(k: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        c_q = (q_nope.view(1, N_KV, group, d_nope) @ w_uk).view(1, N_H, RANK)
        out = decode(MlaStep(q_rope, c_q, k, latent[:, 0], D_H**-0.5))
        return (out.view(1, N_KV, group, RANK) @ w_uv.mT).view(1, N_H, D_H)

    def expanded() -> torch.Tensor:
        k_nope, v = (c[:, 0][:, None] @ w.mT for w in (w_uk, w_uv))
        q = torch.cat([q_rope, q_nope], dim=-1)[:, :, None]
        return scaled_dot_product_attention(q, torch.cat([k_rope, k_nope], dim=-1), v, enable_gqa=True)[:, :, 0]

    def cached() -> torch.Tensor:
        out = absorbed(*cache.update(k_new, c_new, 0))
        cache.layers[0].crop(-1)
        return out

    full, full_cached = full_ways(rand(1, N_H, D_H), n_kv=N_KV, tokens=tokens, generator=gen)
    return {"absorbed": lambda: absorbed(k_rope, c), "expanded": expanded, "full": full, "cached": cached, "full_cached": full_cached}
