"""Absorbed decode in torch: slow and obvious, and as two matrix products for all heads.

arXiv:2502.14837, section 2.3; the equations are in step.py. `absorbed` is what a CPU runs: all heads read one latent, so scores
are one product with it and outputs another.
"""

from __future__ import annotations

import torch

from galley.kernels.mla_decode.step import MlaStep, check


def reference(step: MlaStep) -> torch.Tensor:
    """Attend head by head and sequence by sequence, in float32 or wider; (B, n_h, R_v) in the tensors' dtype."""
    check(step)
    batch, n_h, _ = step.q_rope.shape
    group = n_h // step.k_rope.shape[1]
    out = step.c.new_zeros(batch, n_h, step.value_width)
    for b in range(batch):
        n = step.k_rope.shape[2] if step.lengths is None else int(step.lengths[b])
        if not n:
            continue
        for h in range(n_h):
            q_rope, c_q, k_rope, c = (_wide(x) for x in (step.q_rope[b, h], step.c_q[b, h], step.k_rope[b, h // group, :n], step.c[b, :n]))
            scores = step.scale * (k_rope @ q_rope + c[:, : len(c_q)] @ c_q)
            out[b, h] = (scores.softmax(0) @ c[:, step.value_at :]).to(out.dtype)
    return out


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def absorbed(step: MlaStep) -> torch.Tensor:
    """Attend for all heads at once; (B, n_h, R_v) in the tensors' dtype."""
    batch, n_h, width = step.q_rope.shape
    n_kv, n = step.k_rope.shape[1:3]
    by_rope = (step.q_rope.view(batch, n_kv, -1, width) * step.scale) @ step.k_rope.mT  # (B, n_kv, group, N)
    rank = step.c_q.shape[-1]
    scores = torch.baddbmm(by_rope.reshape(batch, n_h, n), step.c_q * step.scale, step.c[..., :rank].mT)
    if step.lengths is not None:
        beyond = torch.arange(n, device=scores.device) >= step.lengths[:, None]
        scores = scores.masked_fill(beyond[:, None], float("-inf"))
    half = scores.dtype in (torch.bfloat16, torch.float16)
    p = scores.softmax(dim=-1, dtype=torch.float32 if half else None).to(step.c.dtype)
    if step.lengths is not None:
        p = p.masked_fill((step.lengths == 0)[:, None, None], 0.0)  # a softmax over nothing
    return p @ step.c[..., step.value_at :]
