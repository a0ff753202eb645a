"""Bits per byte and KL to the original on held-out windows, plain and through a KV cache.

Source: ours. A window's bytes are those of its scored tokens, decoded, so that tokenizers compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError, atomic_path, progress


@dataclass(frozen=True)
class Windows:
    """Held-out windows: ids (windows, tokens), and per window the bytes of tokens 1.., and a name."""

    ids: torch.Tensor
    token_bytes: torch.Tensor  # (windows, tokens)
    names: tuple[str, ...]

    def head(self, n: int) -> Windows:
        """Return the first n windows."""
        return Windows(self.ids[:n], self.token_bytes[:n], self.names[:n])


def heldout_windows(
    texts: Sequence[dict[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_windows: int,
    window_tokens: int,
    seed: int,
) -> Windows:
    """Return n_windows windows of window_tokens tokens, one per document first, never across documents.

    Sources take turns (in name order), so that every kind of text is in every prefix of the windows.
    """
    generator = torch.Generator().manual_seed(seed)
    queues: dict[str, list[dict[str, str]]] = {}
    for document in sorted(texts, key=lambda d: d["id"]):
        queues.setdefault(document["source"], []).append(document)
    for name, queue in queues.items():
        queues[name] = [queue[i] for i in torch.randperm(len(queue), generator=generator).tolist()]
    rows: list[list[int]] = []
    names: list[str] = []
    while len(rows) < n_windows and any(queues.values()):
        for name in sorted(queues):
            if not queues[name] or len(rows) == n_windows:
                continue
            document = queues[name].pop()
            ids = tokenizer(document["text"][: 12 * window_tokens + 2000], add_special_tokens=False)["input_ids"]
            if len(ids) >= window_tokens:
                rows.append(ids[:window_tokens])
                names.append(document["id"])
    if len(rows) < n_windows:
        raise GalleyError(
            f"heldout.windows is {n_windows}, but the held-out documents give only {len(rows)} windows of {window_tokens} "
            "tokens; lower heldout.windows or heldout.window_tokens, or raise corpus.max_bytes"
        )
    sizes = [[len(tokenizer.decode([i], clean_up_tokenization_spaces=False).encode()) for i in row] for row in rows]
    # Decoding token by token counts a split character's replacement mark; scale to the text's true length.
    true = [len(tokenizer.decode(row[1:], clean_up_tokenization_spaces=False).encode()) for row in rows]
    token_bytes = torch.tensor(sizes, dtype=torch.float64)
    token_bytes *= (torch.tensor(true) / token_bytes[:, 1:].sum(dim=1))[:, None]
    return Windows(torch.tensor(rows), token_bytes, tuple(names))


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
            rows.append(_row("heldout", "bits_per_byte", "bits/byte", name, nll / math.log(2) / size, size))
            if reference is not None:
                n = len(ids[i]) - 1
                rows.append(_row("heldout", "kl_to_original", "nats/token", name, kl / n, float(n)))
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


def cached_continuation(
    model: PreTrainedModel,
    windows: Windows,
    *,
    prefix_tokens: int,
    make_cache: Callable[[], Cache] | None = None,
    chunk: int = 32,
) -> pd.DataFrame:
    """Prefill a prefix into a cache, then score the rest through it, `chunk` tokens at a time.

    What is cached of the prefix (quantised, latent) is all that the continuation sees of it.
    """
    if not 0 < prefix_tokens < windows.ids.shape[1]:
        raise GalleyError(f"continuation prefix is {prefix_tokens}; windows have {windows.ids.shape[1]} tokens")
    rows = []
    for i, name in enumerate(progress(windows.names, what="read on through the cache")):
        ids = windows.ids[i : i + 1].to(model.device)
        cache = make_cache() if make_cache is not None else None
        nll = 0.0
        with torch.no_grad():
            out = model(ids[:, :prefix_tokens], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, last = out.past_key_values, out.logits[:, -1:]
            for start in range(prefix_tokens, ids.shape[1], chunk):
                piece = ids[:, start : start + chunk]
                out = model(piece, past_key_values=cache, use_cache=True)
                logits = torch.cat([last, out.logits[:, :-1]], dim=1)
                last = out.logits[:, -1:]
                nll += float(F.cross_entropy(logits[0].float(), piece[0], reduction="sum"))
        size = float(windows.token_bytes[i, prefix_tokens:].sum())
        rows.append(_row("cached_continuation", "bits_per_byte", "bits/byte", name, nll / math.log(2) / size, size))
    return pd.DataFrame(rows)


def _row(benchmark: str, metric: str, unit: str, item_id: str, score: float, weight: float) -> dict:
    return {"benchmark": benchmark, "metric": metric, "unit": unit, "item_id": item_id, "score": score,
            "weight": weight, "status": "ok", "reason": ""}  # fmt: skip


def not_run(benchmark: str, metric: str, unit: str, reason: str) -> dict:
    """Return the row of a benchmark that could not be run: a reason and no score."""
    return {**_row(benchmark, metric, unit, "", float("nan"), 1.0), "status": "not_run", "reason": reason}
