"""Latency of one decode step after a prefill, in milliseconds.

Source: ours. Medians after warm-up; a comparison belongs in a bench, where peers are interleaved.
"""

from __future__ import annotations

import time

import pandas as pd
import torch
from transformers import PreTrainedModel


def decode_latency(model: PreTrainedModel, *, cached_tokens: int, repeats: int = 15) -> pd.DataFrame:
    """Return the prefill time and the median decode step after `cached_tokens` tokens, batch 1."""
    ids = torch.randint(0, model.config.vocab_size, (1, cached_tokens), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = time.perf_counter()
        out = model(ids, use_cache=True, logits_to_keep=1)
        prefill = time.perf_counter() - start
        steps = []
        for _ in range(repeats):
            start = time.perf_counter()
            out = model(ids[:, :1], past_key_values=out.past_key_values, use_cache=True)
            steps.append(time.perf_counter() - start)
    median = sorted(steps[3:])[len(steps[3:]) // 2]
    rows = [("prefill", "ms_per_token", 1000 * prefill / cached_tokens), ("decode", "ms_per_token", 1000 * median)]
    return pd.DataFrame(
        {"benchmark": b, "metric": m, "unit": "ms/token", "item_id": f"cached={cached_tokens}", "score": s, "weight": 1.0,
         "status": "ok", "reason": ""} for b, m, s in rows
    )  # fmt: skip
