"""Packing documents into sequences, and batches as a pure function of seed and step.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from galley.artifact import GalleyError


def pack(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, seq_len: int, seed: int, max_tokens: int | None = None
) -> torch.Tensor:
    """Return ids (sequences, seq_len): documents in seeded order, joined by EOS, the tail dropped.

    Stops reading documents once `max_tokens` are there.
    """
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    eos = tokenizer.eos_token_id
    ids: list[int] = []
    for i in order:
        # Very long texts are tokenised in pieces, which keeps the tokenizer's time linear.
        for start in range(0, len(texts[i]), 100_000):
            ids += tokenizer(texts[i][start : start + 100_000], add_special_tokens=False)["input_ids"]
        ids.append(eos)
        if max_tokens is not None and len(ids) >= max_tokens:
            break
    n = len(ids) // seq_len
    if n == 0:
        raise GalleyError(f"the text packs to {len(ids)} tokens, fewer than one sequence of seq_len {seq_len}")
    return torch.tensor(ids[: n * seq_len]).view(n, seq_len)


def batch(data: torch.Tensor, *, step: int, batch_size: int, seed: int) -> torch.Tensor:
    """Return the batch (batch_size, seq_len) of a step: epochs of seeded permutations, laid end to end."""
    n = len(data)
    wanted = range(step * batch_size, (step + 1) * batch_size)
    rows = []
    for epoch in sorted({i // n for i in wanted}):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
        rows += [order[i % n] for i in wanted if i // n == epoch]
    return data[torch.stack(rows)]
