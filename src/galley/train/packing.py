"""Packing documents into sequences, and batches as a pure function of seed and step.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from galley.artifact import GalleyError, atomic_path, file_lock

DOCUMENTS = 256  # tokenised at a time, which the tokenizer spreads over its threads
PIECE = 100_000  # characters: very long texts are tokenised in pieces, which keeps the tokenizer's time linear


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
        for start in range(0, len(texts[i]), PIECE):
            ids += tokenizer(texts[i][start : start + PIECE], add_special_tokens=False)["input_ids"]
        ids.append(eos)
        if max_tokens is not None and len(ids) >= max_tokens:
            break
    n = len(ids) // seq_len
    if n == 0:
        raise GalleyError(f"the text packs to {len(ids)} tokens, fewer than one sequence of seq_len {seq_len}")
    return torch.tensor(ids[: n * seq_len]).view(n, seq_len)


def pack_file(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, path: Path, *, seq_len: int, max_tokens: int) -> torch.Tensor:
    """Pack a stream of texts, in its order, into a file of int32 ids and return it mapped, (sequences, seq_len).

    What `pack` does for text that does not fit into memory; a file that is there is taken as it is, and two jobs do not
    write it at once. GalleyError when the text is shorter than one sequence.
    """
    with file_lock(path):
        if not path.exists():
            with atomic_path(path) as part, part.open("wb") as out:
                rest: list[int] = []
                done = 0
                with tqdm(total=max_tokens, desc="pack", unit="token", unit_scale=True, mininterval=10) as bar:
                    for ids in _ids(texts, tokenizer):
                        rest += ids
                        whole = min(len(rest), max_tokens - done) // seq_len * seq_len
                        torch.tensor(rest[:whole], dtype=torch.int32).numpy().tofile(out)
                        rest, done = rest[whole:], done + whole
                        bar.update(whole)
                        if max_tokens - done < seq_len:
                            break
                if not done:
                    raise GalleyError(f"the text packs to {len(rest)} tokens, fewer than one sequence of seq_len {seq_len}")
    return packed(path, seq_len=seq_len)


def packed(path: Path, *, seq_len: int) -> torch.Tensor:
    """Return a file of int32 ids as (sequences, seq_len), mapped: only the rows that are asked for are read."""
    n = path.stat().st_size // 4
    return torch.from_file(str(path), shared=False, size=n, dtype=torch.int32).view(-1, seq_len)


def write_packed(data: torch.Tensor, path: Path) -> None:
    """Write packed ids as the file that `packed` reads."""
    with atomic_path(path) as part:
        data.to(torch.int32).contiguous().numpy().tofile(part)


def _ids(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """Yield the ids of some documents at a time, an EOS after each document."""
    texts = iter(texts)
    while some := list(islice(texts, DOCUMENTS)):
        pieces = [text[start : start + PIECE] for text in some for start in range(0, max(1, len(text)), PIECE)]
        ends = [start + PIECE >= len(text) for text in some for start in range(0, max(1, len(text)), PIECE)]
        ids: list[int] = []
        for part, end in zip(tokenizer(pieces, add_special_tokens=False)["input_ids"], ends, strict=True):
            ids += [*part, tokenizer.eos_token_id] if end else part
        yield ids


def batch(data: torch.Tensor, *, step: int, batch_size: int, seed: int) -> torch.Tensor:
    """Return the batch (batch_size, seq_len) of a step: epochs of seeded permutations, laid end to end."""
    n = len(data)
    wanted = range(step * batch_size, (step + 1) * batch_size)
    rows = []
    for epoch in sorted({i // n for i in wanted}):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
        rows += [order[i % n] for i in wanted if i // n == epoch]
    return data[torch.stack(rows)]
