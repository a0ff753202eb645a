"""From a runner's frames to an outcome: everything in them that a program may have chosen is checked and bounded.

A program passes only on evidence that it did not simply write: values that are judged here or by the tester, or, for checks
in its own process (Run, UnitTests), a stream that is exactly what the harness writes and ends in this program's token.

Source: ours.
"""

from __future__ import annotations

import signal
import struct
from typing import Any

from galley.sandbox import plain
from galley.sandbox.types import CallResult, Calls, Check, Limits, Outcome, Program, Run, Stdin, UnitTests, Verdict

MESSAGE, TRACEBACK, NAME = 500, 4000, 200  # characters kept
_STATUS = {b"v": "value", b"r": "raised", b"t": "timeout", b"n": "not_plain"}
_REASONS: dict[str, Verdict] = {"wall time": "timeout", "CPU time": "timeout", "memory": "memory", "output": "flood"}
_TICKS_S = 0.2  # the kernel counts ticks: its kill at the CPU limit may come this much early
Found = dict[str, Any]
Said = dict[bytes, bytes]


class Reply:
    """What has come back for one program: per run, the bytes by letter and how it ended."""

    def __init__(self, token: bytes, runs: int) -> None:
        self.token, self.left = token, runs
        self.runs: list[tuple[dict[bytes, bytes], Found]] = []
        self._parts: dict[bytes, list[bytes]] = {}

    def add(self, letter: bytes, payload: bytes) -> bool:
        """Take one frame; True when the program's last run is over."""
        if letter != b"E":
            self._parts.setdefault(letter, []).append(payload)
            return False
        self.runs.append(({key: b"".join(parts) for key, parts in self._parts.items()}, plain.decode(payload)))
        self._parts = {}
        self.left -= 1
        return self.left == 0


def judge(program: Program, limits: Limits, reply: Reply, *, isolation: str) -> Outcome:
    """Judge one program from all that came back for it."""
    found: Found = {}
    stdouts: list[str] = []
    for said, ended in reply.runs:
        records, whole = _records(said.get(b"C", b""))
        one = _by_limit(ended, limits) or _JUDGES[type(program.do)](program.do, said, ended, records, whole, reply.token)
        if one.get("verdict") != "pass" or not found:
            found = found if found and found["verdict"] != "pass" else one
        stdouts.append(said.get(b"O", b"").decode("utf-8", "replace"))
    if isinstance(program.do, Calls):
        found |= _calls_found(program.do, reply.runs[0][0].get(b"C", b""), found)
    return Outcome(
        id=program.id,
        stdouts=tuple(stdouts) if isinstance(program.do, Run | Stdin) else (),
        cpu_s=sum(ended["cpu_s"] for _, ended in reply.runs),
        wall_s=sum(ended["wall_s"] for _, ended in reply.runs),
        memory_mb=max((ended["memory_mb"] for _, ended in reply.runs), default=0.0),
        isolation=isolation,
        **found,
    )


def _by_limit(ended: Found, limits: Limits) -> Found | None:
    """A limit that was passed decides, whatever the program said."""
    if ended["reason"]:
        return {"verdict": _REASONS[ended["reason"]], "message": f"{ended['reason']} beyond the limit"}
    if (ended["code"] == -signal.SIGKILL and ended["cpu_s"] >= limits.cpu_s - _TICKS_S) or ended["code"] == -signal.SIGXCPU:
        return {"verdict": "timeout", "message": "CPU time beyond the limit"}
    return None


