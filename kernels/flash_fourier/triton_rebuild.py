"""The step as the authors do it, as a Triton kernel: the baseline of the bench.

arXiv:2506.11886 and the structure of its released kernel: one program a query head and block of middle tokens rebuilds the
compressed channels tile by tile with a basis made on the fly, applies the affine map, and keeps an online softmax; blocks of
sink and local tokens read plain keys and values. Nothing is shared between the query heads of a group.

Deviations: phases are integers modulo the window (theirs are fp32 products), one query row is summed and not padded to 16,
and blocks are merged by the kernel of triton_kernels.py (theirs by torch).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import triton
import triton.language as tl

from galley.kernels.flash_fourier.step import FourierStep, Plan, make_plan
from galley.kernels.flash_fourier.triton_kernels import merge, turn

BLOCK, TILE, ORDERS = 128, 32, 16  # middle tokens of a program and of a tile, orders of a chunk


@triton.jit
def rebuild_scores(
    Q, K_STATE, V_STATE, K_WEIGHT, V_WEIGHT, K_GAIN, K_OFFSET, V_GAIN, V_OFFSET, K_CHANNELS, V_CHANNELS, K_REST, V_REST,
    K_COMP_STARTS, V_COMP_STARTS, K_REST_STARTS, V_REST_STARTS, K_MIDDLE, V_MIDDLE, K_PLAIN, V_PLAIN, MAX, SUM, PART,
    scale, period, orders, n_middle, n_plain, n_mid_blocks, n_blocks, k_comp, v_comp,
    km_b, km_t, vm_b, vm_t, kp_b, kp_h, kp_t, vp_b, vp_h, vp_t,
    N_KV: tl.constexpr, D_H: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
    K_COMP: tl.constexpr, V_COMP: tl.constexpr, K_KEPT: tl.constexpr, V_KEPT: tl.constexpr, D_P2: tl.constexpr,
):  # fmt: skip
    """Write one block's output PART (B, n_h, blocks, D_H), MAX and SUM; grid (B n_h, blocks), middle blocks first."""
    q_head = tl.program_id(0).to(tl.int64)
    b = q_head // (N_KV * GROUP)
    head = (q_head // GROUP) % N_KV
    block = tl.program_id(1)
    part_at = PART + (q_head * n_blocks + block) * D_H
    d = tl.arange(0, BT)
    top = float("-inf")
    total = 0.0
    if block < n_mid_blocks:
        kc = tl.load(K_COMP_STARTS + head) + tl.arange(0, K_COMP)
        vc = tl.load(V_COMP_STARTS + head) + tl.arange(0, V_COMP)
        kr = tl.load(K_REST_STARTS + head) + tl.arange(0, K_KEPT)
        vr = tl.load(V_REST_STARTS + head) + tl.arange(0, V_KEPT)
        kc_ok = kc < tl.load(K_COMP_STARTS + head + 1)
        vc_ok = vc < tl.load(V_COMP_STARTS + head + 1)
        kr_ok = kr < tl.load(K_REST_STARTS + head + 1)
        vr_ok = vr < tl.load(V_REST_STARTS + head + 1)
        kc_at = tl.load(K_CHANNELS + kc, mask=kc_ok, other=0) - head * D_H
        vc_at = tl.load(V_CHANNELS + vc, mask=vc_ok, other=0) - head * D_H
        kr_at = tl.load(K_REST + kr, mask=kr_ok, other=0) - head * D_H
        vr_at = tl.load(V_REST + vr, mask=vr_ok, other=0) - head * D_H
        q_c = tl.load(Q + q_head * D_H + kc_at, mask=kc_ok, other=0.0).to(tl.float32) * scale
        q_r = tl.load(Q + q_head * D_H + kr_at, mask=kr_ok, other=0.0).to(tl.float32) * scale
        k_gain = tl.load(K_GAIN + b * k_comp + kc, mask=kc_ok, other=0.0)
        k_offset = tl.load(K_OFFSET + b * k_comp + kc, mask=kc_ok, other=0.0)
        v_gain = tl.load(V_GAIN + b * v_comp + vc, mask=vc_ok, other=0.0)
        v_offset = tl.load(V_OFFSET + b * v_comp + vc, mask=vc_ok, other=0.0)
        of_comp = tl.zeros((V_COMP,), tl.float32)
        of_kept = tl.zeros((V_KEPT,), tl.float32)
        for t0 in range(block * BLOCK, tl.minimum((block + 1) * BLOCK, n_middle), BT):
            t = t0 + d
            here = t < n_middle
            x_k = tl.zeros((BT, K_COMP), tl.float32)
            x_v = tl.zeros((BT, V_COMP), tl.float32)
            for n0 in range(0, orders, BK):
                n = n0 + tl.arange(0, BK)
                n_ok = n < orders
                c, s = turn((t[:, None] * n[None, :]) % period, period)
                k_at = K_STATE + (b * (2 * orders) + n[:, None]) * k_comp + kc[None, :]
                v_at = V_STATE + (b * (2 * orders) + n[:, None]) * v_comp + vc[None, :]
                k_mask = n_ok[:, None] & kc_ok[None, :]
                v_mask = n_ok[:, None] & vc_ok[None, :]
                c_k = c * tl.load(K_WEIGHT + n, mask=n_ok, other=0.0)[None, :]
                s_k = s * tl.load(K_WEIGHT + orders + n, mask=n_ok, other=0.0)[None, :]
                c_v = c * tl.load(V_WEIGHT + n, mask=n_ok, other=0.0)[None, :]
                s_v = s * tl.load(V_WEIGHT + orders + n, mask=n_ok, other=0.0)[None, :]
                x_k = tl.dot(c_k, tl.load(k_at, mask=k_mask, other=0.0), acc=x_k, input_precision="ieee")
                x_k = tl.dot(s_k, tl.load(k_at + orders * k_comp, mask=k_mask, other=0.0), acc=x_k, input_precision="ieee")
                x_v = tl.dot(c_v, tl.load(v_at, mask=v_mask, other=0.0), acc=x_v, input_precision="ieee")
                x_v = tl.dot(s_v, tl.load(v_at + orders * v_comp, mask=v_mask, other=0.0), acc=x_v, input_precision="ieee")
            x_k = x_k * k_gain[None, :] + k_offset[None, :]
            x_v = x_v * v_gain[None, :] + v_offset[None, :]
            kept = tl.load(K_MIDDLE + b * km_b + t[:, None] * km_t + kr[None, :], mask=here[:, None] & kr_ok[None, :], other=0.0)
            s = tl.sum(x_k * q_c[None, :], axis=1) + tl.sum(kept.to(tl.float32) * q_r[None, :], axis=1)
            s = tl.where(here, s, float("-inf"))
            new = tl.maximum(top, tl.max(s, axis=0))
            p = tl.exp2(s - new)
            old = tl.exp2(top - new)
            kept = tl.load(V_MIDDLE + b * vm_b + t[:, None] * vm_t + vr[None, :], mask=here[:, None] & vr_ok[None, :], other=0.0)
            of_comp = of_comp * old + tl.sum(p[:, None] * x_v, axis=0)
            of_kept = of_kept * old + tl.sum(p[:, None] * kept.to(tl.float32), axis=0)
            total = total * old + tl.sum(p, axis=0)
            top = new
        tl.store(part_at + vc_at, of_comp, mask=vc_ok)
        tl.store(part_at + vr_at, of_kept, mask=vr_ok)
    else:
        j = tl.arange(0, D_P2)
        j_ok = j < D_H
        q = tl.load(Q + q_head * D_H + j, mask=j_ok, other=0.0).to(tl.float32) * scale
        out = tl.zeros((D_P2,), tl.float32)
        begin = (block - n_mid_blocks) * BLOCK
        for t0 in range(begin, tl.minimum(begin + BLOCK, n_plain), BT):
            t = t0 + d
            here = t < n_plain
            mask = here[:, None] & j_ok[None, :]
            x = tl.load(K_PLAIN + b * kp_b + head * kp_h + t[:, None] * kp_t + j[None, :], mask=mask, other=0.0)
            s = tl.where(here, tl.sum(x.to(tl.float32) * q[None, :], axis=1), float("-inf"))
            new = tl.maximum(top, tl.max(s, axis=0))
            p = tl.exp2(s - new)
            old = tl.exp2(top - new)
            x = tl.load(V_PLAIN + b * vp_b + head * vp_h + t[:, None] * vp_t + j[None, :], mask=mask, other=0.0)
            out = out * old + tl.sum(p[:, None] * x.to(tl.float32), axis=0)
            total = total * old + tl.sum(p, axis=0)
            top = new
        tl.store(part_at + j, out, mask=j_ok)
    tl.store(MAX + q_head * n_blocks + block, top)
    tl.store(SUM + q_head * n_blocks + block, total)


def widths(ends: tuple[int, ...]) -> int:
    """Return the power of two, 16 or more, that holds every head's channels."""
    return max(16, triton.next_power_of_2(max(b - a for a, b in pairwise(ends))))


def rebuild(step: FourierStep, plan: Plan | None = None, *, block: int = BLOCK, tile: int = TILE, orders: int = ORDERS) -> torch.Tensor:
    """Attend by rebuilding each query head's middle in tiles; (B, n_h, d_h) in q's dtype."""
    plan = plan or make_plan(step)
    (batch, n_h, d_h), n_kv, k, v = step.q.shape, step.k_plain.shape[1], step.k, step.v
    m, n_plain, group = step.n_middle, step.k_plain.shape[2], n_h // n_kv
    n_mid, n_blocks = triton.cdiv(m, block), triton.cdiv(m, block) + triton.cdiv(n_plain, block)
    top = torch.empty(batch, n_h, n_blocks, dtype=torch.float32, device=step.q.device)
    total, part, out = torch.empty_like(top), top.new_empty(batch, n_h, n_blocks, d_h), torch.empty_like(step.q)
    k_middle, v_middle, k_plain, v_plain = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (k.middle, v.middle, step.k_plain, step.v_plain)
    )
    rebuild_scores[(batch * n_h, n_blocks)](
        step.q.contiguous(), k.state.contiguous(), v.state.contiguous(), k.weight, v.weight, k.gain, k.offset, v.gain, v.offset,
        k.channels, v.channels, k.rest, v.rest, plan.k.comp_starts, plan.v.comp_starts, plan.k.rest_starts, plan.v.rest_starts,
        k_middle, v_middle, k_plain, v_plain, top, total, part,
        step.scale * math.log2(math.e), step.period, k.state.shape[1] // 2, m, n_plain, n_mid, n_blocks,
        len(k.channels), len(v.channels), *k_middle.stride()[:2], *v_middle.stride()[:2], *k_plain.stride()[:3], *v_plain.stride()[:3],
        N_KV=n_kv, D_H=d_h, GROUP=group, BLOCK=block, BT=tile, BK=orders,
        K_COMP=widths(plan.k.comp_ends), V_COMP=widths(plan.v.comp_ends), K_KEPT=widths(plan.k.rest_ends),
        V_KEPT=widths(plan.v.rest_ends), D_P2=triton.next_power_of_2(d_h), num_warps=8, num_stages=1,
    )  # fmt: skip
    merge[(batch * n_h, triton.cdiv(d_h, 32))](
        top, total, part, part, plan.v.slot, plan.v.comp_starts, v.offset, out, n_mid, n_blocks, 0, len(v.channels),
        N_KV=n_kv, D_H=d_h, GROUP=group, BD=32, BM=32, NATURAL=True, num_warps=4, num_stages=2,
    )  # fmt: skip
    return out
