"""Executions that are remembered: a batch of programs through the sandbox, each written down as soon as it has ended.

After a kill the same batch asks again, and only what has no record is run. Records are keyed by the digest of code, tests and limits,
not by name: two equal programs of a batch are run once. With a journal the records are on disk; `forget` empties it when a batch's rows
are written, so it stays small whatever the corpus.

Source: ours.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Outcome, Program
from galley.synthesize.journal import Journal


class Executor:
    """Runs programs through one sandbox; `executed` counts those that really ran in this process, `recalled` those on record."""

    def __init__(self, sandbox: Sandbox, *, journal: Journal | None = None) -> None:
        self.sandbox, self.journal = sandbox, journal
        self.executed = self.recalled = 0
        self.isolation = ""

    def all(self, programs: Sequence[Program]) -> list[Outcome]:
        """Return the outcomes in the order of the programs; equal programs are run once."""
        keys = [key_of(program) for program in programs]
        found: dict[str, Outcome] = {}
        todo: dict[str, Program] = {}
        for key, program in zip(keys, programs, strict=True):
            if key in found or key in todo:
                continue
            record = self.journal.get(key) if self.journal is not None else None
            if record is not None:
                found[key] = _outcome(json.loads(record))
            else:
                todo[key] = dataclasses.replace(program, id=key)
        self.recalled += len(programs) - len(todo)
        for outcome in self.sandbox.map(todo.values(), ordered=False):
            self.executed += 1
            found[outcome.id] = outcome
            if self.journal is not None:
                self.journal.put(outcome.id, json.dumps(_plain(outcome)))
            self.isolation = outcome.isolation
            self.ended(outcome)
        return [dataclasses.replace(found[key], id=program.id) for key, program in zip(keys, programs, strict=True)]

    def ended(self, outcome: Outcome) -> None:
        """Called when an execution has ended and is on record; its id is the program's key."""

    def forget(self) -> None:
        """Empty the journal: its rows are written."""
        if self.journal is not None:
            self.journal.clear()


def key_of(program: Program) -> str:
    """Return the digest of what a program's outcome depends on."""
    do = program.do
    fields = [getattr(do, f.name) for f in dataclasses.fields(do)]
    text = repr((program.code, type(do).__name__, fields, program.limits))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _plain(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON; the values of calls are their canonical bytes in base64."""
    row = {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
    row["calls"] = [[c.status, base64.b64encode(c.raw).decode(), c.exception, c.message] for c in outcome.calls]
    return row


def _outcome(row: dict[str, Any]) -> Outcome:
    calls = tuple(CallResult(status, base64.b64decode(raw), exception, message) for status, raw, exception, message in row["calls"])
    failures = tuple((name, text) for name, text in row["failures"])
    return Outcome(**{**row, "calls": calls, "stdouts": tuple(row["stdouts"]), "failures": failures})
