"""Where a stage computes: a matter of the run, never of the recipe.

The plan's model says how many GPUs it wants; `auto` gives a model that wants any the GPU, and every other the CPU. A GPU
that is asked for and is not there is an error before any work, never a silent fallback.

Source: ours.
"""

from __future__ import annotations

import os

import torch

from galley.artifact import GalleyError
from galley.recipe import DEVICES


def resolve_device(wanted: str, *, model: str = "", gpus: int = 0) -> torch.device:
    """Return the device for a model that the plan gives `gpus` GPUs; each process of a launch takes its own GPU.

    GalleyError: a device that is not in DEVICES, or a GPU that is asked for (by name or by the plan) and not there.
    """
    if wanted not in DEVICES:
        raise GalleyError(f"--device is {wanted!r}; allowed: {', '.join(DEVICES)}")
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return torch.device("cpu")
    need_gpu(f"models.{model} asks for {gpus} GPU{'s' * (gpus > 1)}" if wanted == "auto" else "--device is 'cuda'")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def need_gpu(asks: str) -> None:
    """Refuse to go on without a GPU, where something `asks` for one."""
    if not torch.cuda.is_available():
        why = "this build of torch has no CUDA" if torch.version.cuda is None else "torch sees none (CUDA_VISIBLE_DEVICES, driver?)"
        raise GalleyError(
            f"{asks}, and there is none here: {why}. Run where there is one (docs/cluster.md), compute on the CPU with `--device cpu` "
            "(snakemake: `--config device=cpu`), or take a smaller scale with `--config scale=laptop`"
        )


def device_name(device: torch.device) -> str:
    """Return what the rows say of a device: cpu, or the GPU's own name."""
    if device.type != "cuda":
        return device.type
    return f"cuda ({torch.cuda.get_device_name(device)})" if torch.cuda.is_available() else "cuda"


def release(device: torch.device) -> None:
    """Give unused GPU memory back, for what another process needs."""
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()
