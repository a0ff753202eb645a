"""HumanEval+ and MBPP+: a program passes when it returns what the canonical solution does, on `base` and on `plus` inputs.

Source: Liu et al., arXiv:2305.01210 (EvalPlus). The comparison is in oracle.py, the canonical outputs in references.py. "base" counts
the benchmark's own inputs, "plus" those and the added ones. Deviations: programs return plain data and are compared outside their
process; a call has 4 CPU seconds and a suite 60 (evalplus 0.3.1: max(1, 4 t) wall seconds for t the canonical solution's time);
programs that fail on base are not run on plus unless `every` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from galley.data.code_benchmarks import PlusTask
from galley.evaluate.code.judge import Judge, Result, judge
from galley.evaluate.code.oracle import NOT_NONE, Audit, agreements, reference_value
from galley.evaluate.code.references import References, judged, parts
from galley.evaluate.code.samples import Sample
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Calls, Limits, Outcome, Program

CALL_CPU_S = 4.0
LIMITS = Limits(cpu_s=60.0, wall_s=240.0, memory_mb=4096)
SHORT = Limits(cpu_s=12.0, wall_s=120.0, memory_mb=4096)  # who is merely slow gets another run
SLOW = "every call so far was right"
SUITES = ("base", "plus")


def judge_plus(
    sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, PlusTask], *, expected: References, audit: Audit = Audit(),
    every: bool = False,
) -> list[Result]:  # fmt: skip
    """Judge programs on base inputs, and those that pass on plus inputs; a `plus` pass is a pass of both."""
    base = _judge_suite(sandbox, samples, tasks, "base", expected, audit)
    good = {r.line for r in base if r.passed}
    plus = _judge_suite(sandbox, [s for s in samples if every or s.line in good], tasks, "plus", expected, audit)
    if every:
        return [*base, *plus]
    ran = {r.line: r for r in plus}
    failed = [Result(r.line, r.task_id, "plus", "fail", "failed on base inputs") for r in base if not r.passed]
    return [*base, *(ran[s.line] for s in samples if s.line in ran), *failed]


def _judge_suite(
    sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, PlusTask], suite: str, expected: References, audit: Audit
) -> list[Result]:
    """Judge a suite within the short limits, and again within the full ones who ran out of time without a wrong call."""
    split = {task: parts(getattr(tasks[task], suite), suites[suite]) for task, suites in expected.items() if task in tasks}
    verdict = _verdict(tasks, suite, expected, audit)

    def within(limits: Limits) -> Callable[[Sample], list[Program]]:
        def programs(sample: Sample) -> list[Program]:
            name = tasks[sample.task_id].entry_point
            calls = (Calls(name, inputs, CALL_CPU_S, max_timeouts=1) for inputs in split[sample.task_id])
            return [Program(str(sample.line), sample.program, do, limits) for do in calls]

        return programs

    first = judge(sandbox, samples, suite=suite, programs=within(SHORT), verdict=verdict)
    slow = {r.line for r in first if r.verdict == "timeout" and r.reason == SLOW}
    if not slow:
        return first
    again = judge(sandbox, [s for s in samples if s.line in slow], suite=suite, programs=within(LIMITS), verdict=verdict)
    second = {r.line: r for r in again}
    return [second.get(r.line, r) for r in first]


def _verdict(tasks: Mapping[str, PlusTask], suite: str, expected: References, audit: Audit) -> Judge:
    def verdict(sample: Sample, outcomes: list[Outcome]) -> tuple[str, str]:
        task = tasks[sample.task_id]
        inputs, wanted = getattr(task, suite), expected[sample.task_id][suite]
        calls = [call for outcome in outcomes for call in outcome.calls]
        numbers = judged(wanted)[: len(calls)]  # after a part that broke off there are no others
        good = agreeing(task, [inputs[i] for i in numbers], calls, [wanted[i] for i in numbers], audit=audit)
        bad = next((i for i, ok in enumerate(good) if not ok), None)
        return ("pass", "") if bad is None else _fault(calls[bad], numbers[bad], outcomes)

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


def _fault(call: CallResult, at: int, outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """Return the verdict and reason of a program whose call `at` will not do."""
    if call.exception == "NoResult":  # the process ended first, by a limit or by itself
        ended = next((o for o in outcomes if o.verdict != "pass"), outcomes[-1])
        if ended.verdict == "timeout":
            return "timeout", SLOW if at else "no call came back"
        return (ended.verdict if ended.verdict != "pass" else "no_result"), ended.message[:200]
    verdict = {"raised": "error", "timeout": "timeout"}.get(call.status, "fail")
    said = "another value" if call.status == "value" else f"{call.exception} {call.message}".strip()
    return verdict, f"input {at}: {said}"[:200]
