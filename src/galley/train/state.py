"""A training run's resumable state: weights, both moments and the log, in safetensors and JSON.

Source: ours. Each process keeps what it holds (all of it, or its shards), so that nothing is gathered and nothing is
pickled; the folder takes its name when every process has written, and is one run's only, by its key.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from galley.artifact import GalleyError
from galley.train.workers import Workers

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor: its shard, or the whole of an unsharded one."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def save_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, workers: Workers, *, state: Path, key: str, step: int, log: list
) -> None:
    """Keep a step: every process writes its own files beside the final name, which they take together."""
    part = state.with_name(f".{state.name}.step{step}.part")
    if workers.rank == 0:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    workers.wait()
    moments = {
        f"{i}.{name}": local(entry[name]).detach().contiguous() for i, entry in optimizer.state_dict()["state"].items() for name in MOMENTS
    }
    weights = {name: local(p).detach().contiguous() for name, p in model.named_parameters()}
    save_file(weights, part / f"model-{workers.rank}.safetensors")
    save_file(moments, part / f"optimizer-{workers.rank}.safetensors")
    workers.wait()
    if workers.rank == 0:
        (part / "state.json").write_text(json.dumps({"key": key, "step": step, "log": log, "processes": workers.size}))
        shutil.rmtree(state, ignore_errors=True)
        part.replace(state)
    workers.wait()


def resume_state(model: nn.Module, optimizer: torch.optim.Optimizer, workers: Workers, *, state: Path | None, key: str) -> tuple[int, list]:
    """Load a kept step if it is of the same run; return its number and log.

    GalleyError when it was kept by another number of processes: the shards would not fit.
    """
    if state is None or not (state / "state.json").exists():
        return 0, []
    kept = json.loads((state / "state.json").read_text())
    if kept["key"] != key:
        return 0, []
    if kept["processes"] != workers.size:
        raise GalleyError(
            f"{state} was kept by {kept['processes']} processes, and this run has {workers.size}; go on with as many, or delete the folder"
        )
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in load_file(state / f"model-{workers.rank}.safetensors").items():
            local(parameters[name]).copy_(tensor)
    _prime(optimizer)
    entries = optimizer.state_dict()["state"]
    with torch.no_grad():
        for name, tensor in load_file(state / f"optimizer-{workers.rank}.safetensors").items():
            index, moment = name.split(".")
            local(entries[int(index)][moment]).copy_(tensor)
    return kept["step"], kept["log"]


def _prime(optimizer: torch.optim.Optimizer) -> None:
    """Let the optimiser make its moments, in their own layout, by a step that changes nothing."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
