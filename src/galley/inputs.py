"""What a path of the command line that is read must be, looked at before any work: there, readable, of its kind, whole.

A check takes a path and raises ValueError (or OSError) that says what is wrong with it, to be read after "PATH, which". Light on
purpose: no check imports more than the standard library.

Source: ours.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Check = Callable[[Path], None]
WHOLE_BYTES = 100 << 20  # of JSON lines that are all read; of longer files the first lines and the last
FIRST_LINES = 1000


def folder(path: Path) -> None:
    """Refuse what is no folder that can be listed."""
    if not path.exists():
        raise ValueError("is not there")
    if not path.is_dir():
        raise ValueError("is a file and no folder")
    with os.scandir(path) as entries:
        next(entries, None)


def file(path: Path) -> None:
    """Refuse what is no regular file that can be read, and one of 0 bytes."""
    if not path.exists():
        raise ValueError("is not there")
    if path.is_dir():
        raise ValueError("is a folder and no file")
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for who writes into it
        raise ValueError("is a pipe, a socket or a device and no file")
    with path.open("rb") as handle:
        if not handle.read(1):
            raise ValueError("is empty")


def either(path: Path) -> None:
    """Refuse what is neither a file nor a folder that can be read."""
    (folder if path.is_dir() else file)(path)


def holding(*names: str, check: Check = file) -> Check:
    """Return a check that a folder has files of these names, each of which passes a check of its own."""

    def inside(path: Path) -> None:
        folder(path)
        for name in names:
            try:
                check(path / name)
            except (OSError, ValueError) as error:
                raise ValueError(f"holds no good {name}: it {said(error)}") from None

    return inside


def each(*checks: Check) -> Check:
    """Return a check that all of some pass."""

    def passes(path: Path) -> None:
        for check in checks:
            check(path)

    return passes


def json_object(path: Path) -> None:
    """Refuse a file that is not one JSON object."""
    file(path)
    if not isinstance(_json(path.read_bytes()), dict):
        raise ValueError("is JSON, but no object")


def json_with(*keys: str, others: Sequence[str] | None = None, **values: str) -> Check:
    """Return a check that a file is a JSON object with these keys, these values, and where `others` are given, of the rest only those."""

    def object_with(path: Path) -> None:
        json_object(path)
        found = _json(path.read_bytes())
        for key in (*keys, *values):
            if key not in found or (key in values and found[key] != values[key]):
                raise ValueError(f"has no {key!r}" + (f" that is {values[key]!r}" if key in values else ""))
        more = [key for key in found if others is not None and key not in (*keys, *values, *others)]
        if more:
            raise ValueError(f"has {more[0]!r}")

    return object_with


def any_of(*checks: Check) -> Check:
    """Return a check that one of some passes; what the last says is said."""

    def passes(path: Path) -> None:
        for check in checks[:-1]:
            try:
                return check(path)
            except (OSError, ValueError):
                continue
        return checks[-1](path)

    return passes


def sources(path: Path) -> None:
    """Refuse a folder without any fetched source, or record of one beside where it lay; one that is absent has its record there."""
    folder(path)
    if not any(path.glob("*/source.json")) and not any(path.glob("*.json")):
        raise ValueError("holds no fetched source")


def plays(path: Path) -> None:
    """Refuse a folder that is neither a fetched source (be it absent) nor one with text files."""
    folder(path)
    if not (path / "source.json").exists() and not any(path.glob("**/*.txt")):
        raise ValueError("holds neither a source.json nor a text file")


def model(path: Path) -> None:
    """Refuse a folder that is no Hugging Face directory, by its config.json alone: weights are looked at where they are loaded."""
    holding("config.json", check=json_object)(path)


def json_lines(*, empty: bool = False, **fields: type) -> Check:
    """Return a check that every line is a JSON object with these fields, each of its type; `empty`: there may be no line."""

    def lines(path: Path) -> None:
        if not (empty and path.is_file() and path.stat().st_size == 0):
            file(path)
        for number, line in _lines(path):
            row = _json(line, where=f"has in line {number} ")
            if not isinstance(row, dict):
                raise ValueError(f"has in line {number} no JSON object")
            for name, kind in fields.items():
                if not isinstance(row.get(name), kind):
                    raise ValueError(f"has in line {number} no field {name!r} that is a {kind.__name__}")

    return lines


def _lines(path: Path) -> Iterator[tuple[int | str, bytes]]:
    whole, last = path.stat().st_size <= WHOLE_BYTES, b""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            if not whole and number > FIRST_LINES:
                break
            yield number, line
        if not whole:
            handle.seek(-min(path.stat().st_size, 1 << 24), os.SEEK_END)
            *_, last = handle.read().splitlines()
            yield "-1 (the last)", last


def _json(raw: bytes, *, where: str = "is ") -> Any:
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}{no_text(error)}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}no JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError(f"{where}JSON that is nested too deep") from None


def no_text(error: UnicodeDecodeError) -> str:
    """Return what is wrong with bytes that were to be UTF-8, to be read after "is"."""
    raw = error.object
    seems = ", it seems to be UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    return f"no UTF-8 text (byte {error.start} is {raw[error.start]:#04x}{seems})"


def text(path: Path) -> None:
    """Refuse a file that is no UTF-8 text, or a .jsonl whose lines have no `text`."""
    if path.suffix == ".jsonl":
        json_lines(text=str)(path)
        return
    file(path)
    _decoded(path)


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is {no_text(error)}") from None


def parquet(path: Path) -> None:
    """Refuse a file that does not begin and end as parquet does."""
    file(path)
    with path.open("rb") as handle:
        begins = handle.read(4)
        handle.seek(-min(4, path.stat().st_size), os.SEEK_END)
        if (begins, handle.read()) != (b"PAR1", b"PAR1"):
            raise ValueError("is no parquet file, or is cut off")


def csv_table(*columns: str, number: str | None = None, only: bool = False) -> Check:
    """Return a check of a csv: at least these columns (`only`: no others), one all numbers, no row longer or shorter than its head."""

    def table(path: Path) -> None:
        file(path)
        try:
            rows = list(csv.reader(io.StringIO(_decoded(path), newline=""), strict=True))
        except csv.Error as error:
            raise ValueError(f"is no csv: {error}") from None
        missing = [name for name in columns if name not in (rows[0] if rows else [])]
        if missing:
            raise ValueError(f"has no column {missing[0]!r}")
        more = [name for name in rows[0] if only and name not in columns]
        if more:
            raise ValueError(f"has a column {more[0]!r}")
        uneven = next((number for number, row in enumerate(rows, start=1) if row and len(row) != len(rows[0])), None)
        if uneven is not None:
            raise ValueError(f"has in row {uneven} {len(rows[uneven - 1])} cells and in its head {len(rows[0])}")
        for at, row in enumerate(rows[1:] if number else [], start=2):
            if row and not _is_number(row[rows[0].index(number)]):  # type: ignore[arg-type]
                raise ValueError(f"has in row {at} {row[rows[0].index(number)]!r} for a {number}")  # type: ignore[arg-type]

    return table


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def tensors(*names: str) -> Check:
    """Return a check that a file is a whole safetensors file, by the size that its head says, with tensors of these names."""

    def whole(path: Path) -> None:
        file(path)
        size = path.stat().st_size
        with path.open("rb") as handle:
            raw = handle.read(8)
            length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else size
            if length > size - 8:
                raise ValueError("is no safetensors file, or is cut off")
            head = _json(handle.read(length), where="has a head that is ")
        try:
            ends = {name: entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"}
        except (AttributeError, KeyError, IndexError, TypeError):
            raise ValueError("has a head that is not safetensors'") from None
        missing = [name for name in names if name not in ends]
        if missing:
            raise ValueError(f"has no tensor {missing[0]!r}")
        if 8 + length + max(ends.values(), default=0) != size:
            raise ValueError(f"has {size} bytes where its head says {8 + length + max(ends.values(), default=0)}")

    return whole


def said(error: Exception) -> str:
    """Return what a check said, as the end of a sentence."""
    return f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)


def first_wrong(paths: Sequence[Path], checks: Sequence[Check]) -> tuple[Path, str] | None:
    """Return the first path that fails a check, and what is wrong with it."""
    for path in paths:
        for check in checks:
            try:
                check(path)
            except (OSError, ValueError) as error:
                return path, said(error)
    return None
