"""Peak figures of GPUs from their data sheets, for roofline models; nothing here is measured.

Sources: NVIDIA A100 (SXM 80 GB), NVIDIA H100 (SXM) and AMD Instinct MI300X data sheets; dense, without sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU: its compile target, peak operations a second in fp32 and in 16 bits on matrix units, and memory bytes a second."""

    name: str
    target: str
    fp32_flops: float
    half_flops: float
    bytes_per_s: float


GPUS = (
    Gpu("A100-SXM-80GB", "sm_80", 19.5e12, 312e12, 2.039e12),
    Gpu("H100-SXM", "sm_90", 67e12, 989.4e12, 3.35e12),
    Gpu("MI300X", "gfx942", 163.4e12, 1307.4e12, 5.3e12),
)


def roofline_seconds(gpu: Gpu, *, flops: float, size: float, half: bool = False) -> float:
    """Return the least time that the data sheet allows: the larger of compute and memory time (a model, not a measurement)."""
    return max(flops / (gpu.half_flops if half else gpu.fp32_flops), size / gpu.bytes_per_s)
