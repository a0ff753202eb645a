"""Layer-wise distillation: each converted attention layer learns to give what the original layer gives, on the original's own input.

Source: ours (an option beside the paper's fine-tuning, off by default); the loss is the mean over layers of
||student(x) - teacher(x)||^2 / ||teacher(x)||^2. All layers learn side by side from one pass of the teacher, since a
student layer sees the teacher's input, not that of the student below it. Only the attention layers change.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn
from transformers import PreTrainedModel

from galley.progress import progress
from galley.train.packing import batch


def distill_attention(
    student: PreTrainedModel, teacher: PreTrainedModel, data: torch.Tensor, *, steps: int, batch_size: int, lr: float, seed: int
) -> pd.DataFrame:
    """Train the student's attention in place on packed ids (sequences, tokens); return step and loss (relative squared error)."""
    layers = list(zip(student.model.layers, teacher.model.layers, strict=True))
    for parameter in student.parameters():
        parameter.requires_grad_(False)
    params = [p.requires_grad_(True) for layer, _ in layers for p in layer.self_attn.parameters()]
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=0.0)
    log = []
    with _recorded([layer.self_attn for _, layer in layers]) as calls:
        for step in progress(range(steps), what="distill"):
            calls.clear()
            with torch.no_grad():
                teacher.model(batch(data, step=step, batch_size=batch_size, seed=seed).to(teacher.device), use_cache=False)
            loss = 0.0
            for (layer, _), (kwargs, wanted) in zip(layers, calls, strict=True):
                got = layer.self_attn(**kwargs)[0]
                part = (got - wanted).float().square().sum() / wanted.float().square().sum() / len(layers)
                part.backward()  # layer by layer: only one layer's activations are alive
                loss += part.item()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            log.append({"step": step + 1, "loss": loss})
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    return pd.DataFrame(log)


class _recorded:
    """Record every call of the given modules, in order: keyword arguments and first output."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.calls: list[tuple[dict, torch.Tensor]] = []
        self.modules = modules

    def __enter__(self) -> list[tuple[dict, torch.Tensor]]:
        def hook(module, args, kwargs, output):
            self.calls.append((kwargs | {"past_key_values": None}, output[0]))

        self.handles = [m.register_forward_hook(hook, with_kwargs=True) for m in self.modules]
        return self.calls

    def __exit__(self, *error) -> None:
        for handle in self.handles:
            handle.remove()
