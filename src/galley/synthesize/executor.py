"""Executions that are remembered: a batch of programs through the sandbox, each written down as soon as it has ended.

After a kill the same batch asks again, and only what has no record is run. Records are keyed by the digest of code, tests and limits,
not by name: two equal programs of a batch are run once. The journal holds one batch and is emptied when that batch's rows are
written, so it stays small whatever the corpus. Outcomes are plain data; a torn last line (the kill's own) is left out.

Source: ours.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Outcome, Program


class Executor:
    """Runs programs through one sandbox; `executed` counts those that really ran in this process, `recalled` those on record."""

    def __init__(self, sandbox: Sandbox, *, journal: Path | None = None) -> None:
        self.sandbox, self.journal = sandbox, journal
        self.executed = self.recalled = 0
        self.isolation = ""
        self.known: dict[str, Outcome] = {}
        if journal is not None and journal.exists():
            whole, size = _whole_lines(journal)
            os.truncate(journal, size)
            self.known = {key: _outcome(row) for key, row in (json.loads(line) for line in whole)}

    def all(self, programs: Sequence[Program]) -> list[Outcome]:
        """Return the outcomes in the order of the programs."""
        keys = [key_of(program) for program in programs]
        todo: dict[str, Program] = {}
        for key, program in zip(keys, programs, strict=True):
            if key not in self.known:
                todo.setdefault(key, dataclasses.replace(program, id=key))
        self.recalled += len(programs) - len(todo)
        fresh: dict[str, Outcome] = {}
        with _appending(self.journal) as log:
            for outcome in self.sandbox.map(todo.values(), ordered=False):
                self.executed += 1
                fresh[outcome.id] = outcome
                if log is not None:
                    log.write(json.dumps([outcome.id, _plain(outcome)]) + "\n")
                    log.flush()
        if self.journal is not None:
            self.known |= fresh
        found = [fresh[key] if key in fresh else self.known[key] for key in keys]
        self.isolation = found[0].isolation if found else self.isolation
        return [dataclasses.replace(outcome, id=program.id) for outcome, program in zip(found, programs, strict=True)]

    def forget(self) -> None:
        """Empty the journal: its rows are written."""
        self.known.clear()
        if self.journal is not None:
            self.journal.unlink(missing_ok=True)


def key_of(program: Program) -> str:
    """Return the digest of what a program's outcome depends on."""
    do = program.do
    text = repr((program.code, type(do).__name__, dataclasses.astuple(do), program.limits and dataclasses.astuple(program.limits)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class _appending:
    """Opens a journal for appending, or nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.handle = path, None

    def __enter__(self):
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.handle = self.path.open("a", encoding="utf-8")
        return self.handle

    def __exit__(self, *_: object) -> None:
        if self.handle is not None:
            self.handle.close()


def _plain(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON; the values of calls are their canonical bytes in base64."""
    row = {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
    row["calls"] = [[c.status, base64.b64encode(c.raw).decode(), c.exception, c.message] for c in outcome.calls]
    return row


def _outcome(row: dict[str, Any]) -> Outcome:
    calls = tuple(CallResult(status, base64.b64decode(raw), exception, message) for status, raw, exception, message in row["calls"])
    failures = tuple((name, text) for name, text in row["failures"])
    return Outcome(**{**row, "calls": calls, "stdouts": tuple(row["stdouts"]), "failures": failures})


def _whole_lines(path: Path) -> tuple[list[str], int]:
    """Return a journal's complete lines and their length in bytes."""
    raw = path.read_bytes()
    size = raw.rfind(b"\n") + 1
    return raw[:size].decode("utf-8").splitlines(), size
