"""A decode step at Llama-like shapes: spectral space against the authors' rebuild and against attention over a full cache.

Source: ours; shapes of arXiv:2506.11886 (76 % of the channels compressed, 512 orders). All ways run in one process, interleaved;
medians. On a CPU torch runs them, on a GPU the Triton kernels do (which no GPU has run yet).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.nn.functional import scaled_dot_product_attention
from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_path
from galley.kernels.flash_fourier import cost, reference
from galley.kernels.flash_fourier.step import FourierStep, Side, basis, make_plan

N_H, N_KV, D_H, ORDERS, LOCAL, SHARE = 8, 2, 64, 512, 1024, 0.766
GOALS = {"flops": 10.0, "step": 5.0}  # times fewer FLOPs and less time than the authors' rebuild
COLUMNS = ["part", "setting", "metric", "unit", "ours", "peer", "peer_name", "ratio", "goal", "met", "n", "threads", "dtype", "device"]


def make_step(n_middle: int, *, seed: int, device: str, orders: int = ORDERS, local: int = LOCAL) -> FourierStep:
    """Return a step of random tensors in the shape of one layer; the coefficients are those of real-looking noise."""
    gen = torch.Generator().manual_seed(seed)
    total, n_c = N_KV * D_H, int(SHARE * N_KV * D_H)

    def side() -> Side:
        order = torch.randperm(total, generator=gen)
        channels, rest = order[:n_c].sort().values.to(device), order[n_c:].sort().values.to(device)
        state = torch.randn(1, 2 * orders, n_c, generator=gen) * n_middle**0.5
        weight = torch.full((2 * orders,), 2.0 / n_middle)
        weight[0] = 1.0 / n_middle
        middle = torch.randn(1, n_middle, total - n_c, generator=gen)
        gain, offset = torch.rand(1, n_c, generator=gen) + 0.5, torch.randn(1, n_c, generator=gen)
        return Side(channels, rest, *(x.to(device) for x in (middle, state, weight, gain, offset)))

    q, k, v = (torch.randn(1, h, n, D_H, generator=gen).to(device) for h, n in ((N_H, 1), (N_KV, local), (N_KV, local)))
    return FourierStep(q[:, :, 0], k, v, side(), side(), n_middle, D_H**-0.5)


def write_bench(out: Path, *, device: str = "cpu") -> None:
    """Write the bench as csv; GalleyError for a device that this machine has not."""
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise GalleyError(f"device is {device!r}; allowed: cpu, and cuda where torch sees a GPU")
    with atomic_path(out) as part:
        pd.DataFrame(bench_steps(device=device)).reindex(columns=COLUMNS).to_csv(part, index=False, float_format="%.6g")


def bench_steps(*, lengths: tuple[int, ...] = (4096, 16384), device: str = "cpu", repeats: int = 9, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows per length: seconds and FLOPs of ours against the rebuild, and seconds and bytes against the full cache."""
    rows: list[dict[str, Any]] = []
    for n_middle in lengths:
        step = make_step(n_middle, seed=seed, device=device)
        ways = make_ways(step)
        gap = float((ways["spectral"]() - ways["rebuild"]()).abs().max() / ways["rebuild"]().abs().max())
        seconds = interleaved(ways, repeats=repeats, device=device, name=f"{n_middle} middle tokens")
        shape = cost.Shape(N_H, N_KV, D_H, LOCAL, n_middle, step.period, ORDERS, len(step.k.channels), len(step.v.channels))
        facts = {"part": "flash_fourier", "setting": f"middle={n_middle},batch=1", "n": repeats, "threads": torch.get_num_threads(),
                 "dtype": "float32", "device": device}  # fmt: skip
        flops = {"spectral": cost.spectral_flops(shape), "rebuild": cost.rebuild_flops(shape),
                 "rebuild_shared": cost.rebuild_flops(shape, share=True), "full": cost.full_flops(shape)}  # fmt: skip
        size = {"spectral": cost.cache_bytes(shape, element=4), "full": cost.full_bytes(shape, element=4)}
        for metric, unit, factor, values in (("step", "ms", 1e3, seconds), ("flops", "GFLOP", 1e-9, flops), ("read", "MB", 1e-6, size)):
            for peer in PEERS:
                if peer in values:
                    goal = GOALS.get(metric) if peer == "rebuild" else None
                    rows.append(ratio_row(metric=metric, unit=unit, ours=factor * values["spectral"], peer=factor * values[peer],
                                          peer_name=PEERS[peer], goal=goal, **facts))  # fmt: skip
        rows.append({**facts, "metric": "max_rel_diff to rebuild", "unit": "", "ours": gap, "goal": 1e-5, "met": gap <= 1e-5})
    return rows


PEERS = {"rebuild": "the authors' rebuild, per query head", "rebuild_shared": "the rebuild, once a KV head", "full": "full cache, SDPA"}


def ratio_row(*, ours: float, peer: float, goal: float | None, **facts: Any) -> dict[str, Any]:
    """Return a row of ours against a peer; the ratio is above 1 when ours needs less."""
    return {"ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "met": None if goal is None else peer / ours >= goal, **facts}


def make_ways(step: FourierStep) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the ways to attend, with what each prepares once a prompt (channel layout, basis) already made."""
    plan = make_plan(step)
    gen = torch.Generator().manual_seed(1)
    total = step.n_middle + step.k_plain.shape[2]
    k, v = (torch.randn(1, N_KV, total, D_H, generator=gen).to(step.q.device) for _ in range(2))
    full = lambda: scaled_dot_product_attention(step.q[:, :, None], k, v, enable_gqa=True)[:, :, 0]  # noqa: E731
    if step.q.is_cuda:
        from galley.kernels.flash_fourier import triton, triton_rebuild

        tiled = triton.with_tile(plan, step)
        rebuilt = lambda: triton_rebuild.rebuild(step, plan)  # noqa: E731
        return {"spectral": lambda: triton.spectral(step, tiled), "rebuild": rebuilt, "rebuild_shared": rebuilt, "full": full}
    f = basis(step.k.state.shape[1] // 2, step.period, step.n_middle)
    return {
        "spectral": lambda: reference.spectral(step, plan),
        "rebuild": lambda: reference.rebuild(step, plan, f=f),
        "rebuild_shared": lambda: reference.rebuild(step, plan, f=f, share=True),
        "full": full,
    }


def interleaved(ways: dict[str, Callable[[], torch.Tensor]], *, repeats: int, device: str, name: str, warm_up: int = 2) -> dict[str, float]:
    """Return the median seconds of each way, taken in turns."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    for _ in tqdm(range(repeats + warm_up), desc=name, disable=None):
        for way, run in ways.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            times[way].append(time.perf_counter() - start)
    return {way: statistics.median(seconds[warm_up:]) for way, seconds in times.items()}
