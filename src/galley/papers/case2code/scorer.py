"""The strict scorer: a program is right only if it gives every output, shown and hidden, exactly.

Source: arXiv:2407.12504, its released test script, with results returned on the sandbox's channel instead of parsed from printed
markers, which a program could print itself. Arguments are passed by keyword, as the release does, so argument names count.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from galley.papers.case2code.select import Case
from galley.papers.case2code.synthesis import CALL_CPU_S, LIMITS, call_texts
from galley.papers.case2code.values import read_inputs
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Program


def run_cases(sandbox: Sandbox, jobs: Iterable[tuple[str, str, Sequence[Case]]]) -> Iterator[list[list[str]]]:
    """Yield what each program (code, function name, cases) gives on its cases: [kind, text] a call, in order."""
    programs = (
        Program(str(i), code, Calls(name, [read_inputs(c.inputs) for c in cases], call_cpu_s=CALL_CPU_S), LIMITS)
        for i, (code, name, cases) in enumerate(jobs)
    )
    for outcome in sandbox.map(programs):
        yield call_texts(outcome)


def is_right(results: Sequence[Sequence[str]], cases: Sequence[Case]) -> bool:
    """Return whether a program gave every case's output, none missing."""
    return len(results) == len(cases) and all([*r] == ["value", c.output] for r, c in zip(results, cases, strict=True))


def most_frequent(cases: Sequence[Case]) -> str:
    """Return the output that shown cases have most often; the first of equals."""
    return Counter(case.output for case in cases).most_common(1)[0][0]


def constant_program(name: str, arguments: Sequence[str], shown: Sequence[Case]) -> str:
    """Return the baseline that always gives the most frequent shown output."""
    return f"def {name}({', '.join(arguments)}):\n    return {most_frequent(shown)}\n"


def lookup_program(name: str, arguments: Sequence[str], shown: Sequence[Case]) -> str:
    """Return the baseline that gives shown outputs for shown inputs, and the most frequent one otherwise."""
    table = ", ".join(f"({json.dumps(key_of(case, arguments))}, {case.output})" for case in shown)
    read = " + '|' + ".join(f"repr({a})" for a in arguments)
    return (
        f"def {name}({', '.join(f'{a}=None' for a in arguments)}):\n    for key, value in [{table}]:\n"
        f"        if key == {read}:\n            return value\n    return {most_frequent(shown)}\n"
    )


def key_of(case: Case, arguments: Sequence[str]) -> str:
    """Return a case's inputs as the lookup program sees them: the repr of each argument, None where it is left out."""
    return "|".join(repr(read_inputs({a: case.inputs[a]})[a]) if a in case.inputs else "None" for a in arguments)
