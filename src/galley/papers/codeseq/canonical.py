"""Sequences that are the same but for leading terms, scale, sign or a constant: the groups that a split must not cut.

Two sequences are of one group when a window of their first differences, divided by their greatest common divisor and with the
first sign turned positive, agrees after up to LEADING terms are stripped; groups are the closure of that. So all arithmetic
progressions are one group, and a record, its shift and its negative never stand on both sides.

Source: ours; the paper (arXiv:2510.14620) does not say how its test set was kept apart, and its reviewers asked.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence

from galley.artifact import GalleyError

LEADING, WINDOW = 3, 6


def fingerprints(terms: Sequence[int]) -> list[str]:
    """Return one fingerprint per number of stripped leading terms, 0 to LEADING; fewer for a sequence that is too short."""
    differences = [b - a for a, b in itertools.pairwise(terms)]
    out = []
    for start in range(LEADING + 1):
        window = differences[start : start + WINDOW]
        if len(window) < WINDOW and start:
            break
        scale = math.gcd(*window) if window else 0
        first = next((d for d in window if d), 1)
        plain = [d // scale * (1 if first > 0 else -1) for d in window] if scale else window
        out.append(hashlib.sha256(",".join(map(str, plain)).encode()).hexdigest()[:16])
    return out


def group_sequences(sequences: Iterable[tuple[str, Sequence[int]]]) -> dict[str, str]:
    """Return the group of every sequence by id, named by the group's first member."""
    parent: dict[str, str] = {}
    owner: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    order: dict[str, int] = {}
    for name, terms in sequences:
        parent[name], order[name] = name, len(order)
        for mark in fingerprints(terms):
            other = owner.setdefault(mark, name)
            a, b = sorted((root(name), root(other)), key=order.__getitem__)
            parent[b] = a
    return {name: root(name) for name in parent}


def hold_out(groups: dict[str, str], *, wanted: int, seed: int) -> set[str]:
    """Return ids of whole groups, drawn in seeded order, that together are `wanted` or just below; a group too big for the rest is passed.

    GalleyError when no group fits.
    """
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    order = sorted(members, key=lambda g: hashlib.sha256(f"{seed}/{g}".encode()).hexdigest())
    chosen: set[str] = set()
    for group in order:
        if len(chosen) + len(members[group]) <= wanted:
            chosen.update(members[group])
    if not chosen:
        raise GalleyError(f"no group of sequences has at most {wanted} members; hold out more, or read more records")
    return chosen
