"""The absorbed step by the Triton kernels of triton_kernels.py: tile sizes and launches.

Source: ours.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
import triton

from galley.kernels.mla_decode.step import MlaStep, check
from galley.kernels.mla_decode.triton_kernels import attend, merge

ROWS = 16  # query heads of a tile: the least that tensor cores take


@dataclass(frozen=True)
class Blocks:
    """Tile sizes: tokens of a tile and of a run, latent columns of a chunk (scores) and of a program (outputs), runs of a merge."""

    tokens: int = 32
    split: int = 512
    chunk: int = 64
    columns: int = 256
    runs: int = 32
    num_warps: int = 4
    num_stages: int = 2


def power_of_two(n: int) -> int:
    """Return the power of two, 16 or more, that holds n."""
    return max(16, triton.next_power_of_2(n))


def decode(step: MlaStep, *, blocks: Blocks | None = None) -> torch.Tensor:
    """Attend with the kernels; (B, n_h, R_v) in the tensors' dtype."""
    check(step)
    blocks = blocks or Blocks()
    (batch, n_h, rope), (n_kv, n) = step.q_rope.shape, step.k_rope.shape[1:3]
    r_k, r_v = step.c_q.shape[-1], step.value_width
    k_rope, c = (x if x.stride(-1) == 1 else x.contiguous() for x in (step.k_rope, step.c))
    n_splits = max(1, triton.cdiv(n, blocks.split))
    top = torch.empty(batch, n_h, n_splits, dtype=torch.float32, device=c.device)
    total, part = torch.empty_like(top), top.new_empty(batch, n_h, n_splits, r_v)
    out = c.new_empty(batch, n_h, r_v)
    # The interpreter holds bf16 as bit patterns and computes nonsense with them.
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    upcast = c.dtype == torch.float32 or (interpreted and c.dtype == torch.bfloat16)
    columns = min(blocks.columns, power_of_two(r_v))
    shared = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    lengths = top if step.lengths is None else step.lengths.to(torch.int32)
    attend[(batch * triton.cdiv(n_h, ROWS), n_splits, triton.cdiv(r_v, columns))](
        step.q_rope.contiguous(), step.c_q.contiguous(), k_rope, c, lengths, top, total, part,
        step.scale * math.log2(math.e), n, n_h, blocks.split, n_splits, step.value_at, r_k, r_v,
        *k_rope.stride()[:3], *c.stride()[:2],
        GROUP=n_h // n_kv, ROPE=rope, ROPE_P2=power_of_two(rope), BH=ROWS, BT=blocks.tokens, BR=blocks.chunk, BV=columns,
        RAGGED=step.lengths is not None, UPCAST=upcast, **shared,
    )  # fmt: skip
    width = min(128, columns)
    merge[(batch * n_h, triton.cdiv(r_v, width))](top, total, part, out, n_splits, r_v, BV=width, BM=blocks.runs, **shared)
    return out
