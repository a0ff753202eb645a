"""The bench of all ops, one csv: decode steps against named peers, interleaved in one process; medians.

Source: ours. On a CPU torch runs the steps in float32, on a GPU the Triton kernels do in float16 (which no GPU has run yet). CPU times are
the process's own, so that work beside it does not count; with several threads they add up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_path

LENGTHS = (4096, 16384)
COLUMNS = ["part", "setting", "metric", "unit", "ours", "peer", "peer_name", "ratio", "goal", "met", "n", "threads", "dtype", "device"]
Ways = dict[str, Callable[[], torch.Tensor]]


def write_bench(out: Path, *, device: str = "cpu") -> None:
    """Write the rows of every op as csv; GalleyError for a device that this machine has not."""
    from galley.kernels.flash_fourier.bench import bench_steps as fourier
    from galley.kernels.mla_decode.bench import bench_steps as mla

    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise GalleyError(f"device is {device!r}; allowed: cpu, and cuda where torch sees a GPU")
    rows = [*fourier(device=device), *mla(device=device)]
    with atomic_path(out) as part:
        pd.DataFrame(rows).reindex(columns=COLUMNS).to_csv(part, index=False, float_format="%.6g")


def dtype_on(device: str) -> torch.dtype:
    """Return the type that cached tensors have on a device: fp32 on a CPU, whose half types are slow, and fp16 on a GPU."""
    return torch.float16 if device.startswith("cuda") else torch.float32


def facts_of(part: str, setting: str, *, repeats: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Return the columns that all rows of one setting share."""
    return {"part": part, "setting": setting, "n": repeats, "threads": torch.get_num_threads(),
            "dtype": str(dtype).removeprefix("torch."), "device": device}  # fmt: skip


def gap_row(ours: torch.Tensor, peer: torch.Tensor, *, peer_name: str, **facts: Any) -> dict[str, Any]:
    """Return a row of the largest difference relative to the largest output, with the limit that the type allows."""
    gap = float((ours.float() - peer.float()).abs().max() / peer.float().abs().max())
    limit = 1e-5 if ours.dtype == torch.float32 else 16 * torch.finfo(ours.dtype).eps
    return {**facts, "metric": f"max_rel_diff to {peer_name}", "unit": "", "ours": gap, "goal": limit, "met": gap <= limit}


def ratio_rows(
    measured: Mapping[str, tuple[str, float, Mapping[str, float]]],
    *,
    ours: str,
    peers: Mapping[str, str],
    goals: Mapping[tuple[str, str], float] | None = None,
    **facts: Any,
) -> list[dict[str, Any]]:
    """Return a row per metric and peer way of `measured` (metric: unit, factor, value by way); a ratio above 1 means ours needs less."""
    rows = []
    for metric, (unit, factor, values) in measured.items():
        for peer, name in peers.items():
            if ours in values and peer in values:
                ratio, goal = values[peer] / values[ours], (goals or {}).get((metric, peer))
                met = None if goal is None else ratio >= goal
                rows.append({"metric": metric, "unit": unit, "ours": factor * values[ours], "peer": factor * values[peer],
                             "peer_name": name, "ratio": ratio, "goal": goal, "met": met, **facts})  # fmt: skip
    return rows


def interleaved(ways: Ways, *, repeats: int, device: str, name: str, warm_up: int = 2) -> dict[str, float]:
    """Return the median seconds of each way, taken in turns: wall time on a GPU, CPU time on a CPU."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    cuda = device.startswith("cuda")
    wait = torch.cuda.synchronize if cuda else lambda: None
    clock = time.perf_counter if cuda else time.process_time
    for _ in tqdm(range(repeats + warm_up), desc=name, disable=None):
        for way, run in ways.items():
            wait()
            start = clock()
            run()
            wait()
            times[way].append(clock() - start)
    return {way: statistics.median(seconds[warm_up:]) for way, seconds in times.items()}
