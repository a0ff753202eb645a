"""Prompts and caches that are changed on purpose: noise on some rotary pairs, another basis, coefficients that belong to another time.

arXiv:2506.11886, the motivation test of section 2 (noise; its level is not stated) and Table 3 (LegT). The scramble is ours.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from galley.caches.fourier import FourierCache, FourierLayer
from galley.caches.prefill import Prefill
from galley.kernels.flash_fourier.step import Side
from galley.papers.fourier_attention.legt import legt_round_trip
from galley.papers.fourier_attention.selection import Channels


def noisy_dims(d_h: int, *, pairs: str) -> torch.Tensor:
    """Return which dims of a head get noise: the slow (low) or fast (high) half of the rotary pairs, or the first or last dims.

    Keys are in half-split layout: pair j is dims j and j + d_h/2, and pair 0 turns fastest. So the first half of the dims
    holds one dim of every pair: taking it for the fast pairs is the mistake that first_dims and last_dims make.
    """
    dim = torch.arange(d_h)
    pair = dim % (d_h // 2)
    return {"low": pair >= d_h // 4, "high": pair < d_h // 4, "first_dims": dim < d_h // 2, "last_dims": dim >= d_h // 2}[pairs]


def with_noise(prompt: Prefill, *, pairs: str, scale: float, sinks: int, local: int, seed: int) -> Prefill:
    """Return the prompt with Gaussian noise on the middle's keys, in the dims that `pairs` names.

    The noise has `scale` standard deviations of each channel, so that only the pairs differ and not the signal-to-noise ratio.
    """
    generator = torch.Generator().manual_seed(seed)
    noisy = []
    for keys in prompt.keys:
        inner = slice(sinks, keys.shape[-2] - local)
        middle = keys[..., inner, :]
        noise = torch.randn(middle.shape, generator=generator).to(middle) * middle.std(dim=-2, keepdim=True) * scale
        changed = keys.clone()
        changed[..., inner, :] += noise * noisy_dims(keys.shape[-1], pairs=pairs).to(middle)
        noisy.append(changed)
    return replace(prompt, keys=tuple(noisy), shared={})


def through_legt(prompt: Prefill, *, channels: Channels, reals: int, sinks: int, local: int) -> Prefill:
    """Return the prompt with the named channels of the middle's keys and values as they come back from `reals` Legendre coefficients.

    What would be kept is what FourierAttention keeps; only what is read back is made here, as whole keys and values.
    """
    sides = []
    for index, whole in enumerate((prompt.keys, prompt.values)):
        rebuilt = []
        for x, pair in zip(whole, channels, strict=True):
            ids = pair[index].to(x.device)
            back = x.clone()
            inner = (
                back[..., sinks : x.shape[-2] - local, :].transpose(1, 2).flatten(2).clone()
            )  # (1, M, n_kv d_h); of one head it was a view
            inner[0, :, ids] = legt_round_trip(inner[0, :, ids], reals=reals)
            back[..., sinks : x.shape[-2] - local, :] = inner.unflatten(2, (x.shape[1], -1)).transpose(1, 2)
            rebuilt.append(back)
        sides.append(tuple(rebuilt))
    return replace(prompt, keys=sides[0], values=sides[1], shared={})


def changed(cache: FourierCache, *, how: str, seed: int) -> FourierCache:
    """Change a filled cache's coefficients, in place, and return it.

    kept changes nothing; scrambled turns every coefficient but the mean's by a random phase, which leaves as many numbers of the
    same size that tell of other times; zero leaves nothing of the compressed channels.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in cache.layers if how != "kept" else ():
        assert isinstance(layer, FourierLayer)
        if layer.middle is not None:
            k, v = (_turned(side, generator) if how == "scrambled" else _emptied(side) for side in layer.middle)
            layer.middle, layer.held = (k, v), None
    return cache


def _emptied(side: Side) -> Side:
    return replace(side, state=torch.zeros_like(side.state), offset=torch.zeros_like(side.offset))


def _turned(side: Side, generator: torch.Generator) -> Side:
    orders = side.state.shape[1] // 2
    cos, sin = side.state[:, :orders], side.state[:, orders:]
    angle = 2 * torch.pi * torch.rand(1, orders, cos.shape[2], generator=generator).to(cos)
    angle[:, 0] = 0  # the mean stays
    state = torch.cat([cos * angle.cos() - sin * angle.sin(), cos * angle.sin() + sin * angle.cos()], dim=1)
    return replace(side, state=state)
