"""From a method of the recipe to a cache filled from a prompt's prefill.

arXiv:2506.11886, section 4 (baselines) and the motivation test of section 2 (noise). Methods with `bytes_of` keep as many
tokens (palu: as wide a latent) as fit into the bytes that the named method needed for the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from transformers import Cache, PreTrainedModel

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.fourier import FourierCache
from galley.caches.h2o import H2OCache
from galley.caches.kivi import KiviCache
from galley.caches.palu import PaluCache, decompose, rank_within
from galley.caches.prefill import Prefill
from galley.caches.pyramidkv import PyramidKVCache
from galley.caches.quantized import make_quantized_cache
from galley.caches.rope import head_dim, kv_heads
from galley.caches.sink_window import SinkWindowCache
from galley.caches.snapkv import SnapKVCache
from galley.evaluate.cached_needles import NeedleItem
from galley.papers.fourier_attention.plan import Method, Plan
from galley.papers.fourier_attention.selection import choose_channels

SNAP_WINDOW = 32  # the authors' observation window for SnapKV
KIVI_GROUP = 32  # KIVI's own group size
Maker = Callable[[Prefill, NeedleItem], Cache]


def make_makers(model: PreTrainedModel, errors: Mapping[str, torch.Tensor], plan: Plan) -> dict[str, Maker]:
    """Return a function per method that fills its cache; `errors` are the calibrated channel errors by mode, and `moments` for Palu."""
    named = {method.name: method for method in plan.methods}
    budgets: dict[tuple[str, int], int] = {}
    decomposed: dict[int, list] = {}

    def maker(method: Method) -> Maker:
        return lambda prompt, item: fill(
            method, prompt, model=model, errors=errors, plan=plan, named=named, budgets=budgets, decomposed=decomposed
        )

    return {method.name: maker(method) for method in plan.methods}


def fill(
    method: Method,
    prompt: Prefill,
    *,
    model: PreTrainedModel,
    errors: Mapping[str, torch.Tensor],
    plan: Plan,
    named: Mapping[str, Method],
    budgets: dict[tuple[str, int], int],
    decomposed: dict[int, list],
) -> Cache:
    """Return the method's cache of one prompt.

    `budgets` remembers the bytes of methods that others may use, by length; `decomposed` the model's projections, by group of heads.
    """
    tokens = prompt.ids.shape[1]
    layout = plan.layout(tokens)
    if method.cache == "fourier":
        return fourier_cache(model, method, errors=errors, plan=plan, tokens=tokens).fill(prompt)
    if method.cache == "quantized":
        cache = make_quantized_cache(model, backend="hqq", nbits=method.nbits, residual_length=layout.local)
        for index, (keys, values) in enumerate(zip(prompt.keys, prompt.values, strict=True)):
            cache.update(keys, values, index)
        return cache
    if method.cache == "kivi":
        residual = max(KIVI_GROUP, layout.local // KIVI_GROUP * KIVI_GROUP)
        group = min(KIVI_GROUP, head_dim(model.config))
        return KiviCache(model.config, nbits=method.nbits, group=group, residual=residual, hold=True).fill(prompt)
    budget = None
    if method.bytes_of is not None:
        key = (method.bytes_of, tokens)
        if key not in budgets:
            other = fill(
                named[method.bytes_of], prompt, model=model, errors=errors, plan=plan, named=named, budgets=budgets, decomposed=decomposed
            )
            budgets[key] = other.nbytes()
        budget = budgets[key]
    if method.cache == "palu":
        palu = palu_cache(model, method, prompt=prompt, budget=budget, decomposed=decomposed, moments=errors.get("moments"))
        return palu.fill(prompt)
    kept = layout.sinks + layout.local if budget is None else tokens_within(budget, prompt, sums=method.cache == "h2o")
    if method.cache == "h2o":
        return H2OCache(model.config, heavy=kept - kept // 2, recent=kept // 2).fill(prompt)
    if method.cache == "sink_window":
        return SinkWindowCache(model.config, sinks=layout.sinks, window=kept - layout.sinks, reindex=False).fill(prompt)
    if method.cache in ("snapkv", "pyramidkv"):
        kind = SnapKVCache if method.cache == "snapkv" else PyramidKVCache
        return kind(model.config, capacity=kept, window=min(SNAP_WINDOW, kept // 2)).fill(prompt)
    if method.cache == "noise":
        prompt = with_noise(prompt, pairs=method.pairs, scale=method.noise, sinks=layout.sinks, local=layout.local, seed=plan.data_seed)
    return CompressedCache(layers=[CompressedLayer() for _ in prompt.keys]).fill(prompt)


def fourier_cache(model: PreTrainedModel, method: Method, *, errors: Mapping[str, torch.Tensor], plan: Plan, tokens: int) -> FourierCache:
    """Return an empty Fourier cache for prompts of `tokens` tokens."""
    layout = plan.layout(tokens)
    channels = choose_channels(
        errors["ours" if method.mode == "ours" else "official"],
        scheme=method.scheme, choice=method.choice, sides=method.sides, seed=plan.data_seed,
    )  # fmt: skip
    return FourierCache(
        model.config, channels=channels, orders=max(1, round(layout.orders * method.orders_times)), sinks=layout.sinks, local=layout.local,
        mode=method.mode, max_new_tokens=plan.max_new_tokens, audits=method.audits, hold=True,
    )  # fmt: skip


def palu_cache(
    model: PreTrainedModel,
    method: Method,
    *,
    prompt: Prefill,
    budget: int | None,
    decomposed: dict[int, list],
    moments: torch.Tensor | None,
) -> PaluCache:
    """Return an empty Palu cache at the method's energy, or at the rank that `budget` bytes allow."""
    n_kv, width = kv_heads(model.config), head_dim(model.config)
    heads = method.group_heads or n_kv
    if heads not in decomposed:
        decomposed[heads] = decompose(model, group_heads=heads, moments=moments)
    if budget is None:
        return PaluCache(model, energy=method.energy, directions=decomposed[heads], hold=True)
    tokens, layers = prompt.ids.shape[1], len(prompt.keys)
    rank = rank_within(budget, tokens=tokens, n_layers=layers, groups=n_kv // heads, element=prompt.keys[0].element_size())
    return PaluCache(model, rank=min(rank, heads * width - 1), directions=decomposed[heads], hold=True)


def tokens_within(budget: int, prompt: Prefill, *, sums: bool = False) -> int:
    """Return how many whole tokens fit into `budget` bytes; with `sums` each carries a float32 a head, as H2O's do."""
    one = sum(2 * keys[..., :1, :].nbytes + (4 * keys[..., :1, 0].numel() if sums else 0) for keys in prompt.keys)
    if budget < 8 * one:
        raise GalleyError(f"a budget of {budget} bytes holds {budget // one} tokens; compress less")
    return min(budget // one, prompt.ids.shape[1])


def with_noise(prompt: Prefill, *, pairs: str, scale: float, sinks: int, local: int, seed: int) -> Prefill:
    """Return the prompt with Gaussian noise on the middle's keys, in the slow (low) or fast (high) half of the rotary pairs.

    The noise has `scale` standard deviations of each channel, so that only the pairs differ and not the signal-to-noise ratio.
    """
    generator = torch.Generator().manual_seed(seed)
    noisy = []
    for keys in prompt.keys:
        d_h, inner = keys.shape[-1], slice(sinks, keys.shape[-2] - local)
        pair = torch.arange(d_h) % (d_h // 2)  # half-split layout; pair 0 turns fastest
        chosen = (pair >= d_h // 4) if pairs == "low" else (pair < d_h // 4)
        middle = keys[..., inner, :]
        noise = torch.randn(middle.shape, generator=generator).to(middle) * middle.std(dim=-2, keepdim=True) * scale
        changed = keys.clone()
        changed[..., inner, :] += noise * chosen.to(middle)
        noisy.append(changed)
    return replace(prompt, keys=tuple(noisy))
