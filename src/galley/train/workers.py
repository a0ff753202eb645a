"""The processes of a training run: one alone, or several that share the weights by FSDP.

Source: ours, on torch's fully_shard (FSDP2) and an environment that `accelerate launch` made from recipes/accelerate/fsdp.yaml.
Several processes take equal parts of each global batch, so that the mean of their losses and gradients is the whole batch's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


class Objective(nn.Module):
    """The model as micro-batch -> loss: the one forward pass of training, so that FSDP has one root to gather."""

    def __init__(self, model: PreTrainedModel, loss: Callable[[PreTrainedModel, Any], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, part: Any) -> torch.Tensor:
        """Return the mean loss of a micro-batch."""
        return self.loss(self.model, part)


class Workers:
    """One process alone: nothing to share, nobody to wait for."""

    rank, size = 0, 1

    def share(self, objective: Objective, *, low_precision: bool) -> None:
        """Spread the objective's weights over the processes, in place."""

    def wait(self) -> None:
        """Return when every process has come here."""

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        return value

    def last_backward(self, objective: Objective, last: bool) -> None:
        """Say whether the next backward pass is the step's last: gradients are exchanged only there."""

    def full_weights(self, objective: Objective) -> dict[str, Any]:
        """Return all weights, whole and on the CPU; on other ranks than the first, an empty mapping."""
        return {name: tensor.detach().cpu() for name, tensor in objective.model.state_dict().items()}


class Sharded(Workers):
    """This process among those of an `accelerate launch`, over NCCL on GPUs and gloo on CPUs."""

    def __init__(self, device: torch.device) -> None:
        import torch.distributed as dist
        from torch.distributed.device_mesh import init_device_mesh

        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device, self.mesh = device, init_device_mesh(device.type, (self.size,))

    def share(self, objective: Objective, *, low_precision: bool) -> None:
        """Shard each decoder layer and then the rest; bf16 products over float32 weights when `low_precision`."""
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if low_precision else MixedPrecisionPolicy()
        offload = CPUOffloadPolicy() if _flag("FSDP_OFFLOAD_PARAMS") else OffloadPolicy()
        settings: dict[str, Any] = {"mesh": self.mesh, "mp_policy": policy, "offload_policy": offload}
        again = _flag("FSDP_RESHARD_AFTER_FORWARD", default=True)
        if _flag("FSDP_ACTIVATION_CHECKPOINTING"):
            objective.model.gradient_checkpointing_enable({"use_reentrant": False})
        for layer in objective.model.model.layers:
            fully_shard(layer, reshard_after_forward=again, **settings)
        fully_shard(objective, reshard_after_forward=False, **settings)

    def wait(self) -> None:
        """Return when every process has come here."""
        torch.distributed.barrier()

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return total.item() / self.size

    def last_backward(self, objective: Objective, last: bool) -> None:
        """Say whether the next backward pass is the step's last: gradients are exchanged only there."""
        objective.set_requires_gradient_sync(last)  # type: ignore[operator]

    def full_weights(self, objective: Objective) -> dict[str, Any]:
        """Return all weights, whole and on the CPU; on other ranks than the first, an empty mapping."""
        full: dict[str, Any] = {}
        for name, tensor in objective.model.state_dict().items():
            whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            if self.rank == 0:
                full[name] = whole.detach().cpu()
        return full


def _flag(name: str, *, default: bool = False) -> bool:
    """Return a yes or no of the launch's configuration file, as accelerate hands it to its processes."""
    return os.environ.get(name, str(default)).lower() in ("1", "true", "yes")
