"""Absorbed decode as two Triton kernels: parts of a sequence, then their merge.

Source: ours; the equations are in step.py. A program of `attend` takes a tile of query heads and a run of tokens: every head of the
tile reads the same latent, so a token's latent is loaded once for all of them. Rotated keys belong to KV heads, so the tile's
queries meet one KV head after the other, the rows of other groups being zero. Softmax is online, in base 2. Sums are fp32; with
UPCAST inputs are turned to fp32 right after their load (fp32 tensors, and bf16 under the interpreter, whose bf16 arithmetic is wrong).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attend(
    Q_ROPE, C_Q, K_ROPE, C, LENGTHS, MAX, SUM, PART,
    scale, n_tokens, n_h, split, n_splits, value_at, r_k, r_v,
    k_b, k_h, k_t, c_b, c_t,
    GROUP: tl.constexpr, ROPE: tl.constexpr, ROPE_P2: tl.constexpr, BH: tl.constexpr, BT: tl.constexpr, BR: tl.constexpr,
    BV: tl.constexpr, RAGGED: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Write a run's output PART (B, n_h, splits, r_v), not divided by its SUM, and its MAX; grid (B tiles, splits, r_v / BV)."""
    n_tiles = tl.cdiv(n_h, BH)
    b = (tl.program_id(0) // n_tiles).to(tl.int64)
    first = (tl.program_id(0) % n_tiles) * BH
    part = tl.program_id(1)
    h = first + tl.arange(0, BH)
    h_ok = h < n_h
    head = b * n_h + h
    d = tl.arange(0, BT)
    e = tl.arange(0, ROPE_P2)
    e_ok = e < ROPE
    v = tl.program_id(2) * BV + tl.arange(0, BV)
    v_ok = v < r_v
    length = n_tokens
    if RAGGED:
        length = tl.load(LENGTHS + b).to(tl.int32)
    begin = part * split
    end = tl.minimum(begin + split, length)
    q = tl.load(Q_ROPE + head[:, None] * ROPE + e[None, :], mask=h_ok[:, None] & e_ok[None, :], other=0.0)
    if UPCAST:
        q = q.to(tl.float32)
    kv_first = first // GROUP
    kv_last = (tl.minimum(first + BH, n_h) - 1) // GROUP
    top = tl.full((BH,), float("-inf"), tl.float32)
    total = tl.zeros((BH,), tl.float32)
    acc = tl.zeros((BH, BV), tl.float32)
    for t0 in range(begin, end, BT):
        t = t0 + d
        here = t < end
        s = tl.zeros((BH, BT), tl.float32)
        for kv in range(kv_first, kv_last + 1):
            k_at = K_ROPE + b * k_b + kv * k_h + t[None, :].to(tl.int64) * k_t + e[:, None]
            k = tl.load(k_at, mask=here[None, :] & e_ok[:, None], other=0.0)
            if UPCAST:
                k = k.to(tl.float32)
            mine = tl.where((h // GROUP == kv)[:, None], q, 0.0).to(k.dtype)
            s = tl.dot(mine, k, acc=s, input_precision="ieee")
        c_at = C + b * c_b + t.to(tl.int64) * c_t
        for r0 in range(0, r_k, BR):
            r = r0 + tl.arange(0, BR)
            r_ok = r < r_k
            cq = tl.load(C_Q + head[:, None] * r_k + r[None, :], mask=h_ok[:, None] & r_ok[None, :], other=0.0)
            c = tl.load(c_at[None, :] + r[:, None], mask=here[None, :] & r_ok[:, None], other=0.0)
            if UPCAST:
                cq = cq.to(tl.float32)
                c = c.to(tl.float32)
            s = tl.dot(cq, c, acc=s, input_precision="ieee")
        s = tl.where(here[None, :], s * scale, float("-inf"))
        new = tl.maximum(top, tl.max(s, axis=1))
        p = tl.exp2(s - new[:, None])
        old = tl.exp2(top - new)
        total = total * old + tl.sum(p, axis=1)
        x = tl.load(c_at[:, None] + (value_at + v)[None, :], mask=here[:, None] & v_ok[None, :], other=0.0)
        if UPCAST:
            x = x.to(tl.float32)
        acc = tl.dot(p.to(x.dtype), x, acc=acc * old[:, None], input_precision="ieee")
        top = new
    at = head * n_splits + part
    tl.store(PART + at[:, None] * r_v + v[None, :], acc, mask=h_ok[:, None] & v_ok[None, :])
    if tl.program_id(2) == 0:
        tl.store(MAX + at, top, mask=h_ok)
        tl.store(SUM + at, total, mask=h_ok)


@triton.jit
def merge(MAX, SUM, PART, OUT, n_splits, r_v, BV: tl.constexpr, BM: tl.constexpr):
    """Merge a head's runs into OUT (B, n_h, r_v), zeros where no run has a token; grid (B n_h, r_v / BV)."""
    head = tl.program_id(0).to(tl.int64)
    v = tl.program_id(1) * BV + tl.arange(0, BV)
    v_ok = v < r_v
    j = tl.arange(0, BM)
    top = tl.full((BM,), float("-inf"), tl.float32)
    for j0 in range(0, n_splits, BM):
        top = tl.maximum(top, tl.load(MAX + head * n_splits + j0 + j, mask=j0 + j < n_splits, other=float("-inf")))
    best = tl.max(top, axis=0)
    best = tl.where(best == float("-inf"), 0.0, best)
    total = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BV,), tl.float32)
    for j0 in range(0, n_splits, BM):
        part = j0 + j
        ok = part < n_splits
        w = tl.exp2(tl.load(MAX + head * n_splits + part, mask=ok, other=float("-inf")) - best)
        total += w * tl.load(SUM + head * n_splits + part, mask=ok, other=0.0)
        x = tl.load(PART + (head * n_splits + part[:, None]) * r_v + v[None, :], mask=ok[:, None] & v_ok[None, :], other=0.0)
        acc += tl.sum(w[:, None] * x, axis=0)
    whole = tl.sum(total, axis=0)
    out = acc / tl.where(whole == 0.0, 1.0, whole)
    tl.store(OUT + head * r_v + v, out.to(OUT.dtype.element_ty), mask=v_ok)
