"""The step in torch, three ways: slow and obvious, in spectral space (ours), and as the authors rebuild it.

arXiv:2506.11886, equations 6 to 8 and the authors' decode kernel. `spectral` is ours and exact: with X~ = F^T C,
scores q.X~ = F^T (C q) and outputs p X~ = C^T (F p), so no middle token is ever rebuilt; the affine map folds into q and p.
"""

from __future__ import annotations

import torch

from galley.kernels.flash_fourier.cost import prefers_fft
from galley.kernels.flash_fourier.step import FourierStep, Plan, Side, Split, basis, check, make_plan


def reference(step: FourierStep) -> torch.Tensor:
    """Rebuild the middle keys and values whole, then attend plainly; (B, n_h, d_h) in q's dtype."""
    check(step)
    n_kv, group = step.k_plain.shape[1], step.q.shape[1] // step.k_plain.shape[1]
    keys = torch.cat([step.k_plain, expand(step.k, n_kv, step.period)], dim=2).repeat_interleave(group, dim=1)
    values = torch.cat([step.v_plain, expand(step.v, n_kv, step.period)], dim=2).repeat_interleave(group, dim=1)
    scores = torch.einsum("bhd,bhtd->bht", step.q, keys) * step.scale
    return torch.einsum("bht,bhtd->bhd", scores.softmax(-1), values)


