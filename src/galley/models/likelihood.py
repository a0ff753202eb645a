"""How likely a causal model finds windows of text: bits per byte, and KL to another model, without a cache.

Source: ours. A window's bytes are those of its scored tokens, decoded, so that tokenizers compare. Training scores its points
with it and evaluation its arms; where windows come from is evaluation's business (galley.evaluate.likelihood).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import PreTrainedModel

from galley.artifact import GalleyError, atomic_path
from galley.progress import progress


@dataclass(frozen=True)
class Windows:
    """Held-out windows: ids (windows, tokens), and per window the bytes of tokens 1.., and a name."""

    ids: torch.Tensor
    token_bytes: torch.Tensor  # (windows, tokens)
    names: tuple[str, ...]

    def head(self, n: int) -> Windows:
        """Return the first n windows."""
        return Windows(self.ids[:n], self.token_bytes[:n], self.names[:n])


def save_windows(windows: Windows, path: Path) -> None:
    """Write windows as safetensors, for another process."""
    tensors = {"ids": windows.ids.contiguous(), "token_bytes": windows.token_bytes.contiguous()}
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"names": json.dumps(windows.names)})


def load_windows(path: Path) -> Windows:
    """Read what `save_windows` wrote."""
    with safe_open(path, framework="pt") as file:
        return Windows(file.get_tensor("ids"), file.get_tensor("token_bytes"), tuple(json.loads(file.metadata()["names"])))


def final_states(model: PreTrainedModel, windows: Windows, *, batch_size: int = 4) -> torch.Tensor:
    """Return the last hidden states of all windows, (windows, tokens, d): what a later comparison need not compute again."""
    with torch.no_grad():
        parts = windows.ids.to(model.device).split(batch_size)
        return torch.cat([model.model(ids, use_cache=False).last_hidden_state for ids in parts])


def score_windows(
    model: PreTrainedModel,
    windows: Windows,
    *,
    reference: PreTrainedModel | None = None,
    reference_states: torch.Tensor | None = None,
    batch_size: int = 4,
) -> pd.DataFrame:
    """Return one row per window: bits_per_byte, and with `reference` also kl_to_original (nats a token).

    `reference_states`, from `final_states`, spares the reference's forward pass.
    """
    rows = []
    for start in progress(range(0, len(windows.ids), batch_size), what="score windows"):
        ids = windows.ids[start : start + batch_size].to(model.device)
        with torch.no_grad():
            hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
            theirs = None
            if reference_states is not None:
                theirs = reference_states[start : start + batch_size, :-1]
            elif reference is not None:
                theirs = reference.model(ids, use_cache=False).last_hidden_state[:, :-1]
        for i in range(len(ids)):
            name, size = windows.names[start + i], float(windows.token_bytes[start + i, 1:].sum())
            nll, kl = _window(model, hidden[i], ids[i, 1:], reference=reference, theirs=None if theirs is None else theirs[i])
            rows.append(item_row("heldout", "bits_per_byte", "bits/byte", name, nll / math.log(2) / size, size))
            if reference is not None:
                n = len(ids[i]) - 1
                rows.append(item_row("heldout", "kl_to_original", "nats/token", name, kl / n, float(n)))
    return pd.DataFrame(rows)


def _window(
    model: PreTrainedModel,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    reference: PreTrainedModel | None,
    theirs: torch.Tensor | None,
    chunk: int = 256,
) -> tuple[float, float]:
    """Return a window's summed NLL and KL(original || ours) in nats, logits made a chunk at a time."""
    nll = kl = 0.0
    with torch.no_grad():
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            ours = model.lm_head(hidden[part]).float().log_softmax(dim=-1)
            nll += float(F.nll_loss(ours, targets[part], reduction="sum"))
            if reference is not None and theirs is not None:
                original = reference.lm_head(theirs[part]).float().log_softmax(dim=-1)
                kl += float(F.kl_div(ours, original, reduction="sum", log_target=True))
    return nll, kl


def item_row(benchmark: str, metric: str, unit: str, item_id: str, score: float, weight: float) -> dict:
    """Return the item row of one score; `weight` is the item's share of the mean. GalleyError for a score that is not finite."""
    if not math.isfinite(score):  # a mean by pandas would pass NaN over
        raise GalleyError(
            f"{metric} of {benchmark} {item_id!r} is {score}: the model's numbers overflow or are none; take weights and a config.json "
            "that work together, or an earlier checkpoint"
        )
    return {"benchmark": benchmark, "metric": metric, "unit": unit, "item_id": item_id, "score": score,
            "weight": weight, "status": "ok", "reason": ""}  # fmt: skip
