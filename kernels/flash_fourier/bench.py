"""A decode step at Llama-like shapes: spectral space against the authors' rebuild and against attention over a full cache.

Source: ours; shapes of arXiv:2506.11886 (76 % of the channels compressed, 512 orders). `spectral` and the rebuilds are the step alone;
`cached` appends a token to the whole ones first, as FourierCache does, and meets DynamicCache, which does so too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from galley.kernels.bench import LENGTHS, dtype_on, facts_of, gap_row, interleaved, ratio_rows
from galley.kernels.flash_fourier import cost, reference
from galley.kernels.flash_fourier.step import FourierStep, Side, basis, make_plan
from galley.kernels.full_cache import CACHED, SDPA, full_ways, moved_bytes

N_H, N_KV, D_H, ORDERS, LOCAL, SHARE = 8, 2, 64, 512, 1024, 0.766
GOALS = {("flops", "rebuild"): 10.0, ("step", "rebuild"): 5.0}  # times fewer FLOPs and less time than the authors' rebuild
PEERS = {"rebuild": "the authors' rebuild, per query head", "rebuild_shared": "the rebuild, once a KV head", "full": SDPA}


def make_step(
    n_middle: int, *, seed: int, device: str, orders: int = ORDERS, local: int = LOCAL, dtype: torch.dtype = torch.float32
) -> FourierStep:
    """Return a step of random tensors in the shape of one layer; the coefficients are those of real-looking noise."""
    gen = torch.Generator().manual_seed(seed)
    total, n_c = N_KV * D_H, int(SHARE * N_KV * D_H)

    def side() -> Side:
        order = torch.randperm(total, generator=gen)
        channels, rest = order[:n_c].sort().values.to(device), order[n_c:].sort().values.to(device)
        state = torch.randn(1, 2 * orders, n_c, generator=gen) * n_middle**0.5
        weight = torch.full((2 * orders,), 2.0 / n_middle)
        weight[0] = 1.0 / n_middle
        middle = torch.randn(1, n_middle, total - n_c, generator=gen).to(dtype)
        gain, offset = torch.rand(1, n_c, generator=gen) + 0.5, torch.randn(1, n_c, generator=gen)
        return Side(channels, rest, *(x.to(device) for x in (middle, state, weight, gain, offset)))

    q, k, v = (torch.randn(1, h, n, D_H, generator=gen).to(device, dtype) for h, n in ((N_H, 1), (N_KV, local), (N_KV, local)))
    return FourierStep(q[:, :, 0], k, v, side(), side(), n_middle, D_H**-0.5)


def bench_steps(*, lengths: tuple[int, ...] = LENGTHS, device: str = "cpu", repeats: int = 9, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows per length: time and FLOPs against the rebuild, time and bytes against the full cache, without and with its append."""
    rows: list[dict[str, Any]] = []
    dtype = dtype_on(device)
    for n_middle in lengths:
        step = make_step(n_middle, seed=seed, device=device, dtype=dtype)
        ways = make_ways(step)
        facts = facts_of("flash_fourier", f"middle={n_middle},batch=1", repeats=repeats, dtype=dtype, device=device)
        gap = gap_row(ways["spectral"](), ways["rebuild"](), peer_name="rebuild", **facts)
        seconds = interleaved(ways, repeats=repeats, device=device, name=f"{n_middle} middle tokens")
        shape = cost.Shape(N_H, N_KV, D_H, LOCAL, n_middle, step.period, ORDERS, len(step.k.channels), len(step.v.channels))
        flops = {"spectral": cost.spectral_flops(shape), "rebuild": cost.rebuild_flops(shape),
                 "rebuild_shared": cost.rebuild_flops(shape, share=True), "full": cost.full_flops(shape)}  # fmt: skip
        whole = replace(shape, n_middle=0, k_compressed=N_KV * D_H, v_compressed=N_KV * D_H, orders=0)
        read = {"spectral": cost.cache_bytes(shape, element=dtype.itemsize), "full": cost.full_bytes(shape, element=dtype.itemsize)}
        copied = cost.full_bytes(whole, element=dtype.itemsize)
        moved = {"cached": read["spectral"] - copied + moved_bytes(copied), "full_cached": moved_bytes(read["full"])}
        rows += ratio_rows({"step": ("ms", 1e3, seconds), "flops": ("GFLOP", 1e-9, flops), "read": ("MB", 1e-6, read)},
                           ours="spectral", peers=PEERS, goals=GOALS, **facts)  # fmt: skip
        rows += ratio_rows({"step with its cache": ("ms", 1e3, seconds), "moved": ("MB", 1e-6, moved)},
                           ours="cached", peers={"full_cached": CACHED}, **facts)  # fmt: skip
        rows.append(gap)
    return rows


def make_ways(step: FourierStep) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the ways to attend, with what each prepares once a prompt (channel layout, basis) already made."""
    plan = make_plan(step)
    gen = torch.Generator().manual_seed(1)
    full, full_cached = full_ways(step.q, n_kv=N_KV, tokens=step.n_middle + step.k_plain.shape[2], generator=gen)
    new = torch.randn(1, N_KV, 1, D_H, generator=gen).to(step.q)
    if step.q.is_cuda:
        from galley.kernels.flash_fourier import triton, triton_rebuild

        tiled = triton.with_tile(plan, step)
        rebuild = rebuild_shared = lambda: triton_rebuild.rebuild(step, plan)
        attend = lambda s: triton.spectral(s, tiled)  # noqa: E731
    else:
        f = basis(step.k.state.shape[1] // 2, step.period, step.n_middle)
        rebuild = lambda: reference.rebuild(step, plan, f=f)  # noqa: E731
        rebuild_shared = lambda: reference.rebuild(step, plan, f=f, share=True)  # noqa: E731
        attend = lambda s: reference.spectral(s, plan)  # noqa: E731

    def cached() -> torch.Tensor:
        return attend(replace(step, k_plain=torch.cat([step.k_plain, new], 2), v_plain=torch.cat([step.v_plain, new], 2)))

    return {"spectral": lambda: attend(step), "rebuild": rebuild, "rebuild_shared": rebuild_shared, "full": full,
            "cached": cached, "full_cached": full_cached}  # fmt: skip
