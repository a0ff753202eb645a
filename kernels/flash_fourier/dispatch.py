"""One call for a decode step over a partly spectral cache: the Triton kernels on a GPU, torch elsewhere.

Source: ours.
"""

from __future__ import annotations

import torch

from galley.kernels.device import takes_kernel
from galley.kernels.flash_fourier import reference
from galley.kernels.flash_fourier.step import FourierStep, Plan, make_plan


def decode(step: FourierStep, plan: Plan | None = None) -> torch.Tensor:
    """Attend in spectral space; (B, n_h, d_h) in q's dtype. `plan` is make_plan of the prompt's first step, kept from step to step."""
    plan = plan or make_plan(step)
    if takes_kernel(step.q):
        from galley.kernels.flash_fourier import triton

        return triton.spectral(step, plan)
    return reference.spectral(step, plan)
