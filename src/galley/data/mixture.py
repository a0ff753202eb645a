"""A mixture of streamed text: several data sets by weight, into train, calibration and held-out documents.

Source: arXiv:2502.14837, section 4.1 and its configurations (weights 0.70/0.15/0.08/0.06/0.01; each set is read in order).
Settled: weights are shares of bytes, met at every point of the file to within one document; a document's split is a hash of its
text, so that copies of it are on the same side.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from galley.artifact import GalleyError, write_json
from galley.data.hub import HubData, Rows, pinned, texts_of

SPLITS = ("train", "calibration", "heldout")
KEEP_EVERY = 2**28  # bytes between positions that an interrupted run can go on from


class Reader:
    """One data set's documents, with a position before the next one."""

    def __init__(self, name: str, data: HubData, revision: str | None) -> None:
        self.name, self.data, self.rows = name, data, Rows(data, revision)
        self.start, self.used = self.rows.position(), 0
        self.texts: Iterator[str] = iter(())
        self.batches = self.rows.take()

    def next(self) -> str:
        """Return the next document; GalleyError at the end of the data set."""
        while True:
            for text in self.texts:
                self.used += 1
                return text
            self.start, self.used = self.rows.position(), 0
            rows = next(self.batches, None)
            if rows is None:
                raise GalleyError(f"{self.name} has no more documents; lower corpus.mixture_bytes or its weight in corpus.mixture")
            self.texts = iter(texts_of(rows, self.data))

    def position(self) -> dict[str, Any]:
        """Return what `seek` goes on from."""
        return {"rows": self.start, "used": self.used}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from a kept position: the rows of its batch that were used are read again and left out."""
        self.rows.seek(position["rows"])
        self.batches = self.rows.take()
        for _ in range(position["used"]):
            self.next()


def split_of_text(text: str, *, held_fraction: float, seed: int) -> str:
    """Return a document's split from a hash of its text: `held_fraction` each for heldout and calibration."""
    point = int(hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()[:12], 16) / 2**48
    return "heldout" if point < held_fraction else "calibration" if point < 2 * held_fraction else "train"


def from_hub(names: Mapping[str, float], *, recipes: Path) -> dict[str, tuple[HubData, str | None]]:
    """Return the registered data sets of a mixture with their commits; GalleyError when one is unknown or has no commit."""
    return {name: pinned(name, recipes=recipes) for name in names}


def write_mixture(
    folder: Path,
    data: Mapping[str, tuple[HubData, str | None]],
    weights: Mapping[str, float],
    *,
    total: int,
    held_fraction: float,
    seed: int,
) -> dict[str, dict[str, dict[str, int]]]:
    """Append `total` bytes of documents to folder/{split}.jsonl by weight; return documents and characters by split and set.

    An interrupted call goes on from the latest kept position and ends in the same bytes.
    """
    readers = {name: Reader(name, *data[name]) for name in weights}
    folder.mkdir(parents=True, exist_ok=True)
    kept_file = folder / "position.json"
    kept = json.loads(kept_file.read_text()) if kept_file.exists() else None
    sizes = dict.fromkeys(weights, 0) if kept is None else kept["sizes"]
    facts: dict = {split: {} for split in SPLITS} if kept is None else kept["facts"]
    files = {}
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        path.touch()
        os.truncate(path, kept["files"][split] if kept else 0)
        files[split] = path.open("a", encoding="utf-8")
    if kept:
        for name, reader in readers.items():
            reader.seek(kept["readers"][name])
    whole, written, mark = sum(weights.values()), sum(sizes.values()), sum(sizes.values()) + KEEP_EVERY
    with tqdm(total=total, initial=written, desc="corpus", unit="B", unit_scale=True, mininterval=10) as bar:
        while written < total:
            if written >= mark:
                for file in files.values():
                    file.flush()
                    os.fsync(file.fileno())
                ends = {split: (folder / f"{split}.jsonl").stat().st_size for split in SPLITS}
                at = {name: reader.position() for name, reader in readers.items()}
                write_json(kept_file, {"sizes": sizes, "facts": facts, "files": ends, "readers": at})
                mark = written + KEEP_EVERY
            # The set that is furthest behind its share gives the next document.
            name = max(weights, key=lambda n: weights[n] / whole * (written + 1) - sizes[n])
            text = readers[name].next()
            split = split_of_text(text, held_fraction=held_fraction, seed=seed)
            count = facts[split].setdefault(name, {"documents": 0, "characters": 0})
            row = {"id": f"{name}/{split}/{count['documents']}", "text": text, "source": name}
            files[split].write(json.dumps(row, ensure_ascii=False) + "\n")
            count["documents"] += 1
            count["characters"] += len(text)
            size = len(text.encode())
            sizes[name] += size
            written += size
            bar.update(size)
    for file in files.values():
        file.close()
    kept_file.unlink(missing_ok=True)
    return facts
