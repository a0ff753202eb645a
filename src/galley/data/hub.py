"""Hub data sets: which columns of which repository are text to train on, or the items of a benchmark.

recipes/datasets.yaml names them; their commit is recipes/revisions.yaml's. Unlike a source they are too large to check byte
by byte, so a commit stands in for the checksum. Rows are streamed by `datasets`: nothing runs that a repository brings along.

Source: ours.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tenacity import retry, stop_after_attempt, wait_exponential

from galley.artifact import GalleyError
from galley.data.revisions import hub_failures, read_pins, revision_of
from galley.declared import checked, read_yaml
from galley.recipe import Name, Strict, Text

FILE = "datasets.yaml"  # in the recipes' folder
ROWS = 64  # read, and where it applies fetched, at a time
BLOBS = "https://softwareheritage.s3.amazonaws.com/content/{blob}"  # the archive behind python-edu, public


class HubData(Strict):
    """One data set of the hub: text of a mixture, or a benchmark's items."""

    kind: Literal["text", "benchmark", "archive"] = Field(description="archive: JSON lines inside one zip file")
    repo: Name
    configs: list[Name | None] = Field(default=[None], description="read one after the other")
    split: Name = "train"
    column: Name = Field(default="text", description="text: the column that holds it, or a blob id of the software archive")
    blobs: bool = Field(default=False, description="text: the column names gzipped files of the software archive")
    file: str = Field(default="", description="archive: its name in the repository")
    licence: Text
    note: str = ""


def read_hub_data(recipes: Path) -> dict[str, HubData]:
    """Return the registered data sets; a GalleyError names what is wrong."""
    path = recipes / FILE
    known: dict[str, HubData] = checked(
        dict[str, HubData], read_yaml(path, what="registry of hub data sets", home=f"recipes/{FILE}", empty=True)
    )
    return known


def pinned(name: str, *, recipes: Path) -> tuple[HubData, str]:
    """Return a data set and its commit; GalleyError for an unknown one, or one without a commit."""
    known = read_hub_data(recipes)
    if name not in known:
        raise GalleyError(f"hub data set is {name!r}; {recipes / FILE} has: {', '.join(known)}")
    commit = revision_of(known[name].repo, read_pins(recipes))
    if commit is None:
        raise GalleyError(f"{known[name].repo} has no commit in {recipes / 'revisions.yaml'}; run `galley pin` for its recipe")
    return known[name], commit


class Rows:
    """The rows of a data set in order, some at a time, from a position that can be kept and taken up again."""

    def __init__(self, data: HubData, revision: str | None) -> None:
        self.data = data
        self.parts = [open_stream(data.repo, config, split=data.split, revision=revision) for config in data.configs]
        self.part = 0

    def position(self) -> dict[str, Any]:
        """Return where the next rows come from."""
        return {"part": self.part, "state": self.parts[self.part].state_dict() if self.part < len(self.parts) else None}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from a kept position."""
        self.part = position["part"]
        if position["state"] is not None:
            self.parts[self.part].load_state_dict(position["state"])

    def take(self) -> Iterator[list[dict[str, Any]]]:
        """Yield up to ROWS rows at a time, to the end."""
        while self.part < len(self.parts):
            some: list[dict[str, Any]] = []
            for row in self.parts[self.part]:
                some.append(row)
                if len(some) == ROWS:
                    yield some
                    some = []
            self.part += 1
            if some:
                yield some


def open_stream(repo: str, config: str | None, *, split: str, revision: str | None) -> Any:
    """Return a data set of the hub (or of a local folder) as a stream; GalleyError when it cannot be had."""
    from datasets import load_dataset

    try:
        return load_dataset(repo, name=config, split=split, streaming=True, revision=revision)
    except hub_failures(ValueError) as error:
        raise GalleyError(f"{repo} ({config or 'default'}, {split}) could not be streamed: {type(error).__name__}: {error}") from None


def texts_of(rows: list[dict[str, Any]], data: HubData) -> list[str]:
    """Return the rows' texts; of blob ids, the files' contents. GalleyError when the column is not there."""
    missing = next((row for row in rows if data.column not in row), None)
    if missing is not None:
        raise GalleyError(f"{data.repo}: no column {data.column!r}; it has {', '.join(missing)}: correct recipes/{FILE}")
    cells = [row[data.column] for row in rows]
    if not data.blobs:
        return cells
    with ThreadPoolExecutor(16) as pool:
        return [text for text in pool.map(blob_text, cells) if text]


@retry(stop=stop_after_attempt(5), wait=wait_exponential(multiplier=0.5, max=10), reraise=True)
def blob_text(blob: str) -> str:
    """Return a file of the software archive; empty when the archive no longer has it."""
    import requests  # slow to import, and a plan reads this module

    answer = requests.get(BLOBS.format(blob=blob), timeout=(5, 60))
    if answer.status_code == 404:
        return ""
    answer.raise_for_status()
    return gzip.decompress(answer.content).decode("utf-8", errors="ignore")
