"""HiPPO-LegT: a window summarised by Legendre coefficients, the basis that the paper sets FourierT against.

arXiv:2008.07669 (translated Legendre measure) in the form of the Legendre memory unit; arXiv:2506.11886 compares the two at
the same number of reals. Bilinear discretisation with a step of one token, in float64.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial.legendre import legvander


def legt_step(n: int, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the discrete A (n, n) and B (n,) of n coefficients over `window` tokens."""
    i, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)[None]
    a = (2 * i + 1) * torch.where(i < j, -torch.ones(()), -((-1.0) ** (i - j).abs())).double() / window
    b = ((2 * i + 1) * (-1.0) ** i)[:, 0] / window
    eye = torch.eye(n, dtype=torch.float64)
    left = eye - a / 2
    return torch.linalg.solve(left, eye + a / 2), torch.linalg.solve(left, b)


@lru_cache(maxsize=2)  # of one length of long prompts they have half a gigabyte
def legt_maps(reals: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what makes `reals` coefficients of a window of `tokens` pushed one by one, (n, M), and what reads them back, (M, n)."""
    a, b = legt_step(reals, tokens)
    push = torch.empty(reals, tokens, dtype=torch.float64)
    state = b
    for place in reversed(range(tokens)):  # a token is turned once by each one after it
        push[:, place] = state
        state = a @ state
    delay = (tokens - 0.5 - np.arange(tokens)) / tokens  # of each token, as a share of the window
    return push, torch.tensor(legvander(2 * delay - 1, reals - 1))


def legt_round_trip(x: torch.Tensor, *, reals: int) -> torch.Tensor:
    """Return x (M, c) after it was pushed token by token into `reals` Legendre coefficients over M tokens and read back."""
    push, read = (m.to(x.device) for m in legt_maps(reals, len(x)))
    return (read @ (push @ x.double())).to(x.dtype)
