"""A benchmark of the hub as a fetched source: its items as JSON lines, and the record of where they came from.

Source: ours. The items are the repository's own rows, in its order; what they mean is galley.evaluate's business.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_dir, atomic_path, sha256_file
from galley.data.fetched import leave_beside, leave_record
from galley.data.hub import HubData, Rows, pinned, read_hub_data
from galley.data.revisions import hub_failures


def is_hub_benchmark(name: str, *, recipes: Path) -> bool:
    """Return whether a name is a registered benchmark of the hub."""
    return name in read_hub_data(recipes) and read_hub_data(recipes)[name].kind != "text"


def fetch_benchmark(name: str, *, out: Path, recipes: Path, optional: bool = False, beside: Path | None = None) -> dict[str, Any]:
    """Fill `out` with items.jsonl (or the archive's own files) and source.json; `beside` is galley.data.fetched's record.

    GalleyError when the hub cannot be reached or the repository has no commit, unless `optional`: then source.json says absent.
    """
    record: dict[str, Any]
    try:
        data, commit = pinned(name, recipes=recipes)
        with atomic_dir(out) as part:
            items = _unpack(data, commit, part) if data.kind == "archive" else _items(data, commit, part, name=name)
            origin = {"kind": "hub", "repo": data.repo, "revision": commit}
            made = {path.name: sha256_file(path) for path in sorted(part.iterdir())}
            record = {"status": "ok", "source": name, "origin": origin, "licence": data.licence, "items": items, "sha256": made}
            leave_record(part, record)
    except GalleyError as error:
        if not optional:
            raise
        record = {"status": "absent", "source": name, "tried": [str(error)], "how_to_supply": "give the machine a way to the hub"}
        leave_record(out, record)
    leave_beside(record, beside)
    return record


def _items(data: HubData, commit: str, folder: Path, *, name: str) -> int:
    count = 0
    with atomic_path(folder / "items.jsonl") as path, path.open("w", encoding="utf-8") as lines:
        for some in tqdm(Rows(data, commit).take(), desc=name, unit="rows", unit_scale=64, mininterval=10):
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
            count += len(some)
    return count


def _unpack(data: HubData, commit: str, folder: Path) -> int:
    from huggingface_hub import hf_hub_download

    try:
        archive = hf_hub_download(data.repo, data.file, repo_type="dataset", revision=commit)
    except hub_failures() as error:
        raise GalleyError(f"{data.repo}/{data.file} could not be had from the hub ({type(error).__name__})") from None
    with zipfile.ZipFile(archive) as files:
        names = [name for name in files.namelist() if name.endswith(".jsonl")]
        for name in names:
            (folder / Path(name).name).write_bytes(files.read(name))
    return len(names)
