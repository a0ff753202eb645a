"""Python functions of OEIS sequences, from the `oeissequences` distribution: read as text, executed in the sandbox only.

Source: the distribution (Apache-2.0), one module of expert-written one-liners; arXiv:2510.14620 solves its problems with a strong
model instead. A function of A012345 is `A012345(n)`, and f(offset) is the first term; here it is called f. Only functions of one
argument that use nothing but builtins, or also the standard library, are taken: the rest needs packages.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from galley.artifact import digest
from galley.data.function_filters import Filter, has_return, keep, no_free_name, no_package, packages_within
from galley.data.functions import Function, functions_in
from galley.papers.codeseq.records import MAX_DIGITS
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program
from galley.synthesize.journal import Journal

MODULE = "OEISsequences.py"
A_NAME = re.compile(r"A\d{6}")
ONE_ARGUMENT = re.compile(r"def A\d{6}\(n\):")


@dataclass(frozen=True)
class SequenceFunction:
    """A sequence's function f(n) as source, with the import lines that it needs."""

    id: str
    source: str
    imports: tuple[str, ...]

    @property
    def code(self) -> str:
        """Return the whole program text that defines f."""
        return "\n".join([*self.imports, *([""] if self.imports else []), self.source])


def _named_by_sequence(function: Function) -> bool:
    return A_NAME.fullmatch(function.name) is not None


def _one_argument(function: Function) -> bool:
    return ONE_ARGUMENT.match(function.source) is not None


FILTERS: dict[str, Filter] = {
    "not_a_sequence": _named_by_sequence,
    "other_arguments": _one_argument,
    "no_return": has_return,
    "needs_package": packages_within(sys.stdlib_module_names),
    "free_name": no_free_name,
}


def read_functions(folder: Path, *, builtins_only: bool, counts: Counter[str]) -> list[SequenceFunction]:
    """Return the usable functions of a fetched source folder, renamed to f, in the module's order; `counts` says what was dropped."""
    text = (folder / MODULE).read_text(encoding="utf-8")
    filters = FILTERS | ({"imports": no_package} if builtins_only else {})
    found = keep(functions_in(text, origin=MODULE, package="oeissequences"), filters, counts=counts)
    return [SequenceFunction(f.name, re.sub(rf"\b{f.name}\b", "f", f.source), f.imports) for f in found]


def compute_terms(
    functions: Iterable[SequenceFunction], sandbox: Sandbox, journal: Journal, *, first: int, count: int, call_cpu_s: float
) -> Iterator[tuple[SequenceFunction, list[int]]]:
    """Yield each function with f(first), f(first + 1), ... up to `count` terms.

    The list ends before the first call that raises, takes more than `call_cpu_s` CPU seconds, or gives no integer of at most
    MAX_DIGITS digits. Finished functions stay in the journal; terms cross it as text, never as floats.
    """
    indices = [[n] for n in range(first, first + count)]
    limits = Limits(cpu_s=2 + call_cpu_s * 4, wall_s=10 + call_cpu_s * 8, memory_mb=512)

    def work(jobs: Iterable[SequenceFunction]) -> Iterator[str]:
        calls = Calls("f", indices, call_cpu_s=call_cpu_s, max_timeouts=1)
        programs = (Program(str(n), f.code, calls, limits) for n, f in enumerate(jobs))
        for outcome in sandbox.map(programs):
            yield json.dumps([as_text(call.value) if call.status == "value" else None for call in outcome.calls])

    keyed = ((digest(["terms", f.code, first, count, call_cpu_s]), f) for f in functions)
    for function, result in journal.run(keyed, work):
        terms: list[int] = []
        for text in json.loads(result):
            if text is None:
                break
            terms.append(int(text))
        yield function, terms


def as_text(value: object) -> str | None:
    """Return an integer as decimal text; None for what is none, or is too big. A bool is no integer here."""
    if type(value) is not int or value.bit_length() > MAX_DIGITS * 3.33:
        return None
    text = str(value)
    return text if len(text.lstrip("-")) <= MAX_DIGITS else None
