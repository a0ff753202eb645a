"""From a sequence to a problem: examples, tests, and the common shift of their inputs.

arXiv:2510.14620, section 3.2, by the authors' generation script. Terms are numbered from 1; of more than four, the first goes when
a_1 <= 5 and a_2 <= 20; with probability 1/3, one or two more go when more than six are left and the third is <= 10; the first two
that are left are the examples, the next eight at most the tests. Deviations: a problem needs five tests (the paper: 5 to 7); the
terms after the tests are kept as `hidden` ones, which judge reference programs and shortcuts; the draws are seeded by the record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from galley.artifact import digest
from galley.papers.codeseq.records import Record

FEWEST_TESTS, MOST_TESTS = 5, 8
Pair = tuple[int, int]  # input, output


@dataclass(frozen=True)
class Problem:
    """A problem as a solver meets it, with what judges it: every input is shifted by the same amount against the term's number."""

    id: str
    record: str
    description: str
    input_requirement: str
    output_requirement: str
    examples: tuple[Pair, ...]
    tests: tuple[Pair, ...]
    hidden: tuple[Pair, ...]
    shift: int
    writer: str
    origin: str = ""  # the record's


def seed_of(*parts: object) -> int:
    """Return a seed that depends on the parts alone."""
    return int(digest([str(p) for p in parts]), 16) % 2**63


def number_terms(terms: Sequence[int], *, seed: int) -> list[Pair]:
    """Return the numbered terms (from 1) that are left after the dropping rules."""
    rng = np.random.default_rng(seed)
    pairs = list(enumerate(terms, start=1))
    if len(pairs) > 4 and pairs[0][1] <= 5 and pairs[1][1] <= 20:
        pairs = pairs[1:]
    if rng.random() < 1 / 3 and len(pairs) > 6 and pairs[2][1] <= 10:
        pairs = pairs[int(rng.integers(1, 3)) :]
    return pairs


def bare_problem(record: Record, *, seed: int) -> Problem | None:
    """Return a problem without its text, inputs numbered from 1; None when fewer than five tests are left."""
    pairs = number_terms(record.terms, seed=seed_of("drop", seed, record.id))
    examples, rest = pairs[:2], pairs[2:]
    if len(rest) < FEWEST_TESTS:
        return None
    return Problem(
        id=f"{record.id}-{seed}", record=record.id, description="", input_requirement="", output_requirement="",
        examples=tuple(examples), tests=tuple(rest[:MOST_TESTS]), hidden=tuple(rest[MOST_TESTS:]), shift=0, writer="", origin=record.origin,
    )  # fmt: skip


def shifted(problem: Problem, shift: int) -> Problem:
    """Return the problem with `shift` added to every input."""

    def move(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple((i + shift, term) for i, term in pairs)

    return replace(
        problem,
        examples=move(problem.examples),
        tests=move(problem.tests),
        hidden=move(problem.hidden),
        shift=problem.shift + shift,
    )


def well_formed(problem: Problem) -> bool:
    """Say whether no test input was shown and every one lies beyond the shown ones."""
    shown = {i for i, _ in problem.examples}
    judged = [i for i, _ in (*problem.tests, *problem.hidden)]
    return len(shown) == 2 and min(judged) > max(shown) and len(set(judged)) == len(judged)


def to_json(problem: Problem) -> str:
    """Return a problem as one line of JSON; terms are strings there, so that no reader makes floats of them."""
    row = asdict(problem)
    for field in ("examples", "tests", "hidden"):
        row[field] = [[str(i), str(term)] for i, term in row[field]]
    return json.dumps(row, ensure_ascii=False, sort_keys=True)


def from_json(line: str) -> Problem:
    """Return the problem of a line that `to_json` wrote."""
    row = json.loads(line)
    for field in ("examples", "tests", "hidden"):
        row[field] = tuple((int(i), int(term)) for i, term in row[field])
    return Problem(**row)
