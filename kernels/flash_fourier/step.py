"""What one decode step over a partly spectral cache reads: its tensors, their checks and their layout by head.

arXiv:2506.11886, section 3: the sink and local tokens are plain; of the middle tokens some channels are plain and the
others are 2k Fourier coefficients over a window of `period` tokens,
  X~[t, c] = gain_c sum_n weight_n F[n, t] C[n, c] + offset_c,   F[n, t] = cos(2 pi n t / period), F[k+n, t] = sin(...).
Heads keep different numbers of channels, so both kinds lie flat over all KV heads, sorted by h d_h + j: one head's
channels are then one slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from galley.artifact import GalleyError


@dataclass(frozen=True)
class Side:
    """The middle of the keys or of the values.

    channels (Dc,) and rest (Du,): sorted flat ids, together all n_kv d_h; middle (B, M, Du): the rest's values;
    state (B, 2k, Dc) fp32: rows 0..k-1 cosine, k..2k-1 sine orders; weight (2k,); gain and offset (B, Dc), 1 and 0 when off.
    """

    channels: torch.Tensor
    rest: torch.Tensor
    middle: torch.Tensor
    state: torch.Tensor
    weight: torch.Tensor
    gain: torch.Tensor
    offset: torch.Tensor


@dataclass(frozen=True)
class FourierStep:
    """One step: q (B, n_h, d_h), plain k and v of sink and local tokens (B, n_kv, L, d_h), the middle, its window and scale."""

    q: torch.Tensor
    k_plain: torch.Tensor
    v_plain: torch.Tensor
    k: Side
    v: Side
    period: int
    scale: float

    @property
    def n_middle(self) -> int:
        """Return M, the middle tokens."""
        return self.k.middle.shape[1]


@dataclass(frozen=True)
class Split:
    """Where each KV head's channels lie, and for each flat channel its place: slot >= 0 in rest, else -1 - place in channels.

    Places count from the head's own first channel.
    """

    comp_ends: tuple[int, ...]
    rest_ends: tuple[int, ...]
    comp_starts: torch.Tensor
    rest_starts: torch.Tensor
    slot: torch.Tensor


@dataclass(frozen=True)
class Plan:
    """What stays the same from step to step: make it once a prompt and hand it to every step.

    tile (2k, block): the basis of the first `block` tokens, made by `with_tile` for the Triton kernels.
    """

    k: Split
    v: Split
    tile: torch.Tensor | None = None


def make_plan(step: FourierStep) -> Plan:
    """Check a step's shapes and return its channel layout; waits for the device once."""
    check(step)
    n_kv, d_h = step.k_plain.shape[1], step.k_plain.shape[-1]
    return Plan(_split(step.k, n_kv, d_h), _split(step.v, n_kv, d_h))


def _split(side: Side, n_kv: int, d_h: int) -> Split:
    device = side.channels.device
    edges = torch.arange(n_kv + 1, device=device) * d_h
    slot = torch.full((n_kv * d_h,), 1 << 30, dtype=torch.int32, device=device)
    starts = []
    for ids, sign in ((side.rest, 1), (side.channels, -1)):
        ids = ids.long()
        begins = torch.searchsorted(ids.contiguous(), edges)
        place = torch.arange(len(ids), device=device) - begins[ids // d_h]
        slot[ids] = (place if sign > 0 else -1 - place).to(torch.int32)
        starts.append(begins.to(torch.int32))
    if bool((slot == 1 << 30).any()) or len(side.rest) + len(side.channels) != n_kv * d_h:
        raise GalleyError(
            f"channels and rest name {len(side.channels)} + {len(side.rest)} channels; allowed: sorted ids that together are each of "
            f"{n_kv} x {d_h} once; take rest as the complement of channels"
        )
    rest, comp = starts
    return Split(tuple(comp.tolist()), tuple(rest.tolist()), comp, rest, slot)


def check(step: FourierStep) -> None:
    """Raise a GalleyError for shapes that do not fit each other."""
    n_h, n_kv, d_h = step.q.shape[1], step.k_plain.shape[1], step.q.shape[2]
    if n_h % n_kv:
        raise GalleyError(f"q has {n_h} heads over {n_kv} KV heads; allowed: a multiple; pass the model's own head counts")
    m, reals = step.n_middle, step.k.state.shape[1]
    if m + step.k_plain.shape[2] == 0:
        raise GalleyError("the cache holds 0 tokens; allowed: 1 or more; run the prompt first")
    if m > step.period:
        raise GalleyError(
            f"the middle has {m} tokens in a window of {step.period}; allowed: at most the window; make it longer at the prompt"
        )
    if reals % 2 or step.v.state.shape[1] != reals:
        raise GalleyError(f"states have {reals} and {step.v.state.shape[1]} rows; allowed: the same even number, 2k, for keys and values")
    if reals // 2 * step.period >= 2**31:
        raise GalleyError(
            f"k times the window is {reals // 2} x {step.period}; allowed: below 2^31 (phases are 32-bit integers); use fewer orders"
        )
    batch = step.q.shape[0]
    for name, side in (("k", step.k), ("v", step.v)):
        n_c, n_u = len(side.channels), len(side.rest)
        want = {
            "middle": (batch, m, n_u),
            "state": (batch, reals, n_c),
            "weight": (reals,),
            "gain": (batch, n_c),
            "offset": (batch, n_c),
        }
        for field, shape in want.items():
            have = tuple(getattr(side, field).shape)
            if have != shape:
                raise GalleyError(
                    f"{name}.{field} has shape {have}; allowed {shape}; build it from the same channels and middle as the rest"
                )
    if step.k_plain.shape != step.v_plain.shape or step.k_plain.shape[-1] != d_h:
        raise GalleyError(
            f"plain keys {tuple(step.k_plain.shape)} and values {tuple(step.v_plain.shape)}; allowed: equal, with d_h {d_h} last"
        )


def basis(k: int, period: int, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return F (2k, n): cosines over sines of 2 pi order t / period, by integer phases, rounded once to `dtype`."""
    phase = torch.arange(k, device=device)[:, None] * torch.arange(n, device=device) % period
    angle = phase.double() * (2 * torch.pi / period)
    return torch.cat([angle.cos(), angle.sin()]).to(dtype)
