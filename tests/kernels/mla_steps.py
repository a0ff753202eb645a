"""Random absorbed decode steps, for the kernel tests."""

import torch

from galley.kernels.mla_decode.step import MlaStep


def make_step(*, batch=2, n_h=6, n_kv=3, rope=6, rank=20, tokens=37, split=False, lengths=None, dtype=torch.float64, seed=0):
    gen = torch.Generator().manual_seed(seed)
    r_k = rank // 2 if split else rank
    shapes = ((batch, n_h, rope), (batch, n_h, r_k), (batch, n_kv, tokens, rope), (batch, tokens, rank))
    q_rope, c_q, k_rope, c = (torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype) for shape in shapes)
    return MlaStep(q_rope, c_q, k_rope, c, 0.3, r_k if split else 0, None if lengths is None else torch.tensor(lengths))


SHAPES = {
    "gqa": {},
    "mha": {"n_h": 3, "n_kv": 3},
    "mqa": {"n_h": 5, "n_kv": 1},
    "more heads than a tile": {"n_h": 36, "n_kv": 12, "batch": 1},
    "split latent": {"split": True},
    "one token": {"tokens": 1},
    "no token": {"tokens": 0},
    "one rotated pair": {"rope": 2},
    "odd latent": {"rank": 33},
    "ragged": {"batch": 4, "lengths": [37, 1, 0, 19]},
}