def _records(data: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Split what a program said into records; and whether nothing was left over."""
    found, at = [], 0
    while at + 5 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 1)
        if at + 5 + size > len(data):
            break
        found.append((data[at : at + 1], data[at + 5 : at + 5 + size]))
        at += 5 + size
    return found, at == len(data)


def _unfinished(ended: Found, records: list[tuple[bytes, bytes]]) -> Found:
    """Say how a program failed that did not come to its end."""
    for kind, payload in records:
        if kind == b"X":
            return {"verdict": "fail", "exception": "Tampering", "message": payload.decode("utf-8", "replace")[:MESSAGE]}
        if kind == b"E":
            return _exception(payload)
    code = ended["code"]
    if code is not None and code < 0:
        return {"verdict": "crash", "message": f"killed by {_signal_name(-code)}"}
    return {"verdict": "no_result", "message": f"the process ended before the end was reached (exit status {code})"}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _exception(payload: bytes) -> Found:
    try:
        name, message, *rest = (str(part) for part in plain.decode(payload))
    except (plain.NotPlain, ValueError, TypeError):
        return {"verdict": "error", "message": "a malformed report"}
    text = rest[0] if rest else ""
    verdict = {"AssertionError": "fail", "MemoryError": "memory"}.get(name, "error")
    return {"verdict": verdict, "exception": name[:NAME], "message": message[:MESSAGE], "traceback": text[-TRACEBACK:]}


def _judge_run(_do: Run, _said: Said, ended: Found, records: list[tuple[bytes, bytes]], whole: bool, token: bytes) -> Found:
    if whole and ended["code"] == 0 and records == [(b"Z", token)]:
        return {"verdict": "pass"}
    return _unfinished(ended, records)


def _judge_stdin(_do: Stdin, _said: Said, ended: Found, records: list[tuple[bytes, bytes]], _whole: bool, _token: bytes) -> Found:
    if ended["code"] == 0 and [kind for kind, _ in records] == [b"Z"]:  # forging this end earns nothing: stdout is judged
        return {"verdict": "pass"}
    return _unfinished(ended, records)


def _judge_calls(do: Calls, _said: Said, ended: Found, records: list[tuple[bytes, bytes]], whole: bool, _token: bytes) -> Found:
    if whole and ended["code"] == 0 and len(records) == len(do.inputs) and all(kind in _STATUS for kind, _ in records):
        return {"verdict": "pass"}  # so far: _calls_found looks at each call
    if do.max_timeouts and [kind for kind, _ in records].count(b"t") == do.max_timeouts:
        return {"verdict": "timeout", "message": f"{do.max_timeouts} calls ran out of time"}
    return _unfinished(ended, [r for r in records if r[0] not in _STATUS])


def _judge_check(_do: Check, said: Said, ended: Found, _records: list[tuple[bytes, bytes]], _whole: bool, _token: bytes) -> Found:
    """The tester's report is trusted but for the words of the program in it."""
    report = plain.decode(said[b"V"]) if said.get(b"V") else {}
    if "said" in report:
        return _unfinished(ended, [(report["said"][:1], report["said"][1:])])
    if not report or report.get("ended"):
        return _unfinished(ended, []) | {"entry_calls": report.get("entry_calls", 0)}
    kept = {key: str(report.get(key, ""))[-TRACEBACK:] for key in ("exception", "message", "traceback")}
    return {"verdict": report["verdict"], "entry_calls": report["entry_calls"], **kept}


def _judge_unit_tests(_do: UnitTests, _said: Said, ended: Found, records: list[tuple[bytes, bytes]], whole: bool, token: bytes) -> Found:
    kinds = [kind for kind, _ in records]
    failures = tuple(_failure(payload) for kind, payload in records if kind == b"F")
    run, passed, planned = kinds.count(b"S"), kinds.count(b"P"), [payload for kind, payload in records if kind == b"N"]
    facts: Found = {"tests_run": run, "failures": failures, "entry_calls": kinds.count(b"C")}
    if not whole or ended["code"] != 0 or records[-1:] != [(b"Z", token)] or kinds.count(b"Z") != 1 or b"X" in kinds:
        return _unfinished(ended, records) | facts
    if failures or planned != [str(run).encode()] or passed + kinds.count(b"K") != run:
        return {"verdict": "fail", "message": f"{len(failures)} failures in {run} tests"} | facts
    if not passed:
        return {"verdict": "fail", "message": "no test ran"} | facts
    if b"C" not in kinds:
        return {"verdict": "fail", "message": "no test called the entry point"} | facts
    return {"verdict": "pass"} | facts


def _failure(payload: bytes) -> tuple[str, str]:
    try:
        name, message, text = plain.decode(payload)
        return str(name)[:NAME], f"{message}\n{text}"[:TRACEBACK]
    except (plain.NotPlain, ValueError, TypeError):
        return "?", "a malformed report"


def _calls_found(do: Calls, data: bytes, found: Found) -> Found:
    """Read one result per input; calls that the program did not come to are faults."""
    calls: list[CallResult] = []
    for kind, payload in _records(data)[0][: len(do.inputs)]:
        if kind == b"v" and payload[:1] in plain.KINDS:
            calls.append(CallResult("value", payload))
        elif kind == b"r":
            one = _exception(payload)
            calls.append(CallResult("raised", b"", one.get("exception", ""), one["message"]))
        elif kind in _STATUS:
            text = payload[:MESSAGE].decode("utf-8", "replace")
            calls.append(CallResult("timeout" if kind == b"t" else "not_plain", b"", "", "" if kind == b"v" else text))
        else:
            break
    came = len(calls)
    ended = "timeout" if found["verdict"] == "timeout" else "raised"
    missing = CallResult(ended, b"", "NoResult", "the program ended before this call came back")  # type: ignore[arg-type]
    calls += [missing] * (len(do.inputs) - came)
    first = next((call for call in calls if call.status != "value"), None)
    if found["verdict"] == "pass" and first is not None:
        verdict = {"raised": "error", "timeout": "timeout", "not_plain": "fail"}[first.status]
        message = f"{first.message} is not plain data" if first.status == "not_plain" else first.message
        found = {"verdict": verdict, "exception": first.exception, "message": message}
    return found | {"calls": tuple(calls), "entry_calls": came}


_JUDGES: dict[type, Any] = {
    Run: _judge_run,
    Stdin: _judge_stdin,
    Calls: _judge_calls,
    Check: _judge_check,
    UnitTests: _judge_unit_tests,
}
