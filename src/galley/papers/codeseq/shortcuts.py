"""Shortcut programs: a table of the terms that were seen, and a guess beyond it.

arXiv:2510.14620 tests a program on the few terms that follow its examples; reviewers asked for programs that pass them without the rule.
Three are built from the first k terms: beyond the table `nothing` prints nothing, `constant` 0, and `polynomial` goes on with the
polynomial through the last few of them. Where the sequence is a polynomial of so low a degree the last is no shortcut but the rule; such
sequences are told apart.

Source: ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from galley.papers.codeseq.problems import Pair

DEGREE = 3  # of the polynomial through the last DEGREE + 1 seen terms


def degree(values: Sequence[int]) -> int | None:
    """Return the degree of the polynomial that gives consecutive values, or None when they are no polynomial of degree len - 2 or less."""
    row, order = list(values), 0
    while len(row) > 1:
        if all(v == row[0] for v in row):
            return order
        row, order = [b - a for a, b in itertools.pairwise(row)], order + 1
    return None


def lookup_program(seen: Sequence[Pair], *, beyond: Literal["nothing", "constant", "polynomial"]) -> str:
    """Return a stdin program that knows the seen terms by heart; its inputs are consecutive."""
    table = dict(seen)
    head = f"TABLE = {table!r}\nn = int(input())\nif n in TABLE:\n    print(TABLE[n])\n"
    if beyond == "nothing":
        return head
    if beyond == "constant":
        return head + "else:\n    print(0)\n"
    last = [term for _, term in seen[-DEGREE - 1 :]]
    end = seen[-1][0]
    # Newton's backward differences: the diagonal goes on row by row.
    return head + (
        f"else:\n    rows = [{last!r}]\n    while len(rows[-1]) > 1:\n"
        "        rows.append([b - a for a, b in zip(rows[-1], rows[-1][1:])])\n"
        "    edge = [row[-1] for row in rows]\n"
        f"    for _ in range(n - {end}):\n"
        "        for k in range(len(edge) - 2, -1, -1):\n            edge[k] += edge[k + 1]\n"
        "    print(edge[0])\n"
    )
