"""Completions on the disk, found by what they were asked for: model, prompt, sampling, number of the sample.

Source: ours. One small JSON file a sample, written whole or not at all; so a job that was stopped goes on where it was, and two
jobs may share a folder. Failures are not kept: the next run tries them again. A file that is broken counts as absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from galley.artifact import write_json
from galley.llm.backend import Completion, Item, Sampling

Draw = Callable[[list[tuple[int, Item]]], Iterator[tuple[int, Completion]]]  # yields samples as they come, in any order


class ResponseCache:
    """A folder of completions, each as the run that asked for it used it."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def _path(self, identity: str, item: Item, sampling: Sampling) -> Path:
        wanted = {"model": identity, "prompt": item.plain(), "number": item.number, "sampling": asdict(sampling)}
        name = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"

    def get(self, identity: str, item: Item, sampling: Sampling) -> Completion | None:
        """Return a kept completion, or None."""
        try:
            return _checked(json.loads(self._path(identity, item, sampling).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def put(self, identity: str, item: Item, sampling: Sampling, completion: Completion) -> None:
        """Keep a completion, unless it is a failure."""
        if completion.finish != "failed":
            write_json(self._path(identity, item, sampling), asdict(completion))


def draw_all(items: Sequence[Item], draw: Draw, *, identity: str, sampling: Sampling, cache: ResponseCache | None) -> list[Completion]:
    """Return a completion of every item: kept ones from the cache, the others from `draw`, kept as they come."""
    done: dict[int, Completion] = {}
    for at, item in enumerate(items):
        kept = cache.get(identity, item, sampling) if cache else None
        if kept:
            done[at] = kept
    todo = [(at, item) for at, item in enumerate(items) if at not in done]
    with tqdm(total=len(items), initial=len(done), desc="generate", unit="sample", disable=None if len(todo) > 1 else True) as progress:
        for at, completion in draw(todo) if todo else ():
            done[at] = completion
            if cache:
                cache.put(identity, items[at], sampling, done[at])
            progress.update()
    return [done[at] for at in range(len(items))]


def _checked(row: dict[str, Any]) -> Completion:
    """Return a kept completion; TypeError or ValueError for a row that `put` never wrote."""
    kept = Completion(**row)
    if not isinstance(kept.text, str) or kept.finish not in ("stop", "length") or not isinstance(kept.tokens, int | None):
        raise ValueError("no completion")
    return kept


def grouped(completions: Sequence[Completion], n: int) -> list[list[Completion]]:
    """Return completions in lists of n, one list a prompt."""
    return [list(completions[start : start + n]) for start in range(0, len(completions), n)]
