"""What a fetch left: its record, whether the bytes are still those, and whether a source that was out of reach has come back.

`source.json` in a source's folder says all that is known of it. The record beside the folder says what is in it and nothing of where
it came from or when: what is made from a source depends on that file alone. Light: the Snakefile imports it.

Source: ours.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError, digest, sha256_file, write_json
from galley.recipe import MISSING

AGAIN = "run again: it is fetched anew when it is needed"
KEPT = ("status", "source", "licence", "bytes", "items", "sha256", "how_to_supply")


def leave_record(folder: Path, record: dict[str, Any]) -> None:
    """Write a source's record into its folder."""
    write_json(folder / "source.json", record)


def leave_beside(record: dict[str, Any], beside: Path | None) -> None:
    """Write to `beside` what of a source's record says what its folder holds; when that is so."""
    if beside:
        write_json(beside, {key: record[key] for key in KEPT if key in record})


def read_record(folder: Path) -> dict[str, Any]:
    """Return what is known of a source; one that was never fetched is absent. GalleyError where the record is broken."""
    path = folder / "source.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] not in ("ok", "absent") or not isinstance(record.get("sha256", {}), dict):
            raise ValueError("its status is unknown")
    except FileNotFoundError:
        how = f"run `galley fetch {folder.name} --out {folder}`"
        return {"status": "absent", "source": folder.name, "how_to_supply": how}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GalleyError(f"{path} is broken ({error}); delete {folder} and {AGAIN}") from None
    return record


def present(folder: Path) -> bool:
    """Return whether a source was fetched, with the bytes that its record names; an absent one left only its record.

    GalleyError: a file that was changed, or is gone, since it was fetched.
    """
    record = read_record(folder)
    if record["status"] == "absent":
        return False
    for name, wanted in record.get("sha256", {}).items():
        fault = _fault(folder / name, wanted)
        if fault:
            raise GalleyError(f"{folder / name} {fault}; delete {folder} and {AGAIN}")
    return True


def check_present(sources: Path, *, seen: Path) -> None:
    """Refuse a fetched source whose files are no more what its record says, used by this run or not: what was made of it is not of it now.

    `seen` is a file for the states in which files had the right bytes: only what was touched since is read again. GalleyError names the
    first file that was changed, or is gone; a folder that is gone as a whole is fetched again when it is needed.
    """
    known = _seen(seen)
    wanted: dict[Path, str] = {}
    for beside in sorted(sources.glob("*.json")):
        folder = beside.with_suffix("")
        if folder.is_dir() and _record_beside(beside).get("status") == "ok":
            _check_record(folder, beside)
            wanted |= {folder / name: sha for name, sha in read_record(folder).get("sha256", {}).items()}

    def state(path: Path) -> list[object]:
        return [wanted[path], *_state(path)] if path.is_file() else []

    states = {str(path): state(path) for path in wanted}
    touched = [path for path in wanted if not states[str(path)] or known.get(str(path)) != states[str(path)]]
    with ThreadPoolExecutor(8) as pool:
        for path, fault in zip(touched, pool.map(lambda path: _fault(path, wanted[path]), touched), strict=True):
            if fault:
                raise GalleyError(f"{path} {fault}; delete {sources / path.relative_to(sources).parts[0]} and {AGAIN}")
    if touched and seen.parent.is_dir():
        write_json(seen, states)


def _seen(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    return {}


def _check_record(folder: Path, beside: Path) -> None:
    """Refuse a source whose two records, in its folder and beside it, do not say the same of its files."""
    record = read_record(folder)
    if {name: record[name] for name in KEPT if name in record} != _record_beside(beside):
        raise GalleyError(f"{folder / 'source.json'} is not what was fetched: {beside} says otherwise; delete {folder} and {AGAIN}")


def _fault(path: Path, wanted: str) -> str:
    """Return what is wrong with a fetched file, as the end of a sentence; nothing where it has the bytes that were fetched."""
    got = _sha256(path, *_state(path)) if path.is_file() else "nothing"
    return "" if got == wanted else f"is not what was fetched: its sha256 is {got}, not {wanted}"


def _state(path: Path) -> tuple[int, ...]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, *state: int) -> str:
    """Return a file's digest; a process that asks again reads it again only if it was changed."""
    return sha256_file(path)


