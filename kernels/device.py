"""Which tensors the Triton kernels take.

Source: ours.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch


def takes_kernel(x: torch.Tensor) -> bool:
    """Return whether the kernels can run on x: on a GPU, in a type they know, without gradients, and Triton is there."""
    if not x.is_cuda or x.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return False
    return not (torch.is_grad_enabled() and x.requires_grad) and find_spec("triton") is not None
