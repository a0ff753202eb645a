"""Random decode steps with ragged channel lists, for the kernel tests."""

import torch

from galley.kernels.flash_fourier.step import FourierStep, Side


def side(gen, *, batch, n_kv, d_h, m, orders, period, counts, dtype, affine):
    """counts: compressed channels of each head."""
    total = n_kv * d_h
    chosen = [h * d_h + torch.randperm(d_h, generator=gen)[:n] for h, n in enumerate(counts)]
    channels = torch.cat(chosen).sort().values
    rest = torch.tensor([c for c in range(total) if c not in set(channels.tolist())], dtype=torch.long)
    state = torch.randn(batch, 2 * orders, len(channels), generator=gen, dtype=torch.float64) * period**0.5
    weight = torch.full((2 * orders,), 2.0 / period, dtype=torch.float64)
    weight[0] = weight[orders] = 1.0 / period
    gain = torch.rand(batch, len(channels), generator=gen, dtype=torch.float64) + 0.5
    offset = torch.randn(batch, len(channels), generator=gen, dtype=torch.float64)
    if not affine:
        gain, offset = torch.ones_like(gain), torch.zeros_like(offset)
    middle = torch.randn(batch, m, len(rest), generator=gen, dtype=torch.float64)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return Side(channels, rest, middle.to(dtype), state.to(wide), weight.to(wide), gain.to(wide), offset.to(wide))


def make_step(
    *, batch=2, n_h=6, n_kv=3, d_h=8, n_plain=5, m=37, orders=4, period=41, k_counts=None, v_counts=None, dtype=torch.float64,
    affine=True, seed=0,
):  # fmt: skip
    gen = torch.Generator().manual_seed(seed)
    shared = {"batch": batch, "n_kv": n_kv, "d_h": d_h, "m": m, "orders": orders, "period": period, "dtype": dtype, "affine": affine}
    k_counts = k_counts or [(3 * h + 5) % (d_h + 1) for h in range(n_kv)]
    v_counts = v_counts or [(5 * h + 6) % (d_h + 1) for h in range(n_kv)]
    q = torch.randn(batch, n_h, d_h, generator=gen, dtype=torch.float64).to(dtype)
    k_plain, v_plain = (torch.randn(batch, n_kv, n_plain, d_h, generator=gen, dtype=torch.float64).to(dtype) for _ in range(2))
    k, v = side(gen, counts=k_counts, **shared), side(gen, counts=v_counts, **shared)
    return FourierStep(q, k_plain, v_plain, k, v, period, d_h**-0.5)
