"""Sequences and the filter on them: OEIS records, functions that compute them, and generated ones for machines without either.

arXiv:2510.14620, section 3.1 (sources and filtering). A record's `offset` is the index of its first term: f(offset) = terms[0].
Deviations: Project Euler and exam questions are not used; the working agent that looks the rest over is left out, so the filter is its
rules alone. Terms are Python integers throughout, never floats; one of more than MAX_DIGITS digits ends its sequence.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.synthesize.sequence_families import all_programs, evaluate

MAX_DIGITS = 1000  # below the 4300 at which Python refuses to turn text into an integer
A_NUMBER = re.compile(r"\bA\d{6}\b")
FEWEST_TERMS = 10  # two examples, two that may be dropped and at least five tests, and one to spare
GENERATED_TERMS = 24


@dataclass(frozen=True)
class Record:
    """One sequence: `id` is its A-number or a generated name, `reference` a Python function f of the index, where one is known."""

    id: str
    name: str
    terms: tuple[int, ...]
    offset: int
    keywords: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    formulas: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    origin: str = ""
    reference: str = ""


def parse_terms(text: str) -> tuple[int, ...]:
    """Return the integers of a comma list, up to the first of more than MAX_DIGITS digits; ValueError when one is no integer."""
    terms = []
    for part in text.split(","):
        if not part.strip():
            continue
        if len(part.strip()) > MAX_DIGITS:
            break
        terms.append(int(part))
    return tuple(terms)


def read_records(path: Path, *, counts: Counter[str] | None = None) -> Iterator[Record]:
    """Yield the distinct OEIS records of a gzipped file, one list of records a line; broken ones are counted as `unreadable`."""
    seen: set[str] = set()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise GalleyError(f"{path}:{number}: not JSON: {error.msg}") from None
            for raw in row["record"]:
                record = _record(raw, origin=f"{row.get('split', '')}/{row.get('level', '')}")
                if record is None:
                    if counts is not None:
                        counts["unreadable"] += 1
                elif record.id not in seen:
                    seen.add(record.id)
                    yield record


def _record(raw: dict[str, Any], *, origin: str) -> Record | None:
    try:
        programs = tuple(raw.get("program", ())) + tuple(raw.get("maple", ())) + tuple(raw.get("mathematica", ()))
        return Record(
            id=f"A{int(raw['number']):06d}", name=raw["name"], terms=parse_terms(raw["data"]), offset=int(raw["offset"].split(",")[0]),
            keywords=tuple(raw.get("keyword", "").split(",")), comments=tuple(raw.get("comment", ())),
            formulas=tuple(raw.get("formula", ())), programs=programs, origin=origin,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def generated_records() -> Iterator[Record]:
    """Yield the integer programs of the five families as records, with offsets 0, 1 and 2 in turn."""
    for number, program in enumerate(all_programs()):
        offset = number % 3
        terms = evaluate(program.expression, GENERATED_TERMS)
        assert terms is not None
        body, read = f"    return {program.expression}\n", f"    n = i - {offset}\n"
        yield Record(
            id=f"G{number:06d}", name=f"a(n) = {program.expression}" + (f" with n counted from {offset} as 0" if offset else ""),
            terms=terms, offset=offset, keywords=("nonn", "easy"), formulas=(program.expression,), origin=f"generated/{program.family}",
            reference=f"def f(i):\n{read}{body}" if offset else f"def f(n):\n{body}",
        )  # fmt: skip


def few_terms(record: Record) -> bool:
    """Say whether there are too few terms for examples and tests."""
    return len(record.terms) < FEWEST_TERMS


def little_variety(record: Record) -> bool:
    """Say whether the terms have fewer than three values: a constant program would pass most tests."""
    return len(set(record.terms)) < 3


def no_computation(record: Record) -> bool:
    """Say whether nothing tells how a term is computed: no formula, no program, no reference."""
    return not (record.formulas or record.programs or record.reference)


def only_by_reference(record: Record) -> bool:
    """Say whether the name merely points at other sequences: A-numbers and fewer than three other words."""
    return bool(A_NUMBER.search(record.name)) and len(re.findall(r"[A-Za-z]{3,}", A_NUMBER.sub("", record.name))) < 3


def not_mathematical(record: Record) -> bool:
    """Say whether its keywords put it outside of mathematics: words, decimal expansions, tables read as one, unfinished ones."""
    return bool({"word", "dumb", "unkn", "less", "dead", "cons", "tabl", "tabf"} & set(record.keywords))


FILTERS: tuple[Callable[[Record], bool], ...] = (few_terms, little_variety, no_computation, only_by_reference, not_mathematical)


def informative(records: Iterable[Record], *, counts: Counter[str]) -> Iterator[Record]:
    """Yield the records that pass every filter; `counts` gets `input`, `kept` and each dropped one under its first reason."""
    for record in records:
        counts["input"] += 1
        reason = next((rule.__name__ for rule in FILTERS if rule(record)), "kept")
        counts[reason] += 1
        if reason == "kept":
            yield record