def expand(side: Side, n_kv: int, period: int, *, f: torch.Tensor | None = None) -> torch.Tensor:
    """Return a side's middle with all channels, (B, n_kv, M, d_h); `f` (2k, >= M) spares it the basis."""
    batch, m, _ = side.middle.shape
    if f is None:
        f = basis(side.state.shape[1] // 2, period, m, dtype=side.state.dtype, device=side.state.device)
    rebuilt = f[:, :m].mT @ (side.state * side.weight.to(f.dtype)[:, None])
    rebuilt = rebuilt * side.gain[:, None] + side.offset[:, None]
    whole = side.middle.new_empty(batch, m, len(side.channels) + len(side.rest))
    whole[..., side.channels.long()] = rebuilt.to(whole.dtype)
    whole[..., side.rest.long()] = side.middle
    return whole.unflatten(-1, (n_kv, -1)).transpose(1, 2)


def spectral(step: FourierStep, plan: Plan | None = None, *, f: torch.Tensor | None = None, transform: str = "auto") -> torch.Tensor:
    """Attend without rebuilding the middle; (B, n_h, d_h) in q's dtype.

    `transform` is fft, matmul or auto (fewer counted FLOPs); `f` (2k, >= M) spares matmul its basis.
    """
    plan = plan or make_plan(step)
    n_h, d_h, n_kv, m = step.q.shape[1], step.q.shape[2], step.k_plain.shape[1], step.n_middle
    work = step.k.state.dtype
    orders = step.k.state.shape[1] // 2
    if transform == "auto":
        transform = "fft" if prefers_fft(orders, step.period, m) else "matmul"
    if transform == "matmul" and f is None:
        f = basis(orders, step.period, m, dtype=work, device=step.q.device)
    f = f[:, :m] if f is not None else None
    q = step.q.to(work).unflatten(1, (n_kv, -1)) * step.scale  # (B, n_kv, group, d_h)

    z, shift, by_rest = [], [], []
    for head in range(n_kv):
        comp, rest = _slices(plan.k, head)
        q_comp = q[:, head][..., step.k.channels[comp].long() - head * d_h]
        z.append((q_comp * step.k.gain[:, None, comp]) @ step.k.state[..., comp].mT)
        shift.append(q_comp @ step.k.offset[:, comp, None])
        q_rest = q[:, head][..., step.k.rest[rest].long() - head * d_h]
        by_rest.append(q_rest @ step.k.middle[..., rest].to(work).mT)
    middle = to_time(torch.cat(z, dim=1) * step.k.weight.to(work), step.period, m, f)
    middle = middle + torch.cat(by_rest, dim=1) + torch.cat(shift, dim=1)
    plain = (q @ step.k_plain.to(work).mT).flatten(1, 2)

    p = torch.cat([plain, middle], dim=-1).softmax(-1)
    p_plain, p_middle = p.split([plain.shape[-1], m], dim=-1)
    out = (p_plain.unflatten(1, (n_kv, -1)) @ step.v_plain.to(work)).contiguous()  # (B, n_kv, group, d_h)
    y = (to_orders(p_middle, step.period, orders, f) * step.v.weight.to(work)).unflatten(1, (n_kv, -1))
    by_head = p_middle.unflatten(1, (n_kv, -1))
    total = by_head.sum(-1, keepdim=True)
    for head in range(n_kv):
        comp, rest = _slices(plan.v, head)
        of_comp = (y[:, head] @ step.v.state[..., comp]) * step.v.gain[:, None, comp] + total[:, head] * step.v.offset[:, None, comp]
        out[:, head, :, step.v.channels[comp].long() - head * d_h] += of_comp
        out[:, head, :, step.v.rest[rest].long() - head * d_h] += by_head[:, head] @ step.v.middle[..., rest].to(work)
    return out.reshape(-1, n_h, d_h).to(step.q.dtype)


def _slices(split: Split, head: int) -> tuple[slice, slice]:
    return slice(*split.comp_ends[head : head + 2]), slice(*split.rest_ends[head : head + 2])


def to_time(z: torch.Tensor, period: int, m: int, f: torch.Tensor | None) -> torch.Tensor:
    """Return F^T z, (..., 2k) -> (..., m), by matmul with `f` or by an inverse FFT of length `period`."""
    if f is not None:
        return z @ f
    cos, sin = z.chunk(2, dim=-1)
    # irfft counts every order but the mean (and the one at half the length) twice and divides by its length.
    bins = torch.complex(cos, -sin) * (period / 2)
    bins[..., 0] *= 2
    if cos.shape[-1] == period // 2 + 1 and period % 2 == 0:
        bins[..., -1] *= 2
    return torch.fft.irfft(bins, n=period)[..., :m]


def to_orders(p: torch.Tensor, period: int, orders: int, f: torch.Tensor | None) -> torch.Tensor:
    """Return F p, (..., m) -> (..., 2k), by matmul with `f` or by an FFT of p padded to `period`."""
    if f is not None:
        return p @ f.mT
    bins = torch.fft.rfft(p, n=period)[..., :orders]
    return torch.cat([bins.real, -bins.imag], dim=-1)


def rebuild(step: FourierStep, plan: Plan | None = None, *, f: torch.Tensor | None = None, share: bool = False) -> torch.Tensor:
    """Rebuild each query head's middle channels, then attend, as the authors' kernel does; (B, n_h, d_h).

    With `share` a KV head's channels are rebuilt once for its group, which the authors do not do.
    """
    plan = plan or make_plan(step)
    n_kv, d_h, m = step.k_plain.shape[1], step.q.shape[2], step.n_middle
    group = step.q.shape[1] // n_kv
    work = step.k.state.dtype
    if f is None:
        f = basis(step.k.state.shape[1] // 2, step.period, m, dtype=work, device=step.q.device)
    f = f[:, :m]
    heads = []
    for first in range(0, n_kv * group, group if share else 1):
        head = first // group
        q = step.q[:, first : first + (group if share else 1)].to(work) * step.scale
        keys, values = (
            _rebuilt_head(side, split, head, d_h, f, plain)
            for side, split, plain in ((step.k, plan.k, step.k_plain), (step.v, plan.v, step.v_plain))
        )
        heads.append((q @ keys.mT).softmax(-1) @ values)
    return torch.cat(heads, dim=1).to(step.q.dtype)


def _rebuilt_head(side: Side, split: Split, head: int, d_h: int, f: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """One KV head's plain and middle tokens, (B, L + M, d_h)."""
    comp, rest = _slices(split, head)
    m, n_plain = f.shape[1], plain.shape[2]
    whole = f.new_empty(side.middle.shape[0], n_plain + m, d_h)
    whole[:, :n_plain] = plain[:, head]
    rebuilt = f.mT @ (side.state[..., comp] * side.weight.to(f.dtype)[:, None])
    whole[:, n_plain:, side.channels[comp].long() - head * d_h] = rebuilt * side.gain[:, None, comp] + side.offset[:, None, comp]
    whole[:, n_plain:, side.rest[rest].long() - head * d_h] = side.middle[..., rest].to(f.dtype)
    return whole