def absent(names: Iterable[str], *, sources: Path) -> dict[str, str]:
    """Return those of the sources that were out of reach, each with what would supply it; the others are checked."""
    gone = [name for name in names if not present(sources / name)]
    return {name: str(read_record(sources / name).get("how_to_supply", "")) for name in gone}


def refuse_absent(names: Iterable[str], *, sources: Path, what: str, missing: str) -> list[str]:
    """Return the names of the absent sources of something that would be another thing without them.

    GalleyError when there are some, unless `missing` is accept.
    """
    if missing not in MISSING:
        raise GalleyError(f"missing is {missing!r}; allowed: {', '.join(MISSING)}")
    gone = absent(names, sources=sources)
    if gone and missing == "stop":
        name, how = next(iter(gone.items()))
        others = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise GalleyError(
            f"{what} would be made without {name}{others}, which is out of reach: another experiment. {how[:1].upper()}{how[1:]}; "
            "run again when there is a network; or go on without it by `--config missing=accept` (`--missing accept` here): "
            "the table will say so"
        )
    return sorted(gone)


def recorded_absent(sources: Path) -> dict[str, str]:
    """Return the sources that were out of reach at their fetch, each with what would supply it, by the records beside their folders."""
    records = {path.stem: _record_beside(path) for path in sorted(sources.glob("*.json"))}
    return {name: str(record.get("how_to_supply", "")) for name, record in records.items() if record.get("status") == "absent"}


def _record_beside(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise GalleyError(f"{path} is broken ({error}); delete it and {path.with_suffix('')}, and {AGAIN}") from None


def registered(recipes: Path) -> dict[str, str]:
    """Return, for each source, a digest of what the registry says of its bytes: its files, or the hub's pin."""
    from galley.data.hub import read_hub_data
    from galley.data.revisions import read_pins, revision_of
    from galley.data.sources import load_sources

    pins = read_pins(recipes)
    hub = {name: digest([data.model_dump(), revision_of(data.repo, pins)]) for name, data in read_hub_data(recipes).items()}
    known = load_sources(recipes / "sources.yaml")
    return hub | {name: digest({file: entry.sha256 for file, entry in source.files.items()}) for name, source in known.items()}


def fetch_source(
    name: str, *, out: Path, recipes: Path, mirror: Path | None, optional: bool = False, beside: Path | None = None
) -> dict[str, Any]:
    """Fill `out` with a source of either registry, and return its record, as galley.data.fetch and galley.data.hub_benchmarks do."""
    from galley.data.fetch import fetch
    from galley.data.hub_benchmarks import fetch_benchmark, is_hub_benchmark

    if is_hub_benchmark(name, recipes=recipes):
        return fetch_benchmark(name, out=out, recipes=recipes, optional=optional, beside=beside)
    return fetch(name, out=out, sources=recipes / "sources.yaml", mirror=mirror, optional=optional, beside=beside)


def try_again(sources: Path, *, recipes: Path, mirror: Path | None) -> dict[str, str]:
    """Fetch the absent sources once more, at most eight at a time; return why not, by source, empty for one that has come back.

    Its record is another one then, and what is made of the source is made again; one that stays away leaves everything as it was.
    """

    def attempt(name: str) -> str:
        try:
            fetch_source(name, out=sources / name, recipes=recipes, mirror=mirror, beside=sources / f"{name}.json")
        except GalleyError as error:
            return str(error)
        return ""

    names = list(recorded_absent(sources))
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(attempt, names), strict=True))
