"""Programs from a file to a file: JSON lines in, one row per line out, resumable after any kill.

A line is {"id", "code", "do": {"kind": "run" | "check" | "calls" | "unit_tests" | "stdin", ...}, "limits": {...}}; the fields of
`do` and `limits` are those of galley.sandbox.types. Values that JSON lacks are tagged: {"!tuple": [...]}, {"!set": [...]},
{"!frozenset": [...]}, {"!bytes": "hex"}, {"!complex": [re, im]}, {"!float": "nan"}, {"!dict": [[key, value], ...]}.

Each finished program is appended to a journal at once; a run that was killed goes on from there and runs none again. The
result is the journal's rows in the order of the input. A line that is no program becomes a row with the verdict "invalid".

Source: ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from galley.artifact import GalleyError, atomic_path
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import NO_VALUE, Calls, Check, Limits, Outcome, Program, Run, Stdin, UnitTests

KINDS: dict[str, type] = {"run": Run, "check": Check, "calls": Calls, "unit_tests": UnitTests, "stdin": Stdin}
MAX_LINE = 64 << 20
_TAGS: dict[str, Any] = {
    "!tuple": tuple,
    "!set": set,
    "!frozenset": frozenset,
    "!bytes": bytes.fromhex,
    "!complex": lambda pair: complex(*pair),
    "!float": float,
    "!dict": dict,
}


def to_json(value: Any) -> Any:
    """Return a plain value as tagged JSON data."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return {"!float": repr(value)}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [to_json(item) for item in value]
    if kind is bytes:
        return {"!bytes": value.hex()}
    if kind is complex:
        return {"!complex": [to_json(value.real), to_json(value.imag)]}
    if kind is dict:
        if all(type(key) is str and not key.startswith("!") for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return {"!dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    return {f"!{kind.__name__}": [to_json(item) for item in value]}


def from_json(value: Any) -> Any:
    """Return the plain value of tagged JSON data. Raises ValueError for a tag that it does not know."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)).startswith("!"):
        ((tag, inner),) = value.items()
        if tag not in _TAGS:
            raise ValueError(f"unknown tag {tag!r}")
        return _TAGS[tag](inner if tag == "!bytes" else from_json(inner))
    return {key: from_json(item) for key, item in value.items()}


def parse(line: bytes) -> Program:
    """Return the program of a line. Raises ValueError that says what is wrong with it."""
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE >> 20} MiB")
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(row, dict):
        raise ValueError("not an object")
    for name in ("id", "code"):
        if not isinstance(row.get(name), str):
            raise ValueError(f"{name!r} is missing or no text")
    do = dict(row.get("do") or {"kind": "run"})
    kind = KINDS.get(do.pop("kind", ""))
    if kind is None:
        raise ValueError(f"do.kind must be one of {', '.join(KINDS)}")
    try:
        limits = Limits(**row["limits"]) if row.get("limits") else None
        program = Program(row["id"], row["code"], kind(**{key: from_json(value) for key, value in do.items()}), limits)
    except TypeError as error:
        raise ValueError(str(error).replace("__init__() ", " ")) from None
    _check_types(program)
    return program


def _check_types(program: Program) -> None:
    for name, value in vars(program.do).items():
        if name in ("test", "tests", "entry_point", "stdin") and not isinstance(value, str):
            raise ValueError(f"do.{name} is {value!r:.40}, not text")
    if isinstance(program.do, Stdin) and not all(isinstance(item, str) for item in program.do.inputs):
        raise ValueError("do.inputs must be a list of texts")
    if isinstance(program.do, Calls) and not all(isinstance(item, list | dict | tuple) for item in program.do.inputs):
        raise ValueError("do.inputs must be a list of argument lists or keyword objects")
    for name, value in vars(program.limits).items() if program.limits else ():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e9:
            raise ValueError(f"limits.{name} is {value!r:.40}, not a positive number")


def row_of(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON data."""
    row = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome) if field.name != "calls"}
    row["calls"] = [
        {"status": call.status, "exception": call.exception, "message": call.message}
        | ({"value": to_json(call.value)} if call.value is not NO_VALUE else {})
        for call in outcome.calls
    ]
    return row


class _Journal:
    """Finished rows on disk: where each input line's row begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[int, tuple[str, int]] = {}  # line number -> digest of the line, offset of its row
        end = 0
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    try:
                        row = json.loads(line)
                        self.places[row["line"]] = (row["line_sha256"], end)
                    except (ValueError, KeyError, TypeError):
                        break
                    if not line.endswith(b"\n"):
                        break
                    end += len(line)
            os.truncate(path, end)  # a row that was cut off is run again
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = path.open("ab")

    def add(self, number: int, digest: str, row: dict[str, Any]) -> None:
        self.places[number] = (digest, self.file.tell())
        data = json.dumps({"line": number, "line_sha256": digest} | row, ensure_ascii=True)
        self.file.write(data.encode() + b"\n")
        self.file.flush()


def checked(source: Path) -> None:
    """Refuse a file in which no line is a program, before anything is started."""
    first = ""
    for number, line in _lines(source):
        try:
            parse(line)
            return
        except ValueError as error:
            first = first or f": line {number}: {error}"
    raise GalleyError(f"SOURCE is {source}, which has no program{first}; it takes JSON lines, see `galley run-programs --help`")


def run_programs(source: Path, out: Path, *, sandbox: Sandbox) -> dict[str, int]:
    """Run every program of `source` that has no row yet; write `out` in input order; returns how many had which verdict."""
    journal = _Journal(out.with_name(f".{out.name}.journal"))
    digests: dict[int, str] = {}
    with tqdm(unit="program", desc="programs") as bar, journal.file:

        def programs() -> Iterator[Program]:
            seen: set[str] = set()
            for number, line in _lines(source):
                digest = digests[number] = hashlib.sha256(line).hexdigest()[:16]
                try:
                    program = parse(line)
                    if program.id in seen:
                        raise ValueError(f"id {program.id!r} came before")
                    seen.add(program.id)
                except ValueError as error:
                    journal.add(number, digest, {"id": None, "verdict": "invalid", "message": str(error)[:500]})
                    bar.write(f"line {number}: {error}")
                    continue
                bar.update(1)
                if journal.places.get(number, ("", 0))[0] != digest:
                    yield dataclasses.replace(program, id=f"{number}:{program.id}")

        for outcome in sandbox.map(programs(), ordered=False):
            where, _, name = outcome.id.partition(":")
            journal.add(int(where), digests[int(where)], row_of(dataclasses.replace(outcome, id=name)))
    counts: dict[str, int] = {}
    with atomic_path(out) as part, part.open("wb") as sink, journal.path.open("rb") as rows:
        for number in sorted(digests):
            rows.seek(journal.places[number][1])
            line = rows.readline()
            sink.write(line)
            verdict = json.loads(line)["verdict"]
            counts[verdict] = counts.get(verdict, 0) + 1
    journal.path.unlink()
    return counts


def _lines(source: Path) -> Iterator[tuple[int, bytes]]:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip(b"\r\n")
