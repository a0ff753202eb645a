"""A journal of finished work that survives kill -9: what was finished is never run again, and order does not matter.

One SQLite file (write-ahead log, one transaction an entry): an entry is whole or absent, and only keys in use are in memory. The
key of a program is a digest of its source, of what is done with it and of its limits, so that equal programs run once.

Source: ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

T = TypeVar("T")
Job = TypeVar("Job", contravariant=True)


class Work(Protocol[Job]):
    """Something that does jobs in order, lazily: a sandbox's `map`, a backend."""

    def __call__(self, jobs: Iterable[Job]) -> Iterator[str]:
        """Yield one result, as text, for each job in order."""
        ...


class Journal:
    """Results by key, as text; a context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.db.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing: the log is the kernel's once it is written. Only a power cut can take the last entries.
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.db.close()

    def __len__(self) -> int:
        return int(self.db.execute("SELECT COUNT(*) FROM done").fetchone()[0])

    def get(self, key: str) -> str | None:
        """Return a result, or None when it is not there."""
        row = self.db.execute("SELECT result FROM done WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: str, result: str) -> None:
        """Keep a result; the first one of a key stays."""
        self.db.execute("INSERT OR IGNORE INTO done VALUES (?, ?)", (key, result))

    def clear(self) -> None:
        """Forget every result: what was made of them is kept elsewhere."""
        self.db.execute("DELETE FROM done")

    def run(self, jobs: Iterable[tuple[str, T]], work: Work[T], *, chunk: int = 256) -> Iterator[tuple[T, str]]:
        """Yield (job, result) of every (key, job) in order; only jobs whose key is not in the journal are worked, each key once.

        Jobs are taken `chunk` at a time, so that memory does not grow with their number; a result is kept as soon as it is there.
        """
        jobs = iter(jobs)
        while part := list(islice(jobs, chunk)):
            new = {key: job for key, job in part if self.get(key) is None}
            for key, result in zip(new, work(new.values()), strict=True):
                self.put(key, result)
            for key, job in part:
                kept = self.get(key)
                assert kept is not None
                yield job, kept
