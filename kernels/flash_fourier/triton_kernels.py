"""The step in spectral space as Triton kernels: no middle token is rebuilt, and a KV group's query heads share all work.

Source: ours; the equations are in reference.py. Four small kernels, so that each reads only what an earlier launch wrote:
  project_query    z = weight C (gain q): 2k reals a head
  scores           blocks of middle tokens, then of plain ones: scores, the block's own softmax, its kept value channels
  project_weights  y = weight F p, then gain C^T y: the compressed value channels
  merge            blocks and parts into one output
A block of tokens starting at t0 needs F[:, t0 + d]. Turning z by each order's phase at t0 makes that the basis of tokens
0, 1, ... instead, so all blocks, heads and layers read one table (2k, block) and only 2k sines are computed a block.
Phases are integers modulo the window. Sums are fp32 and inputs are upcast right after their load.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def turn(phase, period):
    """Return cos and sin of 2 pi phase / period for integers 0 <= phase < period, to an ulp or two of 1."""
    quarter = (8 * phase + period) // (2 * period)
    x = (4 * phase - quarter * period).to(tl.float32) / (period * 1.0) * 1.5707963267948966
    xx = x * x
    sin = x + x * xx * (-1.6666654611e-1 + xx * (8.3321608736e-3 - xx * 1.9515295891e-4))
    cos = 1.0 - 0.5 * xx + xx * xx * (4.166664568298827e-2 + xx * (-1.388731625493765e-3 + xx * 2.443315711809948e-5))
    odd = (quarter & 1) == 1
    c = tl.where(odd, sin, cos)
    s = tl.where(odd, cos, sin)
    c = tl.where((quarter == 1) | (quarter == 2), -c, c)
    s = tl.where((quarter == 2) | (quarter == 3), -s, s)
    return c, s


@triton.jit
def project_query(
    Q, STATE, WEIGHT, GAIN, OFFSET, CHANNELS, STARTS, Z, SHIFT,
    scale, n_comp, n_reals, N_KV: tl.constexpr, D_H: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr,
    BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Write z (B, n_h, 2k) and the offsets' share of each head's scores (B, n_h); grid (B n_kv, 2k / BN)."""
    b = (tl.program_id(0) // N_KV).to(tl.int64)
    head = tl.program_id(0) % N_KV
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    row = tl.arange(0, ROWS)
    q_head = (b * N_KV + head) * GROUP + row
    q_ok = row < GROUP
    start = tl.load(STARTS + head)
    end = tl.load(STARTS + head + 1)
    acc = tl.zeros((ROWS, BN), tl.float32)
    shift = tl.zeros((ROWS,), tl.float32)
    for c0 in range(start, end, BC):
        c = c0 + tl.arange(0, BC)
        ok = c < end
        j = tl.load(CHANNELS + c, mask=ok, other=0) - head * D_H
        q = tl.load(Q + q_head[:, None] * D_H + j[None, :], mask=q_ok[:, None] & ok[None, :], other=0.0).to(tl.float32) * scale
        gain = tl.load(GAIN + b * n_comp + c, mask=ok, other=0.0)
        offset = tl.load(OFFSET + b * n_comp + c, mask=ok, other=0.0)
        state_at = STATE + (b * n_reals + n[None, :]) * n_comp + c[:, None]
        state = tl.load(state_at, mask=(n[None, :] < n_reals) & ok[:, None], other=0.0)
        acc += tl.dot(q * gain[None, :], state, input_precision="ieee")
        shift += tl.sum(q * offset[None, :], axis=1)
    weight = tl.load(WEIGHT + n, mask=n < n_reals, other=0.0)
    tl.store(Z + q_head[:, None] * n_reals + n[None, :], acc * weight[None, :], mask=q_ok[:, None] & (n[None, :] < n_reals))
    if tl.program_id(1) == 0:
        tl.store(SHIFT + q_head, shift, mask=q_ok)


@triton.jit
def scores(
    Q, Z, SHIFT, TILE, SPECTRAL, K_MIDDLE, K_REST, K_STARTS, V_MIDDLE, V_STARTS, K_PLAIN, V_PLAIN, P, MAX, SUM, PART,
    scale, period, orders, n_middle, n_plain, n_mid_blocks, n_blocks,
    km_b, km_t, vm_b, vm_t, kp_b, kp_h, kp_t, vp_b, vp_h, vp_t,
    N_KV: tl.constexpr, D_H: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BC: tl.constexpr, FFT: tl.constexpr,
):  # fmt: skip
    """Write one block's weights P relative to its own MAX, their SUM, and their share of kept value channels PART.

    Grid (B n_kv, blocks): middle blocks first, whose PART is compact in the head's kept channels, then plain blocks, natural.
    With FFT the spectral scores (B, n_h, period) are read, not computed.
    """
    b = (tl.program_id(0) // N_KV).to(tl.int64)
    head = tl.program_id(0) % N_KV
    block = tl.program_id(1)
    row = tl.arange(0, ROWS)
    q_head = (b * N_KV + head) * GROUP + row
    q_ok = row < GROUP
    d = tl.arange(0, BT)
    part_at = PART + (q_head * n_blocks + block) * D_H
    s = tl.zeros((ROWS, BT), tl.float32)
    if block < n_mid_blocks:
        t = block * BT + d
        here = t < n_middle
        if FFT:
            s += tl.load(SPECTRAL + q_head[:, None] * period + t[None, :], mask=q_ok[:, None] & here[None, :], other=0.0)
        else:
            for n0 in range(0, orders, BK):
                n = n0 + tl.arange(0, BK)
                n_ok = n < orders
                z_at = Z + q_head[:, None] * (2 * orders) + n[None, :]
                z_ok = q_ok[:, None] & n_ok[None, :]
                z_c = tl.load(z_at, mask=z_ok, other=0.0)
                z_s = tl.load(z_at + orders, mask=z_ok, other=0.0)
                c, si = turn((n * (block * BT)) % period, period)
                f_at = TILE + n[:, None] * BT + d[None, :]
                f_c = tl.load(f_at, mask=n_ok[:, None], other=0.0)
                f_s = tl.load(f_at + orders * BT, mask=n_ok[:, None], other=0.0)
                s = tl.dot(z_c * c[None, :] + z_s * si[None, :], f_c, acc=s, input_precision="ieee")
                s = tl.dot(z_s * c[None, :] - z_c * si[None, :], f_s, acc=s, input_precision="ieee")
        begin = tl.load(K_STARTS + head)
        end = tl.load(K_STARTS + head + 1)
        for c0 in range(begin, end, BC):
            ch = c0 + tl.arange(0, BC)
            ok = ch < end
            j = tl.load(K_REST + ch, mask=ok, other=0) - head * D_H
            q = tl.load(Q + q_head[:, None] * D_H + j[None, :], mask=q_ok[:, None] & ok[None, :], other=0.0).to(tl.float32) * scale
            x = tl.load(K_MIDDLE + b * km_b + t[None, :] * km_t + ch[:, None], mask=here[None, :] & ok[:, None], other=0.0)
            s = tl.dot(q, x.to(tl.float32), acc=s, input_precision="ieee")
        s += tl.load(SHIFT + q_head, mask=q_ok, other=0.0)[:, None]
        s = tl.where(here[None, :], s, float("-inf"))
        top = tl.max(s, axis=1)
        p = tl.exp2(s - top[:, None])
        tl.store(P + (q_head[:, None] * n_mid_blocks + block) * BT + d[None, :], p, mask=q_ok[:, None])
        begin = tl.load(V_STARTS + head)
        end = tl.load(V_STARTS + head + 1)
        for c0 in range(begin, end, BC):
            ch = c0 + tl.arange(0, BC)
            x = tl.load(V_MIDDLE + b * vm_b + t[:, None] * vm_t + ch[None, :], mask=here[:, None] & (ch[None, :] < end), other=0.0)
            o = tl.dot(p, x.to(tl.float32), input_precision="ieee")
            tl.store(part_at[:, None] + (ch - begin)[None, :], o, mask=q_ok[:, None] & (ch[None, :] < end))
    else:
        t = (block - n_mid_blocks) * BT + d
        here = t < n_plain
        for j0 in range(0, D_H, BC):
            j = j0 + tl.arange(0, BC)
            q = tl.load(Q + q_head[:, None] * D_H + j[None, :], mask=q_ok[:, None] & (j < D_H)[None, :], other=0.0).to(tl.float32) * scale
            x = tl.load(
                K_PLAIN + b * kp_b + head * kp_h + t[None, :] * kp_t + j[:, None], mask=here[None, :] & (j < D_H)[:, None], other=0.0
            )
            s = tl.dot(q, x.to(tl.float32), acc=s, input_precision="ieee")
        s = tl.where(here[None, :], s, float("-inf"))
        top = tl.max(s, axis=1)
        p = tl.exp2(s - top[:, None])
        for j0 in range(0, D_H, BC):
            j = j0 + tl.arange(0, BC)
            x = tl.load(
                V_PLAIN + b * vp_b + head * vp_h + t[:, None] * vp_t + j[None, :], mask=here[:, None] & (j < D_H)[None, :], other=0.0
            )
            o = tl.dot(p, x.to(tl.float32), input_precision="ieee")
            tl.store(part_at[:, None] + j[None, :], o, mask=q_ok[:, None] & (j < D_H)[None, :])
    tl.store(MAX + q_head * n_blocks + block, top, mask=q_ok)
    tl.store(SUM + q_head * n_blocks + block, tl.sum(p, axis=1), mask=q_ok)


@triton.jit
def project_weights(
    P, MAX, Y, TILE, STATE, WEIGHT, GAIN, STARTS, PART,
    period, orders, n_mid_blocks, n_blocks, n_comp, blocks_each, n_jobs,
    N_KV: tl.constexpr, D_H: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr, BK: tl.constexpr, BC: tl.constexpr, BM: tl.constexpr, FFT: tl.constexpr,
):  # fmt: skip
    """Write the share of one chunk of orders and one part of the middle in the compressed value channels.

    Grid (B n_kv, orders / BK, parts); PART (B, n_h, jobs, D_H) is compact in the head's compressed channels and relative to
    the maximum over all blocks. With FFT, F p (B, n_h, 2k) is read, not computed, and there is one part.
    """
    b = (tl.program_id(0) // N_KV).to(tl.int64)
    head = tl.program_id(0) % N_KV
    row = tl.arange(0, ROWS)
    q_head = (b * N_KV + head) * GROUP + row
    q_ok = row < GROUP
    n = tl.program_id(1) * BK + tl.arange(0, BK)
    n_ok = n < orders
    y_c = tl.zeros((ROWS, BK), tl.float32)
    y_s = tl.zeros((ROWS, BK), tl.float32)
    if FFT:
        y_at = Y + q_head[:, None] * (2 * orders) + n[None, :]
        y_c += tl.load(y_at, mask=q_ok[:, None] & n_ok[None, :], other=0.0)
        y_s += tl.load(y_at + orders, mask=q_ok[:, None] & n_ok[None, :], other=0.0)
    else:
        top = tl.full((ROWS,), float("-inf"), tl.float32)
        for j0 in range(0, n_blocks, BM):
            j = j0 + tl.arange(0, BM)
            ok = q_ok[:, None] & (j[None, :] < n_blocks)
            top = tl.maximum(top, tl.max(tl.load(MAX + q_head[:, None] * n_blocks + j[None, :], mask=ok, other=float("-inf")), axis=1))
        first = tl.program_id(2) * blocks_each
        for block in range(first, tl.minimum(first + blocks_each, n_mid_blocks)):
            u_c = tl.zeros((ROWS, BK), tl.float32)
            u_s = tl.zeros((ROWS, BK), tl.float32)
            for d0 in tl.static_range(0, BT, BS):
                d = d0 + tl.arange(0, BS)
                p = tl.load(P + (q_head[:, None] * n_mid_blocks + block) * BT + d[None, :], mask=q_ok[:, None], other=0.0)
                f_at = TILE + n[None, :] * BT + d[:, None]
                u_c = tl.dot(p, tl.load(f_at, mask=n_ok[None, :], other=0.0), acc=u_c, input_precision="ieee")
                u_s = tl.dot(p, tl.load(f_at + orders * BT, mask=n_ok[None, :], other=0.0), acc=u_s, input_precision="ieee")
            relative = tl.exp2(tl.load(MAX + q_head * n_blocks + block, mask=q_ok, other=0.0) - tl.where(q_ok, top, 0.0))
            c, si = turn((n * (block * BT)) % period, period)
            y_c += relative[:, None] * (u_c * c[None, :] - u_s * si[None, :])
            y_s += relative[:, None] * (u_c * si[None, :] + u_s * c[None, :])
    y_c *= tl.load(WEIGHT + n, mask=n_ok, other=0.0)[None, :]
    y_s *= tl.load(WEIGHT + orders + n, mask=n_ok, other=0.0)[None, :]
    begin = tl.load(STARTS + head)
    end = tl.load(STARTS + head + 1)
    job = tl.program_id(1) * tl.num_programs(2) + tl.program_id(2)
    for c0 in range(begin, end, BC):
        ch = c0 + tl.arange(0, BC)
        ok = ch < end
        state_at = STATE + (b * (2 * orders) + n[:, None]) * n_comp + ch[None, :]
        mask = n_ok[:, None] & ok[None, :]
        o = tl.dot(y_c, tl.load(state_at, mask=mask, other=0.0), input_precision="ieee")
        o = tl.dot(y_s, tl.load(state_at + orders * n_comp, mask=mask, other=0.0), acc=o, input_precision="ieee")
        o *= tl.load(GAIN + b * n_comp + ch, mask=ok, other=0.0)[None, :]
        at = PART + (q_head[:, None] * n_jobs + job) * D_H + (ch - begin)[None, :]
        tl.store(at, o, mask=q_ok[:, None] & ok[None, :])


@triton.jit
def merge(
    MAX, SUM, PART, SPECTRAL, SLOT, STARTS, OFFSET, OUT, n_mid_blocks, n_blocks, n_jobs, n_comp,
    N_KV: tl.constexpr, D_H: tl.constexpr, GROUP: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, NATURAL: tl.constexpr,
):  # fmt: skip
    """Merge blocks and parts into OUT (B, n_h, D_H); grid (B n_h, D_H / BD). NATURAL: middle blocks hold whole rows already."""
    q_head = tl.program_id(0).to(tl.int64)
    b = q_head // (N_KV * GROUP)
    head = (q_head // GROUP) % N_KV
    col = tl.program_id(1) * BD + tl.arange(0, BD)
    j = tl.arange(0, BM)
    top = tl.full((BM,), float("-inf"), tl.float32)
    for j0 in range(0, n_blocks, BM):
        top = tl.maximum(top, tl.load(MAX + q_head * n_blocks + j0 + j, mask=j0 + j < n_blocks, other=float("-inf")))
    best = tl.max(top, axis=0)
    inside = col < D_H
    slot = tl.load(SLOT + head * D_H + col, mask=inside, other=0)
    acc = tl.zeros((BD,), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    of_middle = tl.zeros((BM,), tl.float32)
    for j0 in range(0, n_blocks, BM):
        block = j0 + j
        ok = block < n_blocks
        w = tl.exp2(tl.load(MAX + q_head * n_blocks + block, mask=ok, other=float("-inf")) - best)
        mass = w * tl.load(SUM + q_head * n_blocks + block, mask=ok, other=0.0)
        total += mass
        of_middle += tl.where(block < n_mid_blocks, mass, 0.0)
        if NATURAL:  # noqa: SIM108 - a branch at compile time
            at = tl.broadcast_to(col[None, :], (BM, BD))
        else:
            at = tl.where((block >= n_mid_blocks)[:, None], col[None, :], slot[None, :])
        x = tl.load(PART + (q_head * n_blocks + block[:, None]) * D_H + at, mask=ok[:, None] & (at >= 0) & inside[None, :], other=0.0)
        acc += tl.sum(w[:, None] * x, axis=0)
    if not NATURAL:
        comp = slot < 0
        for j0 in range(0, n_jobs, BM):
            mask = (j0 + j < n_jobs)[:, None] & comp[None, :]
            acc += tl.sum(
                tl.load(SPECTRAL + (q_head * n_jobs + j0 + j[:, None]) * D_H + (-1 - slot)[None, :], mask=mask, other=0.0), axis=0
            )
        offset = tl.load(OFFSET + b * n_comp + tl.load(STARTS + head) - 1 - slot, mask=comp, other=0.0)
        acc += offset * tl.sum(of_middle, axis=0)
    tl.store(OUT + q_head * D_H + col, (acc / tl.sum(total, axis=0)).to(OUT.dtype.element_ty), mask=inside)
