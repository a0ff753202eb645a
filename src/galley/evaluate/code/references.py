"""What the canonical solutions of HumanEval+ and MBPP+ return: computed once in the sandbox, kept in a plain file.

Source: ours; EvalPlus (arXiv:2305.01210) keeps a pickle. The file is JSON: each value in the sandbox's canonical bytes, base64.
Its name is the digest of the programs, the inputs, the interpreter's version and the format, so that nothing stale is ever read.
Two tasks of HumanEval+ return 240 MB of the 255 in all: what is larger than KEPT_BYTES is not kept but computed again. Deviation:
an input whose canonical output is more than the sandbox hands over (64 MiB) is not judged; it is one of MBPP+'s 39,841 plus inputs,
of task 255, with 128 million items.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_path, file_lock
from galley.data.code_benchmarks import PlusTask
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Calls, Limits, Program

LIMITS = Limits(cpu_s=300.0, wall_s=900.0, memory_mb=4096)
PART_BYTES = 16 << 20  # of outputs that one program hands back; the sandbox takes no more than 64 MiB
FORMAT = 1  # raise it when the same tasks must be computed again
KEPT_BYTES = 8 << 20  # of a task's outputs
TOO_LARGE = b""  # in place of an output that the sandbox does not hand over: that input is not judged
NOT_PLAIN = plain.dumps("a value that is not plain data")  # some tasks return matches; their oracle asks only for not-None
References = dict[str, dict[str, list[bytes]]]  # task id -> suite -> canonical bytes of each output
_RECENT: dict[Path, References] = {}  # what was asked for last: certificates ask for the same tasks five times over


def references(tasks: Sequence[PlusTask], *, sandbox: Sandbox, folder: Path) -> References:
    """Return the expected outputs of every task, from a file in `folder` or from its canonical solution; GalleyError when one fails."""
    path = Path(folder) / f"references-{tasks_digest(tasks)}.json.gz"
    if path not in _RECENT:
        _RECENT.clear()
        _RECENT[path] = _kept_or_computed(tasks, path, sandbox)
    return _RECENT[path]


def _kept_or_computed(tasks: Sequence[PlusTask], path: Path, sandbox: Sandbox) -> References:
    with file_lock(path):
        if not path.exists():
            found = compute(tasks, sandbox=sandbox)
            kept = {task: suites for task, suites in found.items() if _bytes(suites) <= KEPT_BYTES}
            write_references(kept, path)
            return found
    found = read_references(path)
    return found | compute([task for task in tasks if task.id not in found], sandbox=sandbox)


def tasks_digest(tasks: Sequence[PlusTask]) -> str:
    """Return 16 hex digits for the tasks, the interpreter and the file's format."""
    seen = hashlib.sha256(f"{platform.python_version()} {FORMAT}".encode())
    for task in tasks:
        for part in (
            task.id.encode(),
            task.reference.encode(),
            task.entry_point.encode(),
            plain.dumps(list(map(list, task.base + task.plus))),
        ):
            seen.update(len(part).to_bytes(8, "little") + part)
    return seen.hexdigest()[:16]


def write_references(found: References, path: Path) -> None:
    """Write references; the same values are the same bytes."""
    text = {
        task: {suite: [base64.b64encode(raw).decode() for raw in raws] for suite, raws in suites.items()} for task, suites in found.items()
    }
    with atomic_path(path) as part:
        part.write_bytes(gzip.compress(json.dumps(text, sort_keys=True).encode(), compresslevel=6, mtime=0))


def read_references(path: Path) -> References:
    """Read references; GalleyError when the file is not what was written."""
    try:
        text = json.loads(gzip.decompress(path.read_bytes()))
        return {task: {s: [base64.b64decode(raw) for raw in raws] for s, raws in suites.items()} for task, suites in text.items()}
    except (OSError, ValueError, AttributeError, EOFError) as error:
        raise GalleyError(f"{path} is broken ({error}); delete it, and it is made again") from None


def judged(wanted: Sequence[bytes]) -> list[int]:
    """Return the numbers of a suite's inputs that are judged: all whose canonical output is there."""
    return [at for at, raw in enumerate(wanted) if raw != TOO_LARGE]


def parts(inputs: Sequence[Any], wanted: Sequence[bytes]) -> list[Sequence[Any]]:
    """Return a suite's judged inputs in runs whose canonical outputs fit PART_BYTES; nearly always one run, the inputs themselves."""
    if sum(map(len, wanted)) <= PART_BYTES and TOO_LARGE not in wanted:
        return [inputs]
    found: list[list[Any]] = [[]]
    room = PART_BYTES
    for at in judged(wanted):
        if found[-1] and len(wanted[at]) > room:
            found.append([])
            room = PART_BYTES
        found[-1].append(inputs[at])
        room -= len(wanted[at])
    return list(found)


def compute(tasks: Sequence[PlusTask], *, sandbox: Sandbox) -> References:
    """Run the canonical solutions; GalleyError when one of them fails."""
    jobs = [(task, suite, getattr(task, suite)) for task in tasks for suite in ("base", "plus")]
    programs = (Program(f"{t.id} {suite}", t.reference, Calls(t.entry_point, inputs), LIMITS) for t, suite, inputs in jobs)
    found: References = {task.id: {} for task in tasks}
    flooded = []
    outcomes = sandbox.map(programs)
    for task, suite, _ in tqdm(jobs, desc="references", unit="suite", disable=None if len(jobs) > 8 else True):
        outcome = next(outcomes)
        if outcome.verdict == "flood":
            flooded.append((task, suite))
        else:
            found[task.id][suite] = _raw(task, suite, outcome.calls, outcome.message)
    for task, suite in flooded:
        found[task.id][suite] = _piece_by_piece(task, suite, sandbox)
    return found


def _raw(task: PlusTask, suite: str, calls: Sequence[CallResult], message: str) -> list[bytes]:
    bad = next((i for i, call in enumerate(calls) if call.status not in ("value", "not_plain")), None)
    if bad is not None:
        said = f"{calls[bad].exception} {calls[bad].message} {message}".strip()
        raise GalleyError(f"{task.id}: its own solution fails on {suite} input {bad} ({said}); do not use this benchmark")
    return [call.raw if call.status == "value" else NOT_PLAIN for call in calls]


def _bytes(suites: dict[str, list[bytes]]) -> int:
    return sum(len(raw) for raws in suites.values() for raw in raws)


def _piece_by_piece(task: PlusTask, suite: str, sandbox: Sandbox) -> list[bytes]:
    """Return the outputs of a suite that are too many for one program: each takes up where the last one had to end."""
    inputs: Sequence[Any] = getattr(task, suite)
    found: list[bytes] = []
    while len(found) < len(inputs):
        outcome = sandbox.run(Program(task.id, task.reference, Calls(task.entry_point, inputs[len(found) :]), LIMITS))
        came = [call for call in outcome.calls if call.exception != "NoResult"] if outcome.verdict == "flood" else outcome.calls
        found += _raw(task, suite, came, outcome.message) or [TOO_LARGE]
    return found
