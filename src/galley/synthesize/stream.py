"""A corpus through a worker, batch by batch: rows are appended in input order, memory holds one batch, a kill costs at most that batch.

The rows file is the state: as many inputs are done as it has whole lines. A batch's executions have a journal of their own (executor.py),
so that a program that had ended is not run again even if its batch had not. Rows must not depend on how inputs fall into batches.

Source: ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from galley.artifact import atomic_path
from galley.synthesize.executor import Executor

T = TypeVar("T")
Row = dict[str, Any]


def stream(
    inputs: Iterable[T], *, rows: Path, batch: int, work: Callable[[list[T]], list[Row]], run: Executor, total: int | None = None, what: str
) -> int:
    """Append a row per input to `rows` (JSON lines) and return how many there are; inputs that have one are skipped.

    `inputs` must come in the same order in every call; `work` gives one row an input, in order.
    """
    rows.parent.mkdir(parents=True, exist_ok=True)
    done = whole_lines(rows)
    rest = islice(iter(inputs), done, None)
    bar = tqdm(total=total, initial=done, desc=what, mininterval=10)
    with rows.open("a", encoding="utf-8") as log:
        while chunk := list(islice(rest, batch)):
            made = work(chunk)
            assert len(made) == len(chunk), "a row an input"
            log.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
            log.flush()
            os.fsync(log.fileno())
            run.forget()
            done += len(made)
            bar.update(len(made))
    bar.close()
    return done


def whole_lines(path: Path) -> int:
    """Return how many complete lines a file has, and cut off a torn last one; 0 when there is no file. Reads in pieces."""
    if not path.exists():
        return 0
    lines = end = at = 0
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            lines += piece.count(b"\n")
            end = at + piece.rfind(b"\n") + 1 if b"\n" in piece else end
            at += len(piece)
    if end < at:
        os.truncate(path, end)
    return lines


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON lines file, one at a time."""
    with Path(path).open(encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)


def split_rows(rows: Path, parts: Mapping[Path, Callable[[Row], Row | None]]) -> dict[Path, int]:
    """Write each part's file atomically from one pass over the rows; a part says what of a row it takes. Returns rows a part."""
    counts = dict.fromkeys(parts, 0)
    with ExitStack() as stack:
        files = {path: stack.enter_context(stack.enter_context(atomic_path(path)).open("w", encoding="utf-8")) for path in parts}
        for row in read_rows(rows):
            for path, take in parts.items():
                taken = take(row)
                if taken is not None:
                    files[path].write(json.dumps(taken, ensure_ascii=False) + "\n")
                    counts[path] += 1
    return counts
