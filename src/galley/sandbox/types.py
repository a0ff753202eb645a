"""What goes into the sandbox and what comes out.

A `Program` is untrusted source and one thing to do with it; an `Outcome` is a verdict and plain data. Only "pass" is a pass.

Source: ours; the kinds follow HumanEval (arXiv:2107.03374), MBPP (2108.07732), EvalPlus (2305.01210), BigCodeBench (2406.15877).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from galley.sandbox import plain

Verdict = Literal["pass", "fail", "error", "timeout", "memory", "crash", "flood", "no_result"]


@dataclass(frozen=True)
class Limits:
    """Limits of one program: its whole process tree is killed when it ends or passes one of them."""

    cpu_s: float = 5.0  # CPU seconds of the tree
    wall_s: float = 10.0
    memory_mb: int = 1024  # on top of the runner's own; of each process, and of the tree
    processes: int = 32  # threads count
    open_files: int = 64
    file_mb: int = 16  # a single file; all files together: four times that
    output_kb: int = 64  # standard output
    result_mb: int = 64  # what Calls may hand back; HumanEval+'s largest task needs 128


@dataclass(frozen=True)
class Run:
    """Pass: the source, run as __main__, comes to its end without an exception (MBPP: code + setup + asserts)."""

    stdin: str = ""


@dataclass(frozen=True)
class Check:
    """Pass: `check(candidate)` of the trusted `test` returns; it runs in another process, candidate is a proxy on plain data.

    Names that the test uses and does not define (a helper in HumanEval's prompt) are looked up in the program, by proxy.
    """

    test: str
    entry_point: str


@dataclass(frozen=True)
class Calls:
    """Call the entry point once per input and hand the values back; pass: every call came back with a plain value.

    An input is an argument list or a keyword mapping, of plain data; each call gets its own copy. `call_cpu_s` bounds one call,
    and after `max_timeouts` calls that passed it, no more is tried.
    Pass the same `inputs` object again for another program of the task: it is sent to a runner once.
    """

    entry_point: str
    inputs: Sequence[Sequence[Any] | Mapping[str, Any]]
    call_cpu_s: float | None = None
    max_timeouts: int | None = None


@dataclass(frozen=True)
class UnitTests:
    """Pass: of the unittest classes in `tests`, at least one test ran, none failed or erred, and the entry point was called."""

    tests: str
    entry_point: str
    allow: tuple[str, ...] = ()  # modules that the task itself needs and that reach raw memory: ("ctypes",)


@dataclass(frozen=True)
class Stdin:
    """Run the source as __main__ once per input; pass: every run ended normally. Judge `stdouts` outside."""

    inputs: Sequence[str]


@dataclass(frozen=True)
class Program:
    """One untrusted program; `id` is unique in a batch."""

    id: str
    code: str
    do: Run | Check | Calls | UnitTests | Stdin = field(default_factory=Run)
    limits: Limits | None = None


class _NoValue:
    """What a call that gave no plain value compares as: unequal to everything."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return "NO_VALUE"


NO_VALUE = _NoValue()


@dataclass(frozen=True)
class CallResult:
    """What one call gave. `raw` is the value's canonical bytes (`plain.dumps`): compare these first, decoding is slow."""

    status: Literal["value", "raised", "timeout", "not_plain"]
    raw: bytes = b""
    exception: str = ""
    message: str = ""

    @cached_property
    def value(self) -> Any:
        """The plain value, rebuilt on the trusted side; NO_VALUE, which equals nothing, where there is none."""
        if self.status != "value":
            return NO_VALUE
        try:
            return plain.decode(self.raw)
        except plain.NotPlain:
            return NO_VALUE


@dataclass(frozen=True)
class Outcome:
    """What became of one program."""

    id: str
    verdict: Verdict
    exception: str = ""
    message: str = ""
    traceback: str = ""
    calls: tuple[CallResult, ...] = ()
    stdouts: tuple[str, ...] = ()
    tests_run: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    entry_calls: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_mb: float = 0.0
    isolation: str = ""
