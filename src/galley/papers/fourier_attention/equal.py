"""How much of each rival fits into the bytes of a FourierAttention cache of the same prompt.

Source: ours. arXiv:2506.11886 compares caches of different sizes (its rivals keep about 3 % of a 32k cache, it keeps 30 %), so the order
is decided by the budget; at equal bytes it is not.
"""

from __future__ import annotations

from galley.artifact import GalleyError
from galley.caches.palu import rank_within
from galley.caches.prefill import Prefill

KIVI_GROUP = 32  # the paper's


def tokens_within(budget: int, prompt: Prefill, *, sums: bool = False) -> int:
    """Return how many whole tokens fit into `budget` bytes; with `sums` each carries a float32 a head, as H2O's do."""
    one = sum(2 * keys[..., :1, :].nbytes + (4 * keys[..., :1, 0].numel() if sums else 0) for keys in prompt.keys)
    if budget < 8 * one:
        raise GalleyError(f"a budget of {budget} bytes holds {budget // one} tokens; compress less")
    return min(budget // one, prompt.ids.shape[1])


def kivi_bytes(prompt: Prefill, *, residual: int, nbits: int, group: int) -> int:
    """Return the bytes of KIVI's cache of a prompt with `residual` whole tokens: codes, scales, zeros and whole tokens."""
    tokens, keys = prompt.ids.shape[1], prompt.keys[0]
    width = keys.shape[0] * keys.shape[1] * keys.shape[3]  # elements a token
    element = keys.element_size()
    k_old, v_old = tokens - tokens % residual, max(0, tokens - residual)
    old = (k_old + v_old) * width
    whole = (2 * tokens - k_old - v_old) * width * element
    return len(prompt.keys) * (whole + old * nbits // 8 + old // group * 2 * element)


def residual_at(budget: int, prompt: Prefill, *, nbits: int, group: int) -> int:
    """Return the residual window whose cache comes closest to `budget` bytes from below (keys wait for a full window: no order)."""
    fits = {}
    for residual in range(group, prompt.ids.shape[1] + 1, group):
        size = kivi_bytes(prompt, residual=residual, nbits=nbits, group=group)
        if size <= budget:
            fits[size] = residual
    if not fits:
        raise GalleyError(f"a budget of {budget} bytes holds no KIVI cache at {nbits} bits; use fewer bits or compress less")
    return fits[max(fits)]


def rank_at(budget: int, prompt: Prefill, *, groups: int) -> int:
    """Return Palu's rank per group of heads for which keys and values of the whole prompt fit into `budget` bytes."""
    tokens, element = prompt.ids.shape[1], prompt.keys[0].element_size()
    rank = rank_within(budget, tokens=tokens, n_layers=len(prompt.keys), groups=groups, element=element)
    if rank < 1:
        raise GalleyError(f"a budget of {budget} bytes holds no latent of {prompt.ids.shape[1]} tokens; compress less")
    return rank
