"""Decontamination: rows that share an n-gram of words, or a whole function, with a benchmark are dropped and counted.

Words are runs of letters, digits and underscores in lower case, so that layout and punctuation do not hide a copy; n is 10
(BigCodeBench, arXiv:2406.15877) or 13 (GPT-3, arXiv:2005.14165, appendix C). A benchmark text of fewer than n words counts as one
shorter gram, when it has at least five. Deviation: with `keys`, equal syntax trees count too, since a copy with other names shares
no n-gram.

Source: the two papers above; the rest is ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

WORD = re.compile(r"\w+")
SHORTEST = 5  # words: a benchmark text below this could not be told from chance
T = TypeVar("T")


def words(text: str) -> list[str]:
    """Return a text's words, lower case."""
    return WORD.findall(text.lower())


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """Return the n-grams of a text's words; a shorter text gives none."""
    tokens = words(text)
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def ngram_overlap(text: str, other: str, *, n: int = 10) -> float:
    """Return the share of the text's n-grams that the other has too, 0 when it has none."""
    mine = ngrams(text, n)
    return len(mine & ngrams(other, n)) / len(mine) if mine else 0.0


@dataclass(frozen=True)
class Index:
    """The n-grams of all benchmarks, with the name of the first that has each; `lengths` are those of the grams, n and shorter."""

    owner: Mapping[tuple[str, ...], str]
    keys: Mapping[str, str]
    lengths: tuple[int, ...]

    def hit(self, text: str, *, key: str | None = None) -> str | None:
        """Return the benchmark that a text shares a gram or its key with, else None."""
        if key is not None and key in self.keys:
            return self.keys[key]
        tokens = words(text)
        for n in self.lengths:
            for i in range(len(tokens) - n + 1):
                name = self.owner.get(tuple(tokens[i : i + n]))
                if name is not None:
                    return name
        return None


def build_index(benchmarks: Mapping[str, Iterable[str]], *, n: int = 10, keys: Mapping[str, Iterable[str]] | None = None) -> Index:
    """Return the index of benchmark texts by benchmark; `keys` are the syntax-tree keys of their solutions."""
    owner: dict[tuple[str, ...], str] = {}
    for name, texts in benchmarks.items():
        for text in texts:
            tokens = words(text)
            grams = ngrams(text, n) if len(tokens) >= n else {tuple(tokens)} if len(tokens) >= SHORTEST else set()
            for gram in grams:
                owner.setdefault(gram, name)
    known: dict[str, str] = {}
    for name, values in (keys or {}).items():
        for value in values:
            known.setdefault(value, name)
    return Index(owner, known, tuple(sorted({len(gram) for gram in owner}, reverse=True)))


def clean(
    rows: Iterable[T], index: Index, *, text: Callable[[T], str], counts: Counter[str], key: Callable[[T], str] | None = None
) -> Iterator[T]:
    """Yield the rows that share nothing with a benchmark; `counts` gets `input`, `kept` and the dropped by benchmark. Streams."""
    for row in rows:
        counts["input"] += 1
        name = index.hit(text(row), key=key(row) if key else None) or "kept"
        counts[name] += 1
        if name == "kept":
            yield row


def decontaminate(
    rows: Sequence[T], benchmarks: Mapping[str, Iterable[str]], *, text: Callable[[T], str], n: int = 10
) -> tuple[list[T], Counter[str]]:
    """Return the rows without benchmark overlap, and the counts: `input`, `kept`, and the dropped by benchmark."""
    counts: Counter[str] = Counter()
    return list(clean(rows, build_index(benchmarks, n=n), text=text, counts=counts)), counts
