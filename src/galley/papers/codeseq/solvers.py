"""Who solves problems: a search over program families, named as such, or a language model behind an endpoint or a local directory.

arXiv:2510.14620, section 3.3. The paper's solver is DeepSeek-chat. Deviation below the paper's scale: `search:families` fits
families of programs to the cases that it was shown, and draws one of those that fit; it never reads the story, and it knows of the
tests only what failed cases told it. What it proposes is judged in the sandbox like any other program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import numpy as np

from galley.llm.backend import Backend
from galley.papers.codeseq.answers import extract_program, stdin_program
from galley.papers.codeseq.problems import Pair, Problem, seed_of
from galley.papers.codeseq.prompts import reflect_prompt, solve_prompt
from galley.synthesize.sequence_families import all_programs, evaluate

FURTHEST = 64  # the largest index minus start that the grid of families is tabulated for


@dataclass(frozen=True)
class Attempt:
    """A program that was tried, what was said with it, and the case that it failed with what it gave there; no program: None."""

    code: str | None
    text: str
    failed: Pair | None = None
    got: str = ""


Asked = Sequence[tuple[Problem, Sequence[Attempt]]]  # problems, each with what was tried


class Solver(Protocol):
    """Something that proposes programs; `name` is the backend in every row."""

    name: str

    def propose(self, asked: Asked, *, n: int, seed: int) -> list[list[Attempt]]:
        """Return n proposals for each problem, given earlier ones with the case that each failed."""
        ...


class SearchSolver:
    """Draws among the programs of five families, and of fitted polynomials and recurrences, that agree with every known case."""

    name = "search:families"

    def propose(self, asked: Asked, *, n: int, seed: int) -> list[list[Attempt]]:
        """Return n programs for each problem, drawn with replacement among the consistent ones that were not tried."""
        return [self._draw(problem, tried, n=n, seed=seed) for problem, tried in asked]

    def _draw(self, problem: Problem, tried: Sequence[Attempt], *, n: int, seed: int) -> list[Attempt]:
        cases = [*problem.examples, *(a.failed for a in tried if a.failed is not None)]
        past = {a.code for a in tried}
        fits = [code for code in consistent(tuple(cases)) if code not in past]
        if not fits:
            return [Attempt(None, "")] * n
        rng = np.random.default_rng(seed_of("search", seed, problem.id, len(tried)))
        known = f"This program gives all {len(cases)} known values."
        return [Attempt(fits[int(i)], f"{known}\n```python\n{fits[int(i)]}```") for i in rng.integers(len(fits), size=n)]


@lru_cache(maxsize=4096)
def consistent(cases: tuple[Pair, ...]) -> tuple[str, ...]:
    """Return the programs that agree with all the cases, (input, output) each, families first, without repetition."""
    found: dict[str, None] = {}
    for start in range(-1, 4):
        index = [i - start for i, _ in cases]
        if min(index) < 0 or max(index) > FURTHEST:
            continue
        for expression, values in _table():
            if all(values[k] == term for k, (_, term) in zip(index, cases, strict=True)):
                found[stdin_program(expression, start=start)] = None
    for program in _fitted(sorted(cases)):
        found[program] = None
    return tuple(found)


@lru_cache(maxsize=1)
def _table() -> list[tuple[str, tuple[int, ...]]]:
    table = ((p.expression, evaluate(p.expression, FURTHEST + 1)) for p in all_programs())
    return [(expression, values) for expression, values in table if values is not None]


def _fitted(cases: Sequence[Pair]) -> Iterator[str]:
    """Yield programs fitted to the cases: a line, a parabola from three, second-order recurrences from four in a row."""
    for points in range(2, min(len(cases), 3) + 1):
        coefficients = interpolate(cases[:points])
        if len(coefficients) == points and all(polynomial(coefficients, i) == term for i, term in cases):
            yield _polynomial_program(coefficients)
    run = [term for k, (i, term) in enumerate(cases) if i == cases[0][0] + k]
    if len(run) == len(cases) >= 4:
        found = recurrence(run)
        if found is not None:
            p, q = found
            yield (f"k = int(input()) - {cases[0][0]}\na, b = {run[0]}, {run[1]}\nfor _ in range(k):\n"
                   f"    a, b = b, {p} * b + {q} * a\nprint(a)\n")  # fmt: skip


def interpolate(cases: Sequence[Pair]) -> list[Fraction]:
    """Return the coefficients, from the constant up, of the polynomial through the cases; leading zeros are kept away."""
    n = len(cases)
    rows = [[Fraction(i) ** k for k in range(n)] + [Fraction(term)] for i, term in cases]
    for k in range(n):
        pivot = next(r for r in range(k, n) if rows[r][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for r in range(n):
            if r != k:
                rows[r] = [a - rows[r][k] * b for a, b in zip(rows[r], rows[k], strict=True)]
    coefficients = [row[n] for row in rows]
    while len(coefficients) > 1 and coefficients[-1] == 0:
        coefficients.pop()
    return coefficients


def polynomial(coefficients: Sequence[Fraction], x: int) -> Fraction:
    """Return the polynomial's value at x."""
    return sum((c * Fraction(x) ** k for k, c in enumerate(coefficients)), Fraction(0))


def recurrence(run: Sequence[int]) -> tuple[int, int] | None:
    """Return integers p, q with a(n) = p a(n-1) + q a(n-2) throughout the run of four or more, or None."""
    a, b, c, d = run[:4]
    det = b * b - a * c
    if det == 0 or (c * b - a * d) % det or (b * d - c * c) % det:
        return None
    p, q = (c * b - a * d) // det, (b * d - c * c) // det
    return (p, q) if all(run[k] == p * run[k - 1] + q * run[k - 2] for k in range(2, len(run))) else None


def _polynomial_program(coefficients: Sequence[Fraction]) -> str:
    scale = int(np.lcm.reduce([c.denominator for c in coefficients]))
    terms = " + ".join(f"{int(c * scale)} * n**{k}" for k, c in enumerate(coefficients))
    return f"n = int(input())\nprint(({terms}) // {scale})\n"


class ModelSolver:
    """Asks a language model (a backend of galley.llm) for a short explanation and one Python fence."""

    def __init__(self, backend: Backend, *, temperature: float = 1.0, max_tokens: int = 10240) -> None:
        self.backend, self.temperature, self.max_tokens = backend, temperature, max_tokens
        self.name = backend.name

    def propose(self, asked: Asked, *, n: int, seed: int) -> list[list[Attempt]]:
        """Return the programs of n samples for each problem; there is none in one that failed or has no fence."""
        prompts = [
            reflect_prompt(problem, [(a.text, a.failed, a.got) for a in tried]) if tried else solve_prompt(problem)
            for problem, tried in asked
        ]
        answers = self.backend.generate(prompts, n=n, temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)
        return [[Attempt(None if a.finish == "failed" else extract_program(a.text), a.text) for a in row] for row in answers]
