"""Palu: keys and values through the leading singular directions of their projections, per group of heads.

arXiv:2407.21118, sections 3.1 and 3.2 (group-head low-rank decomposition). The rows of W_k and W_v of `group_heads` key-value heads
are decomposed together, W = U S V^T; with the r leading left vectors B of U a token's latent is h = B^T W x, and W x is rebuilt
as B h. Keys are taken before RoPE: they are turned back by their position, stored as latents, and turned again after
they are rebuilt. New tokens are stored as latents too, and attend to their own rebuilt keys and values, as in the paper.
With `moments`, the second moments of a calibration text's projections, B spans what the text's W x use most: the left vectors of W L
for inputs whose second moment is L L^T, which is the whitening of SVD-LLM that the authors' code does.
Settled: prompt attention is exact here (the paper's weights are low-rank in the prompt too); `rank` for all, or the least that holds
`energy` of the squared singular values (the largest of a layer's groups), not Fisher information; the rebuilding matrix is not fused
into W_o for values. Projection biases are subtracted before and added after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.prefill import Prefill
from galley.caches.rope import kv_heads, require_count, require_rope_attention, rope_frequencies, rotate


def group_directions(weight: torch.Tensor, *, groups: int, moment: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the left singular vectors (groups, s d_h, n) of each group's rows and its singular values (groups, n), falling.

    `weight` is (n_kv d_h, d) as nn.Linear has it; `moment` (n_kv d_h, n_kv d_h) the second moment of W x over a text, then W L is meant.
    """
    if moment is None:
        left, values, _ = torch.linalg.svd(weight.double().unflatten(0, (groups, -1)), full_matrices=False)
        return left, values
    blocks = moment.double().unflatten(1, (groups, -1)).unflatten(0, (groups, -1)).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    squares, vectors = torch.linalg.eigh(blocks)
    return vectors.flip(-1), squares.flip(-1).clamp_min(0).sqrt()


def second_moments(model: PreTrainedModel, prompts: Sequence[Prefill]) -> torch.Tensor:
    """Return the second moments of every layer's key and value projections over prompts, (layers, 2, n_kv d_h, n_kv d_h), fp32."""
    frequencies, layers = rope_frequencies(require_rope_attention(model.config)), []
    for index, block in enumerate(model.model.layers):
        sides = []
        for name, projection in (("keys", block.self_attn.k_proj), ("values", block.self_attn.v_proj)):
            total = torch.zeros(
                projection.weight.shape[0], projection.weight.shape[0], dtype=torch.float64, device=projection.weight.device
            )
            for prompt in prompts:
                x = getattr(prompt, name)[index]
                if name == "keys":
                    x = rotate(x, -torch.arange(x.shape[-2], device=x.device), frequencies=frequencies)
                flat = x.transpose(1, 2).flatten(2).flatten(0, 1).double()
                if projection.bias is not None:
                    flat = flat - projection.bias.detach().double()
                total = total + flat.T @ flat / len(flat) / len(prompts)
            sides.append(total)
        layers.append(torch.stack(sides))
    return torch.stack(layers).float()


def rank_of_energy(values: torch.Tensor, energy: float) -> int:
    """Return the least rank whose singular values (groups, n) hold `energy` of the squares in every group."""
    shares = values.square().cumsum(-1) / values.square().sum(-1, keepdim=True)
    return int((shares < energy - 1e-12).sum(-1).max()) + 1


