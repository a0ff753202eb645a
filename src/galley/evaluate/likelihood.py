"""Held-out windows of text, and their bits per byte read on through a KV cache.

Source: ours. Without a cache windows are scored by galley.models.likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.models.likelihood import Windows, item_row
from galley.progress import progress


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
        rows.append(item_row("cached_continuation", "bits_per_byte", "bits/byte", name, nll / math.log(2) / size, size))
    return pd.DataFrame(rows)


def not_run(benchmark: str, metric: str, unit: str, reason: str) -> dict:
    """Return the row of a benchmark that could not be run: a reason and no score."""
    return {**item_row(benchmark, metric, unit, "", 0.0, 1.0), "score": math.nan, "status": "not_run", "reason": reason}
