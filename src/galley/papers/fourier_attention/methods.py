"""From a method of the recipe to a cache filled from a prompt's prefill.

arXiv:2506.11886, section 4 (baselines). `whole_times` keeps that many times the whole tokens of FourierAttention; a method with `bytes_of`
instead takes as much as fits into the bytes that the named method needed for the same prompt (equal.py).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.fourier import FourierCache
from galley.caches.h2o import H2OCache
from galley.caches.kivi import KiviCache
from galley.caches.palu import PaluCache, decompose
from galley.caches.prefill import Prefill
from galley.caches.pyramidkv import PyramidKVCache
from galley.caches.quantized import make_quantized_cache
from galley.caches.rope import head_dim, kv_heads
from galley.caches.sink_window import SinkWindowCache
from galley.caches.snapkv import SnapKVCache
from galley.papers.fourier_attention.controls import changed, through_legt, with_noise
from galley.papers.fourier_attention.equal import KIVI_GROUP, rank_at, residual_at, tokens_within
from galley.papers.fourier_attention.plan import Method, Plan
from galley.papers.fourier_attention.selection import choose_channels

SNAP_WINDOW = 32  # the authors' observation window for SnapKV
Maker = Callable[[Prefill, Any], Cache]


@dataclass
class Bench:
    """What filling caches needs beside the prompt: model, calibration (errors by mode, moments), plan, and what is remembered."""

    model: PreTrainedModel
    errors: Mapping[str, torch.Tensor]
    plan: Plan
    budgets: dict[tuple[str, int], int] = field(default_factory=dict)  # bytes by method and prompt length
    decomposed: dict[int, list] = field(default_factory=dict)  # Palu's directions by heads in a group

    @cached_property
    def named(self) -> dict[str, Method]:
        """Return the plan's methods by name."""
        return {method.name: method for method in self.plan.methods}

    def directions(self, group_heads: int) -> list:
        """Return the singular directions of the model's projections for Palu, weighted by the calibration text; found once."""
        if group_heads not in self.decomposed:
            self.decomposed[group_heads] = decompose(self.model, group_heads=group_heads, moments=self.errors.get("moments"))
        return self.decomposed[group_heads]

    def budget(self, name: str, prompt: Prefill) -> int:
        """Return the bytes that a Fourier method needs for a prompt; they depend on its length only."""
        key = (name, prompt.ids.shape[1])
        if key not in self.budgets:
            other = fill(self.named[name], prompt, bench=self)
            assert isinstance(other, CompressedCache)
            self.budgets[key] = other.nbytes()
        return self.budgets[key]


def make_makers(model: PreTrainedModel, errors: Mapping[str, torch.Tensor], plan: Plan) -> dict[str, Maker]:
    """Return a function per method that fills its cache; `errors` are the calibrated channel errors by mode, and `moments`."""
    bench = Bench(model, errors, plan)

    def maker(method: Method) -> Maker:
        return lambda prompt, item: fill(method, prompt, bench=bench)

    return {method.name: maker(method) for method in plan.methods}


def fill(method: Method, prompt: Prefill, *, bench: Bench) -> Cache:
    """Return the method's cache of one prompt."""
    model, plan, tokens = bench.model, bench.plan, prompt.ids.shape[1]
    config, layout = model.config, plan.cut(tokens)
    budget = bench.budget(method.bytes_of, prompt) if method.bytes_of is not None else None
    if method.cache == "fourier":
        return fourier_cache(method, prompt, bench=bench)
    if method.cache == "quantized":
        cache = make_quantized_cache(model, backend="hqq", nbits=method.nbits, residual_length=layout.local)
        for index, (keys, values) in enumerate(zip(prompt.keys, prompt.values, strict=True)):
            cache.update(keys, values, index)
        return cache
    if method.cache == "kivi":
        group = min(KIVI_GROUP, head_dim(config))
        residual = max(group, layout.local // group * group)
        if budget is not None:
            residual = residual_at(budget, prompt, nbits=method.nbits, group=group)
        return KiviCache(config, nbits=method.nbits, group=group, residual=residual, hold=True).fill(prompt)
    if method.cache == "palu":
        return palu_cache(method, prompt, budget=budget, bench=bench).fill(prompt)
    kept = min(tokens, round(method.whole_times * (layout.sinks + layout.local)))
    if budget is not None:
        kept = tokens_within(budget, prompt, sums=method.cache == "h2o")
    if method.cache == "sink_window":
        return SinkWindowCache(config, sinks=layout.sinks, window=kept - layout.sinks, reindex=False).fill(prompt)
    if method.cache in ("snapkv", "pyramidkv"):
        kind = SnapKVCache if method.cache == "snapkv" else PyramidKVCache
        return kind(config, capacity=kept, window=min(SNAP_WINDOW, kept // 2)).fill(prompt)
    if method.cache == "h2o":
        return H2OCache(config, heavy=kept - kept // 2, recent=kept // 2).fill(prompt)
    if method.cache == "noise":
        seed = drawn(plan, prompt)
        prompt = with_noise(prompt, pairs=method.pairs, scale=method.noise, sinks=layout.sinks, local=layout.local, seed=seed)
    if method.cache == "legt" and layout.n_middle > 2 * layout.orders:
        errors, seed = bench.errors["legt"], drawn(plan, prompt)
        channels = choose_channels(errors, scheme=method.scheme, choice=method.choice, sides=method.sides, seed=seed)
        prompt = through_legt(prompt, channels=channels, reals=2 * layout.orders, sinks=layout.sinks, local=layout.local)
    return CompressedCache(layers=[CompressedLayer() for _ in prompt.keys]).fill(prompt)


def fourier_cache(method: Method, prompt: Prefill, *, bench: Bench) -> CompressedCache:
    """Return the Fourier cache of a prompt; one too short to be compressed stays whole, as in the authors' code."""
    plan, layout = bench.plan, bench.plan.cut(prompt.ids.shape[1])
    channels = choose_channels(
        bench.errors["ours" if method.mode == "ours" else "official"],
        scheme=method.scheme, choice=method.choice, sides=method.sides, seed=drawn(plan, prompt),
    )  # fmt: skip
    cache = FourierCache(
        bench.model.config, channels=channels, orders=max(1, round(layout.orders * method.orders_times)), sinks=layout.sinks,
        local=layout.local, mode=method.mode, max_new_tokens=plan.max_new_tokens, audits=method.audits, hold=True,
    )  # fmt: skip
    cache.fill(prompt)
    return changed(cache, how=method.coefficients, seed=drawn(plan, prompt))


def drawn(plan: Plan, prompt: Prefill) -> int:
    """Return the seed of what is drawn by lot for a prompt: channels, phases, noise.

    Each prompt has its own, so that an interval over prompts says what another draw would have changed too.
    """
    return zlib.crc32(prompt.ids.cpu().numpy().tobytes(), plan.data_seed)


def palu_cache(method: Method, prompt: Prefill, *, budget: int | None, bench: Bench) -> PaluCache:
    """Return an empty Palu cache at the method's energy or share of the dims, or at the rank that `budget` bytes allow."""
    n_kv, width = kv_heads(bench.model.config), head_dim(bench.model.config)
    heads = method.group_heads or n_kv
    directions = bench.directions(heads)
    if budget is None and method.energy is not None:
        return PaluCache(bench.model, energy=method.energy, directions=directions, hold=True)
    rank = max(1, round(method.rank_fraction * heads * width)) if budget is None else rank_at(budget, prompt, groups=n_kv // heads)
    return PaluCache(bench.model, rank=min(rank, heads * width - 1), directions=directions, hold=True)