def rank_within(budget: float, *, tokens: int, n_layers: int, groups: int, element: int) -> int:
    """Return the rank that keys and values of every group may have so that `tokens` of them fit into `budget` bytes."""
    return int(budget // (2 * tokens * n_layers * groups * element))


class PaluLayer(CompressedLayer):
    """One layer: `keys` and `values` are latents (batch, groups, tokens, rank); its bases (groups, s d_h, rank) belong to the model."""

    spare = ("k_basis", "v_basis", "k_bias", "v_bias", "frequencies", "held")

    def __init__(self, *, bases: tuple, biases: tuple, frequencies: torch.Tensor, n_kv: int, hold: bool) -> None:
        super().__init__()
        self.n_kv = n_kv
        (self.k_basis, self.v_basis), (self.k_bias, self.v_bias) = bases, biases
        self.frequencies, self.hold = frequencies, hold
        self.held: tuple[torch.Tensor, torch.Tensor] | None = None

    def compress(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store a prompt's latents."""
        self.keys, self.values = self._latents(keys, values, first=0)

    def step(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new tokens' latents; return all tokens rebuilt."""
        first = self.keys.shape[-2]
        new = self._latents(key, value, first=first)
        self.keys, self.values = (torch.cat([x, y], dim=-2) for x, y in zip((self.keys, self.values), new, strict=True))
        if not self.hold:
            return self._rebuilt(self.keys, self.values, first=0)
        if self.held is None:
            self.held = self._rebuilt(self.keys, self.values, first=0)
        else:
            fresh = self._rebuilt(*new, first=first)
            self.held = tuple(torch.cat([x, y], dim=-2) for x, y in zip(self.held, fresh, strict=True))  # type: ignore[assignment]
        return self.held  # type: ignore[return-value]

    def room(self) -> int | None:
        """Return any number: a token's latent does not depend on how it came."""
        return None

    def _latents(self, keys: torch.Tensor, values: torch.Tensor, *, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        place = torch.arange(first, first + keys.shape[-2], device=keys.device)
        plain = rotate(keys, -place, frequencies=self.frequencies)
        pair = ((plain, self.k_basis, self.k_bias), (values, self.v_basis, self.v_bias))
        return tuple((_by_group(x, basis) - bias) @ basis.to(x) for x, basis, bias in pair)  # type: ignore[return-value]

    def _rebuilt(self, k: torch.Tensor, v: torch.Tensor, *, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (
            _by_head(h @ basis.to(h).mT + bias, self.n_kv)
            for h, basis, bias in ((k, self.k_basis, self.k_bias), (v, self.v_basis, self.v_bias))
        )
        place = torch.arange(first, first + keys.shape[-2], device=keys.device)
        return rotate(keys, place, frequencies=self.frequencies), values


def _by_group(x: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Return (batch, n_kv, tokens, d_h) with a group's heads side by side, (batch, groups, tokens, s d_h)."""
    return x.unflatten(1, (basis.shape[0], -1)).transpose(2, 3).flatten(3)


def _by_head(x: torch.Tensor, n_kv: int) -> torch.Tensor:
    """Undo `_by_group`."""
    return x.unflatten(3, (n_kv // x.shape[1], -1)).transpose(2, 3).flatten(1, 2)


@dataclass(frozen=True)
class Directions:
    """One projection's left singular vectors (groups, s d_h, n), singular values (groups, n), bias (groups, 1, s d_h) or zeros."""

    left: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor

    def leading(self, rank: int | None, energy: float | None) -> torch.Tensor:
        """Return the `rank` leading vectors of every group, or as many as hold `energy`."""
        return self.left[..., : rank if rank is not None else rank_of_energy(self.values, float(energy or 0))]


def decompose(model: PreTrainedModel, *, group_heads: int = 1, moments: torch.Tensor | None = None) -> list[tuple[Directions, Directions]]:
    """Return the directions of every layer's key and value projections; do it once for many caches of one model.

    `moments` is second_moments of calibration prompts; without it the weights decide alone. GalleyError for heads that groups do
    not divide, or keys that are normalised after their projection.

    """
    n_kv = kv_heads(require_rope_attention(model.config))
    require_count("group_heads", group_heads, least=1, why="the paper takes 4, or all heads")
    if n_kv % group_heads:
        raise GalleyError(f"group_heads is {group_heads}; allowed: divisors of the model's {n_kv} key-value heads")
    layers = []
    for index, block in enumerate(model.model.layers):
        attention = block.self_attn
        if not hasattr(attention, "k_proj") or hasattr(attention, "k_norm"):
            raise GalleyError(f"layer {index} is {type(attention).__name__}; allowed: k_proj and v_proj without a norm after them")
        of_layer = (None, None) if moments is None else moments[index]
        pair = zip((attention.k_proj, attention.v_proj), of_layer, strict=True)
        k, v = (_directions(p, groups=n_kv // group_heads, moment=m) for p, m in pair)
        layers.append((k, v))
    return layers


def _directions(projection: torch.nn.Linear, *, groups: int, moment: torch.Tensor | None) -> Directions:
    weight = projection.weight.detach()
    left, values = group_directions(weight, groups=groups, moment=moment)
    bias = weight.new_zeros(weight.shape[0]) if projection.bias is None else projection.bias.detach()
    return Directions(left.to(weight), values, bias.view(groups, 1, -1))


class PaluCache(CompressedCache):
    """Palu's cache for `model`: give `rank` (of each group) or `energy`; `hold` keeps rebuilt tokens as working memory.

    `directions` is decompose(model, group_heads=...), if it is there already. GalleyError for ranks that compress nothing.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        rank: int | None = None,
        energy: float | None = None,
        group_heads: int = 1,
        directions: list[tuple[Directions, Directions]] | None = None,
        hold: bool = False,
    ) -> None:
        config = require_rope_attention(model.config)
        if (rank is None) == (energy is None):
            raise GalleyError(f"rank is {rank} and energy is {energy}; allowed: exactly one of them")
        if rank is not None:
            require_count("rank", rank, least=1, why="give the latent's width per group")
        if energy is not None and not 0 < energy < 1:
            raise GalleyError(f"energy is {energy}; allowed: 0 < energy < 1 (1 compresses nothing)")
        directions = directions or decompose(model, group_heads=group_heads)
        frequencies, width = rope_frequencies(config), directions[0][0].left.shape[1]
        bases = [(k.leading(rank, energy), v.leading(rank, energy)) for k, v in directions]
        if (rank is not None and rank >= width) or all(b.shape[-1] >= width for pair in bases for b in pair):
            raise GalleyError(
                f"{'rank' if rank else 'energy'} is {rank or energy}, which keeps all {width} dimensions of a group; allowed: fewer"
            )
        layers = [
            PaluLayer(bases=pair, biases=(k.bias, v.bias), frequencies=frequencies, n_kv=kv_heads(config), hold=hold)
            for pair, (k, v) in zip(bases, directions, strict=True)
        ]
        super().__init__(layers=layers)
