"""The table of kernels: the builds' rows beside the least time of a decode step on each GPU, from shapes and data sheets.

Source: ours. Roofline times are models and are marked so; no GPU has run these kernels yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from galley.artifact import GalleyError, atomic_path
from galley.kernels.datasheets import GPUS, roofline_seconds
from galley.kernels.flash_fourier import cost
from galley.kernels.mla_decode import cost as mla

LENGTHS = (4096, 16384, 32768)
WAYS: dict[str, tuple[Callable[..., float], Callable[..., float]]] = {
    "spectral": (cost.spectral_flops, cost.cache_bytes),
    "rebuild": (cost.rebuild_flops, cost.cache_bytes),
    "full cache": (cost.full_flops, cost.full_bytes),
}


def shape_of(tokens: int, *, d_h: int) -> cost.Shape:
    """Return one layer's step of an 8B-like model: 32 heads over 8 KV heads, 512 orders, 76.6 % of the channels compressed."""
    n_c = int(0.766 * 8 * d_h)
    return cost.Shape(32, 8, d_h, 1024, tokens - 1024, tokens - 1024, 512, n_c, n_c)


def mla_shape(tokens: int, *, d_h: int) -> mla.Shape:
    """Return one layer's absorbed step of the same model: a quarter of each head rotated, a latent of a quarter head a KV head."""
    return mla.Shape(32, 8, d_h // 4, 2 * d_h, 2 * d_h, 2 * d_h, tokens)


def roofline_rows() -> pd.DataFrame:
    """Return FLOPs, bytes and the data sheet's least microseconds of a step by way, head size, tokens and GPU."""
    rows = []
    for d_h in (64, 128):
        for tokens in LENGTHS:
            shape, latent = shape_of(tokens, d_h=d_h), mla_shape(tokens, d_h=d_h)
            counts = {f"flash_fourier ({way})": (flops(shape), size(shape)) for way, (flops, size) in WAYS.items()}
            counts["mla_decode (absorbed)"] = (mla.absorbed_flops(latent), mla.latent_bytes(latent))
            for kernel, (flops, size) in counts.items():
                for gpu in GPUS:
                    # Absorbed scores and outputs run on tensor cores in 16 bits, the rest in fp32.
                    least = roofline_seconds(gpu, flops=flops, size=size, half=kernel.startswith("mla"))
                    rows.append({"kernel": kernel, "target": gpu.target, "d_h": d_h, "tokens": tokens, "gpu": gpu.name,
                                 "gflop": flops / 1e9, "mbyte": size / 1e6, "roofline_us": 1e6 * least,
                                 "status": "model", "reason": "from data-sheet peaks; not a measurement"})  # fmt: skip
    return pd.DataFrame(rows)


def write_table(builds: Sequence[Path], out: Path) -> None:
    """Write the builds' rows and the roofline rows as one csv; GalleyError for a build that is not there."""
    absent = [str(path) for path in builds if not Path(path).exists()]
    if absent:
        raise GalleyError(f"no build at {absent[0]}; run `galley build-kernel` first, or `snakemake results/table_kernels.csv`")
    frame = pd.concat([*(pd.read_csv(path) for path in builds), roofline_rows()], ignore_index=True)
    with atomic_path(out) as part:
        frame.to_csv(part, index=False, float_format="%.6g")
