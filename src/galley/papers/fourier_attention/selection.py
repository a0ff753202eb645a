"""Which channels are compressed: those that a round trip through the spectrum hurts least.

arXiv:2506.11886, section 3.3: per layer, and separately for keys and values, channels of all heads are ranked by the mean
squared error of their reconstruction on calibration prompts, and the smallest are compressed; the ratios form an "inverted
pyramid". Settled: keys are ranked after RoPE, as they are cached (the authors' script ranks them before it), on text that is
never scored (the paper calibrates on the needle prompts themselves).
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from galley.artifact import GalleyError
from galley.caches.fourier import Fourier, analyse
from galley.caches.palu import second_moments
from galley.caches.prefill import Prefill, prefill
from galley.data.corpus import read_split
from galley.kernels.flash_fourier.reference import expand
from galley.models.loading import load_tokenizer
from galley.papers.fourier_attention.legt import legt_round_trip
from galley.papers.fourier_attention.plan import Plan
from galley.train.packing import pack

FIRST, LAST = (0.90, 0.95), (0.50, 0.70)  # compressed share of keys and values in the first and in the last layers
MIDDLE = (0.80, 0.80)
LAYERS = 32  # the model of the paper: 4 first and 8 last layers; its 28-layer model has 4 and 8 too
Channels = list[tuple[torch.Tensor, torch.Tensor]]


def compressed_shares(n_layers: int, *, scheme: str = "pyramid") -> list[tuple[float, float]]:
    """Return each layer's compressed share of keys and of values.

    pyramid is the paper's; uniform gives every layer the pyramid's mean; kv_inverse swaps keys and values;
    layer_inverse compresses the first 8 layers as the pyramid does the last, and the last 4 as it does the first.
    """
    few, many = (4, 8) if n_layers >= 24 else (max(1, n_layers * 4 // LAYERS), max(1, n_layers * 8 // LAYERS))
    if n_layers < few + many:
        raise GalleyError(f"the model has {n_layers} layers; the inverted pyramid needs {few + many} or more")
    pyramid = [FIRST] * few + [MIDDLE] * (n_layers - few - many) + [LAST] * many
    if scheme == "pyramid":
        return pyramid
    if scheme == "uniform":
        mean = sum(map(sum, pyramid)) / (2 * n_layers)
        return [(mean, mean)] * n_layers
    if scheme == "kv_inverse":
        return [(v, k) for k, v in pyramid]
    if scheme == "layer_inverse":
        return pyramid[::-1]
    raise GalleyError(f"scheme is {scheme!r}; allowed: pyramid, uniform, kv_inverse, layer_inverse")


def calibration_prompts(model: PreTrainedModel, *, base: Path, corpus: Path, plan: Plan) -> list[Prefill]:
    """Return the calibration split's prompts, prefilled; GalleyError when the split is too short."""
    wanted = plan.calibration
    texts = [doc["text"] for doc in read_split(corpus, "calibration")]
    ids = pack(texts, load_tokenizer(base), seq_len=wanted.tokens, seed=plan.data_seed, max_tokens=wanted.prompts * wanted.tokens)
    if len(ids) < wanted.prompts:
        raise GalleyError(
            f"calibration.prompts is {wanted.prompts}, but the calibration split holds {len(ids)} of {wanted.tokens} tokens; "
            "lower calibration.prompts or .tokens, or raise corpus.max_bytes"
        )
    return [prefill(model, row[None].to(model.device), window=1) for row in ids[: wanted.prompts]]


def calibrate(model: PreTrainedModel, prompts: list[Prefill], *, plan: Plan) -> dict[str, torch.Tensor]:
    """Return the channel errors of our and of the authors' round trip and of LegT's, and Palu's moments, on the CPU."""
    layout = plan.layout(plan.calibration.tokens)
    found = {}
    for mode in ("ours", "official"):
        by = Fourier(layout.sinks, layout.local, layout.orders, mode, plan.max_new_tokens, frozenset())
        found[mode] = channel_errors(prompts, by=by)
    by = Fourier(layout.sinks, layout.local, layout.orders, "ours", plan.max_new_tokens, frozenset())
    found["legt"] = channel_errors(prompts, by=by, basis="legt")
    found["moments"] = second_moments(model, prompts)
    return {name: tensor.cpu() for name, tensor in found.items()}


def channel_errors(prompts: list[Prefill], *, by: Fourier, basis: str = "fourier") -> torch.Tensor:
    """Return the mean squared reconstruction error of every channel, (layers, 2, n_kv d_h), over prompts and middle tokens."""
    errors = []
    for layer in range(len(prompts[0].keys)):
        sides = []
        for name in ("keys", "values"):
            each = []
            for prompt in prompts:
                x = getattr(prompt, name)[layer]
                x = x[..., by.sinks : x.shape[-2] - by.local, :].transpose(1, 2).flatten(2).float()
                each.append(round_trip_errors(x, by=by, basis=basis))
            sides.append(torch.stack(each).mean(dim=0))
        errors.append(torch.stack(sides))
    return torch.stack(errors)


def round_trip_errors(x: torch.Tensor, *, by: Fourier, basis: str = "fourier") -> torch.Tensor:
    """Return the mean squared error (c,) with which x (1, M, c) comes back from its coefficients, Fourier's or Legendre's."""
    if basis == "legt":
        back = legt_round_trip(x[0], reals=2 * by.orders)
    else:
        every = torch.arange(x.shape[-1], device=x.device)
        back = expand(analyse(x, every, by=by), 1, by.period(x.shape[1]))[0, 0]
    return (back - x[0]).square().mean(dim=0)


def choose_channels(errors: torch.Tensor, *, scheme: str, choice: str, sides: str, seed: int) -> Channels:
    """Return each layer's compressed channels of keys and values, sorted, from `errors` (layers, 2, D).

    `choice` mse takes the smallest errors, inverse the largest, random any (a control); `sides` is kv, k or v.
    """
    generator = torch.Generator().manual_seed(seed)
    total = errors.shape[-1]
    layers: Channels = []
    for error, shares in zip(errors, compressed_shares(len(errors), scheme=scheme), strict=True):
        pair = []
        for name, ranked, share in zip("kv", error, shares, strict=True):
            order = {
                "mse": ranked.argsort(stable=True),
                "inverse": ranked.argsort(descending=True, stable=True),
                "random": torch.randperm(total, generator=generator),
            }[choice]
            count = int(share * total) if name in sides else 0
            pair.append(order[:count].sort().values)
        layers.append((pair[0], pair[1]))
    return layers
