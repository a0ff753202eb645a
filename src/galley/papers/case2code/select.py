"""Which cases are shown and which stay hidden.

Source: arXiv:2407.12504, as its released prompt builder does: three if three or fewer are there, else a uniform number from three to
all of the first ten, in random order. Deviation: hidden cases always exist, and none has the input of a shown one (in the released
test 12 percent of hidden inputs repeat a shown one). The drawn indices are kept with the sample.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MIN_SHOWN, MAX_SHOWN = 3, 10


@dataclass(frozen=True)
class Case:
    """One call: arguments by name and what came of it, all as text that `values.render` wrote."""

    inputs: dict[str, str]
    output: str


@dataclass(frozen=True)
class Selection:
    """Indices of the shown cases, in the order shown, and of the hidden ones."""

    shown: tuple[int, ...]
    hidden: tuple[int, ...]


def select(cases: Sequence[Case], *, seed: str, min_hidden: int = 1) -> Selection:
    """Return which cases are shown and hidden; ValueError when there are fewer than MIN_SHOWN + min_hidden distinct inputs.

    `seed` is any text; the same text draws the same cases.
    """
    rng = random.Random(seed)  # seeded by text: the same on every machine
    first: dict[str, int] = {}
    for i, case in enumerate(cases):
        first.setdefault(repr(case.inputs), i)
    distinct = list(first.values())
    pool = distinct[: min(MAX_SHOWN, len(distinct) - min_hidden)]
    if len(pool) < MIN_SHOWN:
        raise ValueError(f"{len(distinct)} distinct inputs leave no {MIN_SHOWN} to show and {min_hidden} to hide")
    count = MIN_SHOWN if len(pool) <= MIN_SHOWN else rng.randint(MIN_SHOWN, len(pool))
    shown = tuple(rng.sample(pool, count))
    return Selection(shown, tuple(i for i in distinct if i not in shown))
