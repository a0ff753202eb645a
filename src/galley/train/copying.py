"""A small model that retrieves: trained to copy what stood after the same tokens before (induction), and nothing else.

Source: ours, after the induction heads of arXiv:2209.11895. Random tokens that repeat with a period leave one thing to learn: find
the last place where the present token stood, and say what came next. Training starts from the circuit that does so (models/induction.py):
from random weights it takes minutes, and some seeds never get there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch

SHORTEST = 8  # period; the longest is half the context
ROUNDS = 400  # facts told of every key to the tokenizer, so that keys and pairs of digits become tokens


def copy_sequences(n: int, *, tokens: int, periods: tuple[int, int], vocab_size: int, seed: int) -> torch.Tensor:
    """Return ids (n, tokens): random tokens from 1 on, each sequence repeating with its own period from `periods` (inclusive)."""
    generator = torch.Generator().manual_seed(seed)
    period = torch.randint(periods[0], periods[1] + 1, (n, 1), generator=generator)
    base = torch.randint(1, vocab_size, (n, tokens), generator=generator)
    return base.gather(1, torch.arange(tokens)[None] % period)


def key_value_lines(keys: Sequence[str], *, seed: int) -> Iterator[str]:
    """Yield lines of keys and numbers: text on which a tokenizer learns both."""
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        yield " ".join(f"{key} {rng.randint(10_000, 9_999_999)}." for key in rng.sample(list(keys), len(keys)))
