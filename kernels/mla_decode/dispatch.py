"""One call for an absorbed decode step: the Triton kernels on a GPU, torch elsewhere.

Source: ours.
"""

from __future__ import annotations

import torch

from galley.kernels.device import takes_kernel
from galley.kernels.mla_decode.reference import absorbed
from galley.kernels.mla_decode.step import MlaStep, check


def decode(step: MlaStep) -> torch.Tensor:
    """Attend; (B, n_h, R_v). Tensors that need gradients, float64 and machines without a GPU or Triton take the torch way."""
    check(step)
    if takes_kernel(step.c):
        from galley.kernels.mla_decode import triton

        return triton.decode(step)
    return absorbed(step)
