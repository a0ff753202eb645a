"""What the canonical solutions of HumanEval+ and MBPP+ return: computed once in the sandbox, kept in a plain file.

Source: ours; EvalPlus (arXiv:2305.01210) keeps a pickle. The file is JSON: each value in the sandbox's canonical bytes, base64.
Its name is the digest of the programs, the inputs, the interpreter's version and this code, so that nothing stale is ever read.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_path, code_digest, file_lock
from galley.data.code_benchmarks import PlusTask
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Calls, Limits, Program

LIMITS = Limits(cpu_s=300.0, wall_s=900.0, memory_mb=4096, output_kb=512 << 10)
NOT_PLAIN = plain.dumps("a value that is not plain data")  # some tasks return matches; their oracle asks only for not-None
References = dict[str, dict[str, list[bytes]]]  # task id -> suite -> canonical bytes of each output


def references(tasks: Sequence[PlusTask], *, sandbox: Sandbox, folder: Path) -> References:
    """Return the expected outputs of every task, from a file in `folder` or from its canonical solution; GalleyError when one fails."""
    path = Path(folder) / f"references-{tasks_digest(tasks)}.json.gz"
    with file_lock(path):
        if not path.exists():
            write_references(_compute(tasks, sandbox), path)
        return read_references(path)


def tasks_digest(tasks: Sequence[PlusTask]) -> str:
    """Return 16 hex digits for the tasks, the interpreter and this code."""
    seen = hashlib.sha256(f"{platform.python_version()} {code_digest('galley.evaluate.code.references')}".encode())
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


def _compute(tasks: Sequence[PlusTask], sandbox: Sandbox) -> References:
    jobs = [(task, suite, getattr(task, suite)) for task in tasks for suite in ("base", "plus")]
    programs = (Program(f"{t.id} {suite}", t.reference, Calls(t.entry_point, inputs), LIMITS) for t, suite, inputs in jobs)
    found: References = {}
    for (task, suite, _), outcome in tqdm(
        zip(jobs, sandbox.map(programs), strict=True), total=len(jobs), desc="references", unit="suite", disable=None
    ):
        bad = next((i for i, call in enumerate(outcome.calls) if call.status not in ("value", "not_plain")), None)
        if bad is not None or len(outcome.calls) != len(getattr(task, suite)):
            said = outcome.calls[bad].exception if bad is not None else outcome.verdict
            raise GalleyError(
                f"{task.id}: its own solution fails on {suite} input {bad} ({said} {outcome.message}); the benchmark is not scored"
            )
        found.setdefault(task.id, {})[suite] = [_kept(call) for call in outcome.calls]
    return found


def _kept(call: CallResult) -> bytes:
    return call.raw if call.status == "value" else NOT_PLAIN
