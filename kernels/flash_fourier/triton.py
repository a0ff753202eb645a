"""The step in spectral space by the Triton kernels of triton_kernels.py: tile sizes, launches, the choice of the transform.

Source: ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import triton

from galley.kernels.flash_fourier.cost import prefers_fft
from galley.kernels.flash_fourier.reference import to_orders, to_time
from galley.kernels.flash_fourier.step import FourierStep, Plan, basis, make_plan
from galley.kernels.flash_fourier.triton_kernels import merge, project_query, project_weights, scores


@dataclass(frozen=True)
class Blocks:
    """Tile sizes: tokens of a block, of a chunk in project_weights, orders and channels of a chunk, parts of the middle."""

    tokens: int = 64
    chunk: int = 32
    orders: int = 32
    channels: int = 16
    splits: int = 4
    num_warps: int = 4
    num_stages: int = 2


def with_tile(plan: Plan, step: FourierStep, blocks: Blocks | None = None) -> Plan:
    """Return the plan with the basis of one block's tokens, (2k, tokens), on the step's device."""
    tokens = (blocks or Blocks()).tokens
    if plan.tile is not None and plan.tile.shape[1] == tokens:
        return plan
    return replace(plan, tile=basis(step.k.state.shape[1] // 2, step.period, tokens, device=step.q.device))


def spectral(step: FourierStep, plan: Plan | None = None, *, blocks: Blocks | None = None, transform: str = "auto") -> torch.Tensor:
    """Attend in spectral space with the kernels above; (B, n_h, d_h) in q's dtype.

    `transform` is fft (F^T z and F p by torch.fft), matmul (in the kernels) or auto (fewer counted FLOPs).
    """
    blocks = blocks or Blocks()
    plan = with_tile(plan or make_plan(step), step, blocks)
    (batch, n_h, d_h), n_kv = step.q.shape, step.k_plain.shape[1]
    m, n_plain, orders, group = step.n_middle, step.k_plain.shape[2], step.k.state.shape[1] // 2, n_h // n_kv
    fft = transform == "fft" or (transform == "auto" and prefers_fft(orders, step.period, m))
    n_mid, n_blocks = triton.cdiv(m, blocks.tokens), triton.cdiv(m, blocks.tokens) + triton.cdiv(n_plain, blocks.tokens)
    splits = 1 if fft else max(1, min(blocks.splits, n_mid))
    n_jobs = triton.cdiv(orders, blocks.orders) * splits if m else 0
    heads = {"N_KV": n_kv, "D_H": d_h, "GROUP": group, "num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    rows = triton.next_power_of_2(group)
    empty = lambda *shape: torch.empty(batch, n_h, *shape, dtype=torch.float32, device=step.q.device)  # noqa: E731
    z, shift, p, top, total = empty(2 * orders), empty(), empty(n_mid, blocks.tokens), empty(n_blocks), empty(n_blocks)
    part, spectral_part, out = empty(n_blocks, d_h), empty(n_jobs, d_h), torch.empty_like(step.q)
    q, scale = step.q.contiguous(), step.scale * math.log2(math.e)
    k, v = step.k, step.v
    k_state, v_state = k.state.contiguous(), v.state.contiguous()
    k_middle, v_middle, k_plain, v_plain = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (k.middle, v.middle, step.k_plain, step.v_plain)
    )
    by_fft = z
    if m:
        project_query[(batch * n_kv, triton.cdiv(2 * orders, 32))](
            q, k_state, k.weight, k.gain, k.offset, k.channels, plan.k.comp_starts, z, shift,
            scale, len(k.channels), 2 * orders, ROWS=rows, BN=32, BC=blocks.channels, **heads,
        )  # fmt: skip
        if fft:
            by_fft = to_time(z, step.period, step.period, None).contiguous()
    scores[(batch * n_kv, n_blocks)](
        q, z, shift, plan.tile, by_fft, k_middle, k.rest, plan.k.rest_starts, v_middle, plan.v.rest_starts, k_plain, v_plain,
        p, top, total, part, scale, step.period, orders, m, n_plain, n_mid, n_blocks,
        *k_middle.stride()[:2], *v_middle.stride()[:2], *k_plain.stride()[:3], *v_plain.stride()[:3],
        ROWS=rows, BT=blocks.tokens, BK=blocks.orders, BC=blocks.channels, FFT=fft, **heads,
    )  # fmt: skip
    if m:
        y = z
        if fft:
            relative = torch.exp2(top[..., :n_mid] - top.amax(-1, keepdim=True))
            y = to_orders((p * relative[..., None]).flatten(2)[..., :m], step.period, orders, None).contiguous()
        project_weights[(batch * n_kv, triton.cdiv(orders, blocks.orders), splits)](
            p, top, y, plan.tile, v_state, v.weight, v.gain, plan.v.comp_starts, spectral_part,
            step.period, orders, n_mid, n_blocks, len(v.channels), triton.cdiv(n_mid, splits), n_jobs,
            ROWS=rows, BT=blocks.tokens, BS=blocks.chunk, BK=blocks.orders, BC=blocks.channels, BM=32, FFT=fft, **heads,
        )  # fmt: skip
    merge[(batch * n_h, triton.cdiv(d_h, 32))](
        top, total, part, spectral_part, plan.v.slot, plan.v.comp_starts, v.offset, out, n_mid, n_blocks, n_jobs, len(v.channels),
        BD=32, BM=32, NATURAL=False, **heads,
    )  # fmt: skip
    return out
