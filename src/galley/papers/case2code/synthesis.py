"""From functions to samples: filter, write inputs, run twice, keep what is stable, select cases, split.

arXiv:2407.12504, section 3. A function is run three times: on probes and the calls of its docstring (which inputs does it take?), then
on all inputs under one hash seed, then on the same in reverse order under another. What differs between the last two depends on the
hash seed, on an address or on calls before, and is dropped. Deviations: exceptions are no targets (their text depends on the Python
version); functions with one output for all inputs are dropped (the release has that rule commented out).

Every run of a program is in a journal under the digest of source, inputs and seed: a killed run goes on where it was and ends in the
same bytes. Nothing but one chunk of functions and the keys of the groups is in memory.
"""

from __future__ import annotations

import functools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from galley.artifact import code_digest, digest
from galley.data.functions import Function
from galley.data.syntax import ast_key
from galley.papers.case2code.inputs import Inputs, doctest_inputs, key_of, mutants, probes, signature
from galley.papers.case2code.select import MIN_SHOWN, Case
from galley.papers.case2code.values import render, text_of
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Outcome, Program
from galley.synthesize.journal import Journal

HASH_SEEDS = (0, 1)  # of the two runs that must agree
LIMITS = Limits(cpu_s=2.0, wall_s=10.0, memory_mb=512)
CALL_CPU_S = 0.2
METHOD = functools.cache(
    lambda: digest([code_digest(f"galley.{m}") for m in ("sandbox.pool", "papers.case2code.values")] + [asdict(LIMITS)])
)
DISTINCT = 3  # probe outputs that make a fingerprint worth comparing
Writer = Callable[[list[Function]], list[list[Inputs]]]


@dataclass(frozen=True)
class Subject:
    """A function on its way, with its argument names and the inputs proposed so far."""

    function: Function
    names: tuple[str, ...]
    required: int
    given: tuple[Inputs, ...]
    writer: str
    fingerprint: str = ""


@dataclass(frozen=True)
class Sample:
    """A kept function with its cases; `group` is what copies and semantic twins share."""

    id: str
    name: str
    code: str
    package: str
    writer: str
    group: str
    cases: tuple[Case, ...]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Sample:
        """Return the sample of a row that `asdict` wrote."""
        return cls(**{**row, "cases": tuple(Case(**case) for case in row["cases"])})


def synthesise(
    functions: Iterable[Function], *, journal: Path, counts: Counter[str], cases: int, seed: int, workers: int = 1,
    min_hidden: int = 3, writer: Writer | None = None, unsafe: bool = False,
) -> Iterator[Sample]:  # fmt: skip
    """Yield the samples of plain functions, in order; `counts` gets `input`, `kept` and each reason for which one was dropped.

    `writer` proposes inputs for a chunk of functions (a language model); without one, doctests and probes do.
    """
    with Journal(journal) as kept, Sandbox(workers=workers, limits=LIMITS, hash_seed=HASH_SEEDS[0], unsafe=unsafe) as first, Sandbox(
        workers=workers, limits=LIMITS, hash_seed=HASH_SEEDS[1], unsafe=unsafe
    ) as second:  # fmt: skip
        subjects = _subjects(functions, counts, writer)
        probed = (_probed(s, calls, cases=cases, seed=seed) for s, calls in _run(subjects, first, kept, salt="probe"))
        once = _run(_countable(probed, counts), first, kept, salt="first")
        twice = _run(((s, calls) for s, calls in once), second, kept, salt="second", of=lambda pair: _reversed(pair[0]))
        seen: set[str] = set()
        for (subject, calls), again in twice:
            counts["input"] += 1
            reason, found = _stable(subject, calls, again[::-1], min_hidden=min_hidden)
            group = subject.fingerprint or ast_key(subject.function.source)
            if found is not None and group in seen:
                reason, found = "semantic_twin", None
            counts[reason] += 1
            if found is not None:
                seen.add(group)
                f = subject.function
                yield Sample(f.id, f.name, f.source, f.package, subject.writer, group, found)


def _subjects(functions: Iterable[Function], counts: Counter[str], writer: Writer | None) -> Iterator[Subject]:
    """Yield functions with the inputs to try first; those that keyword calls cannot serve are counted."""
    for chunk in _chunks(functions, 64):
        proposed = writer(chunk) if writer else [[] for _ in chunk]
        for function, own in zip(chunk, proposed, strict=True):
            found = signature(function.source)
            if found is None:
                _drop(counts, "odd_signature")
                continue
            names, required = found
            own = [given for given in own if set(given) <= set(names)]
            doctests = [] if writer else doctest_inputs(function, names)
            tried = [*own, *doctests, *(given for _, given in probes(names, required))]
            yield Subject(function, tuple(names), required, tuple(tried), "endpoint" if own else "doctest" if doctests else "probe")


