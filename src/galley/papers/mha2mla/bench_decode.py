"""Decode: one step of the converted model (latent cache, absorbed) against the original with DynamicCache.

Source: ours. The caches are filled with random states, which cost a step the same time as real ones.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import Cache, DynamicCache, PreTrainedModel

from galley.caches.latent import LatentCache
from galley.models.device import device_name
from galley.models.loading import load_model
from galley.papers.mha2mla.bench_rows import ratio_row
from galley.papers.mha2mla.convert import convert_mla

LENGTHS = (512, 2048, 4096, 8192)
GOALS = {2048: 1.0, 8192: 1.5}
D_KV = 16


def bench_decode(
    base: Path, *, device: torch.device, lengths: tuple[int, ...] = LENGTHS, repeats: int = 21, warm_up: int = 3
) -> list[dict[str, Any]]:
    """Return a time and a byte row per number of cached tokens, and a prefill row; batch 1, float32 on a CPU and bf16 on a GPU."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    original = load_model(base, dtype=dtype, device=device)
    d_h = original.config.hidden_size // original.config.num_attention_heads
    converted = convert_mla(original, strategy="high", r=d_h // 16, d_kv=D_KV)
    facts: dict[str, Any] = {"threads": torch.get_num_threads(), "dtype": str(dtype).removeprefix("torch."), "device": device_name(device)}
    rows = [prefill_row(original, converted, **facts)]
    for tokens in lengths:
        caches = [filled(original, DynamicCache(config=original.config), tokens), filled(converted, LatentCache(), tokens)]
        times: list[list[float]] = [[], []]
        for _ in tqdm(range(repeats + warm_up), desc=f"decode at {tokens}", disable=None):
            for which, model in enumerate((original, converted)):
                times[which].append(step_seconds(model, caches[which]))
        peer, ours = (1000 * statistics.median(t[warm_up:]) for t in times)
        facts["n"] = repeats
        setting = f"d_kv={D_KV},cached={tokens},batch=1"
        rows.append(
            ratio_row(part="decode", setting=setting, metric="step", unit="ms", ours=ours, peer=peer, higher_is_better=False,
                      peer_name="original, DynamicCache, SDPA", goal=GOALS.get(tokens), **facts)
        )  # fmt: skip
        bytes_peer, bytes_ours = (sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) for cache in caches)
        rows.append(
            ratio_row(part="decode", setting=setting, metric="cache", unit="bytes", ours=bytes_ours, peer=bytes_peer,
                      higher_is_better=False, peer_name="original, DynamicCache", goal=2 * d_h / (2 * (d_h // 16) + D_KV), **facts)
        )  # fmt: skip
    return rows


def prefill_row(
    original: PreTrainedModel, converted: PreTrainedModel, *, tokens: int = 1024, repeats: int = 5, **facts: Any
) -> dict[str, Any]:
    """Return the time to read a prompt into the cache, both models in turn: the converted one expands keys and values once."""
    ids = torch.randint(10, original.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(0)).to(original.device)
    times: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for which, model in enumerate((original, converted)):
            times[which].append(timed(model, ids))
    peer, ours = (1000 * statistics.median(t[1:]) for t in times)
    return ratio_row(part="decode", setting=f"d_kv={D_KV},prompt={tokens},batch=1", metric="prefill", unit="ms", ours=ours, peer=peer,
                     higher_is_better=False, peer_name="original, DynamicCache, SDPA", goal=None, n=repeats, **facts)  # fmt: skip


def timed(model: PreTrainedModel, ids: torch.Tensor, **inputs: Any) -> float:
    """Return the seconds of one forward pass with a cache, to its end on a GPU too."""
    with torch.no_grad():
        start = time.perf_counter()
        model(ids, use_cache=True, logits_to_keep=1, **inputs)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return time.perf_counter() - start


def filled(model: PreTrainedModel, cache: Cache, tokens: int) -> Cache:
    """Return the cache with `tokens` tokens of random states, in the shapes that the model itself caches."""
    with torch.no_grad():
        shapes = model(torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=True).past_key_values
    generator = torch.Generator().manual_seed(0)
    for i, layer in enumerate(shapes.layers):
        states = [torch.randn(*x.shape[:2], tokens, x.shape[3], generator=generator).to(x) for x in (layer.keys, layer.values)]
        cache.update(*states, i)
    return cache


def step_seconds(model: PreTrainedModel, cache: Cache) -> float:
    """Return the time of one decode step; the new token is cropped off afterwards."""
    seconds = timed(model, torch.ones(1, 1, dtype=torch.long, device=model.device), past_key_values=cache)
    cache.crop(-1)
    return seconds
