"""A training run's resumable state: weights, both moments and the log, in safetensors and JSON.

Source: ours. Each process keeps what it holds (all of it, or its shards), so that nothing is gathered and nothing is
pickled; the folder takes its name when every process has written, and is one run's only, by its key.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from galley.artifact import GalleyError, part_of
from galley.train.workers import Workers

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor: its shard, or the whole of an unsharded one."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def save_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, workers: Workers, *, state: Path, key: str, step: int, log: list
) -> None:
    """Keep a step: every process writes its own files beside the final name, which they take together."""
    shared = contextlib.nullcontext(state.with_name(f".{state.name}.step{step}.part"))  # the first process's, by its name
    with part_of(state, named=f"step{step}") if workers.rank == 0 else shared as folder:
        _save(model, optimizer, workers, part=folder / "state", state=state, key=key, step=step, log=log)


def _save(
    model: nn.Module, optimizer: torch.optim.Optimizer, workers: Workers, *, part: Path, state: Path, key: str, step: int, log: list
) -> None:
    if workers.rank == 0:
        part.mkdir()
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
        if state.exists():  # moved, not removed: a kill must not leave half of it in its place
            state.replace(part.with_name("former"))
        part.replace(state)
    workers.wait()


def resume_state(model: nn.Module, optimizer: torch.optim.Optimizer, workers: Workers, *, state: Path | None, key: str) -> tuple[int, list]:
    """Load a kept step if it is of the same run; return its number and log.

    One that is not whole (a machine that lost power) is said and not used: the run starts anew, and ends in the same bytes.
    GalleyError when it was kept by another number of processes: the shards would not fit.
    """
    if state is None or not (state / "state.json").exists():
        return 0, []
    try:
        kept = json.loads((state / "state.json").read_text())
    except ValueError:
        return _anew(state, workers)
    if kept["key"] != key:
        return 0, []
    if kept["processes"] != workers.size:
        raise GalleyError(
            f"{state} was kept by {kept['processes']} processes, and this run has {workers.size}; go on with as many, or delete the folder"
        )
    parameters = {name: local(p) for name, p in model.named_parameters()}
    learning = [local(p) for group in optimizer.param_groups for p in group["params"]]
    shapes = {f"{i}.{m}": p.shape if m != "step" else torch.Size() for i, p in enumerate(learning) for m in MOMENTS}
    weights = _whole(state / f"model-{workers.rank}.safetensors", {name: p.shape for name, p in parameters.items()})
    moments = _whole(state / f"optimizer-{workers.rank}.safetensors", shapes)
    if workers.mean(float(weights is None or moments is None)):  # one process's broken file is everyone's
        return _anew(state, workers)
    assert weights is not None and moments is not None
    _prime(optimizer)
    entries = optimizer.state_dict()["state"]
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)
        for name, tensor in moments.items():
            index, moment = name.split(".")
            local(entries[int(index)][moment]).copy_(tensor)
    return kept["step"], kept["log"]


def _whole(path: Path, shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor] | None:
    """Return a kept file's tensors; None when it is missing or cut off, or holds other tensors or shapes than this run's."""
    try:
        kept = load_file(path)
    except (OSError, SafetensorError):
        return None
    return kept if {name: tensor.shape for name, tensor in kept.items()} == shapes else None


def _anew(state: Path, workers: Workers) -> tuple[int, list]:
    """Say that a kept step cannot be used; return the start of a run."""
    if workers.rank == 0:
        sys.stderr.write(f"the kept step in {state} is not whole and is not used: the training starts anew\n")
    return 0, []


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