def _chunks(items: Iterable[Function], size: int) -> Iterator[list[Function]]:
    chunk: list[Function] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _run(
    items: Iterable[Any], sandbox: Sandbox, journal: Journal, *, salt: str, of: Callable[[Any], Subject] | None = None
) -> Iterator[tuple[Any, list[list[str]]]]:
    """Yield each item with what its calls gave, [kind, text] each; what the journal has is not run again."""

    def todo() -> Iterator[tuple[str, tuple[Any, Program]]]:
        for item in items:
            subject = of(item) if of else item
            f = subject.function
            program = Program(f.id, f.source, Calls(f.name, list(subject.given), call_cpu_s=CALL_CPU_S))
            yield digest([METHOD(), salt, f.source, f.name, [key_of(given) for given in subject.given]]), (item, program)

    def work(jobs: Iterable[tuple[Any, Program]]) -> Iterator[str]:
        for outcome in sandbox.map(program for _, program in jobs):
            yield json.dumps(call_texts(outcome))

    for (item, _), result in journal.run(todo(), work):
        yield item, json.loads(result)


def call_texts(outcome: Outcome) -> list[list[str]]:
    """Return per call its kind (value, raised, timeout, not_plain, oversized) and its text: the value's, or the exception's type."""
    texts = []
    for call in outcome.calls:
        text = text_of(call.value) if call.status == "value" else call.exception
        texts.append([call.status, text] if text is not None else ["oversized", ""])
    return texts


def _probed(subject: Subject, calls: list[list[str]], *, cases: int, seed: int) -> Subject:
    """Return the subject with its seeds, the inputs that it takes, and mutants of them; none when it takes nothing."""
    typical = probes(subject.names, subject.required)
    own, tried = calls[: len(calls) - len(typical)], calls[len(calls) - len(typical) :]
    seeds = [given for given, (kind, _) in zip(subject.given, own, strict=False) if kind == "value"]
    how = subject.writer
    if not seeds:
        how, by_mix = "probe", dict[str, list[tuple[Inputs, str]]]()
        for (mix, given), (kind, text) in zip(typical, tried, strict=True):
            if kind == "value":
                by_mix.setdefault(mix, []).append((given, text))
        if by_mix:  # the types that tell most apart; the first of equals, which are the simplest
            best = max(by_mix.values(), key=lambda found: len({text for _, text in found}))
            seeds = [given for given, _ in best]
    values = {text for kind, text in tried if kind == "value"}
    print_ = digest([subject.required, tried]) if len(values) >= DISTINCT else ""
    rng = random.Random(f"{seed}:{subject.function.id}")
    return Subject(subject.function, subject.names, subject.required, tuple(mutants(seeds, count=cases, rng=rng)), how, print_)


def _countable(subjects: Iterable[Subject], counts: Counter[str]) -> Iterator[Subject]:
    for subject in subjects:
        if len(subject.given) < MIN_SHOWN + 1:
            _drop(counts, "takes_no_input")
        else:
            yield subject


def _reversed(subject: Subject) -> Subject:
    return Subject(subject.function, subject.names, subject.required, subject.given[::-1], subject.writer, subject.fingerprint)


def _stable(
    subject: Subject, calls: list[list[str]], again: list[list[str]], *, min_hidden: int
) -> tuple[str, tuple[Case, ...] | None]:  # fmt: skip
    """Return `kept` and the cases, or the reason for which the function is dropped."""
    if calls != again:
        return "not_deterministic", None
    good = [(given, text) for given, (kind, text) in zip(subject.given, calls, strict=True) if kind == "value"]
    if len(good) < MIN_SHOWN + min_hidden:
        kinds = Counter(kind for kind, _ in calls if kind != "value")
        return f"mostly_{kinds.most_common(1)[0][0]}" if kinds else "too_few_cases", None
    if len({text for _, text in good}) == 1:
        return "one_output", None
    return "kept", tuple(Case({name: render(value) for name, value in given.items()}, text) for given, text in good)


def _drop(counts: Counter[str], reason: str) -> None:
    counts["input"] += 1
    counts[reason] += 1
