"""HumanEval+ and MBPP+: a program passes when it returns what the canonical solution does, on `base` and on `plus` inputs.

Source: Liu et al., arXiv:2305.01210 (EvalPlus). The comparison is in oracle.py, the canonical outputs in references.py. "base" counts
the benchmark's own inputs, "plus" those and the added ones. Deviations: programs return plain data and are compared outside their
process; a call has 4 CPU seconds and a suite 60 (evalplus 0.3.1: max(1, 4 t) wall seconds for t the canonical solution's time);
programs that fail on base are not run on plus unless `every` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from galley.data.code_benchmarks import PlusTask
from galley.evaluate.code.judge import Judge, Result, judge
from galley.evaluate.code.oracle import NOT_NONE, Audit, agreements, reference_value
from galley.evaluate.code.references import References
from galley.evaluate.code.samples import Sample
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Calls, Limits, Outcome, Program

CALL_CPU_S = 4.0
SUITE_CPU_S = 60.0
SUITES = ("base", "plus")


def judge_plus(
    sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, PlusTask], *, expected: References, audit: Audit = Audit(),
    every: bool = False,
) -> list[Result]:  # fmt: skip
    """Judge programs on base inputs, and those that pass on plus inputs; a `plus` pass is a pass of both."""
    base = judge(
        sandbox, samples, suite="base", program=_program(tasks, "base", expected), verdict=_verdict(tasks, "base", expected, audit)
    )
    good = {r.line for r in base if r.passed}
    again = [s for s in samples if every or s.line in good]
    plus = judge(sandbox, again, suite="plus", program=_program(tasks, "plus", expected), verdict=_verdict(tasks, "plus", expected, audit))
    if every:
        return [*base, *plus]
    ran = {r.line: r for r in plus}
    failed = [Result(r.line, r.task_id, "plus", "fail", "failed on base inputs") for r in base if not r.passed]
    return [*base, *(ran[s.line] for s in samples if s.line in ran), *failed]


def _program(tasks: Mapping[str, PlusTask], suite: str, expected: References) -> Any:
    limits = {task: _limits(suites[suite]) for task, suites in expected.items()}

    def program(sample: Sample) -> Program:
        task = tasks[sample.task_id]
        calls = Calls(task.entry_point, getattr(task, suite), CALL_CPU_S)
        return Program(str(sample.line), sample.program, calls, limits[task.id])

    return program


def _limits(wanted: Sequence[bytes]) -> Limits:
    """Return a suite's limits: room for twice the output of the canonical solution."""
    room = 1024 + 2 * sum(map(len, wanted)) // 1024
    return Limits(cpu_s=SUITE_CPU_S, wall_s=4 * SUITE_CPU_S, memory_mb=4096, output_kb=room)


def _verdict(tasks: Mapping[str, PlusTask], suite: str, expected: References, audit: Audit) -> Judge:
    def verdict(sample: Sample, outcome: Outcome) -> tuple[str, str]:
        task = tasks[sample.task_id]
        inputs, wanted = getattr(task, suite), expected[sample.task_id][suite]
        good = agreeing(task, inputs, outcome.calls, wanted, audit=audit)
        bad = next((i for i, ok in enumerate(good) if not ok), None)
        if bad is None and len(good) == len(inputs):
            return "pass", ""
        return _fault(outcome, bad)

    return verdict


def agreeing(
    task: PlusTask, inputs: Sequence[Sequence[Any]], calls: Sequence[CallResult], wanted: Sequence[bytes], *, audit: Audit = Audit()
) -> list[bool]:
    """Return for each call whether its value will do.

    Equal bytes are equal values: only the others are decoded and compared by the oracle, and with `audit` all of them are.
    """
    quick = audit == Audit() and task.entry_point not in NOT_NONE
    if quick:
        odd = [i for i, (call, raw) in enumerate(zip(calls, wanted, strict=True)) if not (call.status == "value" and call.raw == raw)]
    else:
        odd = list(range(len(calls)))
    came = [i for i in odd if calls[i].status in ("value", "not_plain")]
    outputs = [calls[i].value for i in came]
    exact = [reference_value(task, plain.decode(wanted[i])) for i in came]
    judged = dict(zip(came, agreements(task, [inputs[i] for i in came], outputs, exact, audit=audit), strict=True))
    unequal = set(odd)
    return [judged.get(i, False) if i in unequal else True for i in range(len(calls))]


def _fault(outcome: Outcome, bad: int | None) -> tuple[str, str]:
    """Return the verdict and reason of a program whose call `bad` will not do."""
    if bad is None:
        return outcome.verdict if outcome.verdict != "pass" else "no_result", outcome.message
    call = outcome.calls[bad]
    if call.exception == "NoResult":
        return outcome.verdict if outcome.verdict != "pass" else "no_result", outcome.message
    verdict = {"raised": "error", "timeout": "timeout"}.get(call.status, "fail")
    what = {"value": "another value", "not_plain": f"{call.message or 'a value that is not plain data'}"}
    return verdict, f"input {bad}: {what.get(call.status, f'{call.exception} {call.message}')}".strip()[:200]
