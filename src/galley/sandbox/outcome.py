"""From a runner's answer to an outcome: everything in it that a program may have chosen is checked and bounded.

Source: ours.
"""

from __future__ import annotations

from typing import Any, get_args

from galley.sandbox import plain
from galley.sandbox.inside.guest import MESSAGE, TRACEBACK
from galley.sandbox.inside.supervisor import records
from galley.sandbox.types import CallResult, Calls, Limits, Outcome, Program, Verdict

_STATUS = {b"v": "value", b"r": "raised", b"t": "timeout", b"n": "not_plain"}
_REASONS: dict[str, Verdict] = {"wall time": "timeout", "CPU time": "timeout", "memory": "memory"}


def outcome_of(program: Program, limits: Limits, answer: dict[str, Any], *, isolation: str) -> Outcome:
    """Judge one answer."""
    try:
        report = plain.decode(answer["report"]) if answer["report"] else {}
    except plain.NotPlain:
        report = {}
    verdict: Verdict = report.get("verdict", "no_result")
    if verdict not in get_args(Verdict):
        verdict = "no_result"
    message = str(report.get("message", ""))[:MESSAGE]
    cpu_s = float(report.get("cpu_s", 0.0)) or float(answer["cpu_s"])
    reason = answer["reason"]
    if reason and verdict != "pass":
        verdict, message = _REASONS[reason], f"{reason} beyond the limit"
    elif verdict == "crash" and cpu_s >= 0.95 * limits.cpu_s:
        verdict, message = "timeout", "CPU time beyond the limit"
    calls = _calls(program.do, report.get("said", b""), ended="timeout" if verdict == "timeout" else "raised")
    if isinstance(program.do, Calls) and verdict == "pass" and any(call.status != "value" for call in calls):
        verdict, message = _first_fault(calls)
    return Outcome(
        id=program.id,
        verdict=verdict,
        exception=str(report.get("exception", "")),
        message=message,
        traceback=str(report.get("traceback", ""))[:TRACEBACK],
        calls=calls,
        stdouts=tuple(report.get("stdouts", ())),
        tests_run=int(report.get("tests_run", 0)),
        failures=tuple((str(a), str(b)) for a, b in report.get("failures", ())),
        entry_calls=int(report.get("entry_calls", 0)) or len([c for c in calls if c.exception != "NoResult"]),
        cpu_s=cpu_s,
        wall_s=float(answer["wall_s"]),
        memory_mb=float(report.get("memory_mb", 0.0)),
        isolation=isolation,
    )


def _calls(do: Any, said: bytes, *, ended: str) -> tuple[CallResult, ...]:
    """Read one record per input; calls that the program did not come to are faults."""
    if not isinstance(do, Calls):
        return ()
    found = []
    for kind, payload in records(said)[: len(do.inputs)]:
        if kind == b"v":
            found.append(CallResult("value", payload))
        elif kind == b"r":
            found.append(CallResult("raised", b"", *_exception(payload)))
        elif kind in _STATUS:
            found.append(CallResult(_STATUS[kind], b"", "", payload.decode("utf-8", "replace")))  # type: ignore[arg-type]
        else:
            break
    missing = CallResult(ended, b"", "NoResult", "the program ended before this call came back")  # type: ignore[arg-type]
    return tuple(found) + (missing,) * (len(do.inputs) - len(found))


def _exception(payload: bytes) -> tuple[str, str]:
    try:
        name, message = plain.decode(payload)
        return str(name)[:MESSAGE], str(message)[:MESSAGE]
    except (plain.NotPlain, ValueError, TypeError):
        return "malformed", ""


def _first_fault(calls: tuple[CallResult, ...]) -> tuple[Verdict, str]:
    call = next(call for call in calls if call.status != "value")
    if call.exception == "NoResult":
        return "no_result", call.message
    verdict: Verdict = {"raised": "error", "timeout": "timeout", "not_plain": "fail"}[call.status]  # type: ignore[assignment]
    return verdict, f"{call.status} {call.exception} {call.message}".strip()
