"""The one redactor, at every way out of a process: what it writes to files, rows, caches and journals, and what it says.

The secrets are those of the environment when the redactor is first used, and what `keep_secret` was given (an endpoint's key). Files
are read once more before they get their name (galley.artifact), a frame's texts before they are written, a model's answers before
anybody sees them, and standard output and error line by line. Without secrets nothing is changed, and the same secrets and text give
the same bytes.

Source: ours.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from galley.secret_forms import IN_A_QUERY, IN_A_URL, MARK, Finder, is_secret, secrets_of

T = TypeVar("T")
PIECE = 1 << 20  # characters of a file at a time, in whole lines: a secret that is split over lines may be split by this too
HELD = 1 << 16  # characters of a line without end that a stream keeps back


@dataclass
class _Secrets:
    """What this process must not tell."""

    given: set[str] = field(default_factory=set)
    finder: Finder | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_OURS = _Secrets()


def keep_secret(*values: str) -> None:
    """Add secrets, and read those of the environment anew; what is shorter than eight characters is none."""
    with _OURS.lock:
        _OURS.given |= {value for value in values if is_secret(value)}
        wanted = _OURS.given | secrets_of(os.environ)
        if _OURS.finder is None or {secret for secret, _ in _OURS.finder.secrets} != wanted:
            _OURS.finder = Finder(wanted)


def _finder() -> Finder:
    if _OURS.finder is None:
        keep_secret()
    assert _OURS.finder is not None
    return _OURS.finder


def redacted(value: T) -> T:
    """Return a text, or a value with texts anywhere in it (lists, dicts and their keys, paths), without secrets."""
    finder = _finder()
    return _deep(value, finder.clean) if finder.secrets else value


def for_a_reader(value: T) -> T:
    """Return a text, or a value with texts, for a reader (a message, a log, a record): also without the users and keys in addresses."""
    return _deep(value, _told)


def _told(text: str) -> str:
    text = _finder().clean(text)
    if "://" in text:
        text = IN_A_URL.sub(MARK, text)
    return IN_A_QUERY.sub(rf"\1{MARK}", text) if "=" in text and ("?" in text or "&" in text) else text


def _deep(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_deep(name, clean): _deep(member, clean) for name, member in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_deep(member, clean) for member in value)
    return Path(clean(str(value))) if isinstance(value, Path) else value


def redacted_frame(frame: Any) -> Any:
    """Return a pandas frame whose texts have no secrets; the frame itself when there are none to hide."""
    if not _finder().secrets:
        return frame
    texts = [column for column in frame.columns if frame[column].dtype == object or str(frame[column].dtype) in ("string", "str")]
    return frame.assign(**{column: frame[column].map(redacted, na_action="ignore") for column in texts})


def redact_files(path: Path) -> None:
    """Rewrite a file, or the files of a folder, that hold a secret; what has a null byte early on is no text, and is left alone."""
    if _finder().secrets:
        for file in [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()] if path.is_dir() else [path]:
            _redact_file(file)


def _redact_file(path: Path) -> None:
    with path.open("rb") as data:
        if b"\0" in data.read(4096):
            return
    form = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with path.open(**form) as text:  # type: ignore[call-overload]
        if all(redacted(piece) is piece for piece in _pieces(text)):
            return
    clean = path.with_name(f"{path.name}.redacted.part")
    try:
        with path.open(**form) as text, clean.open("w", **form) as out:  # type: ignore[call-overload]
            out.writelines(map(redacted, _pieces(text)))
        clean.replace(path)
    finally:
        clean.unlink(missing_ok=True)


def _pieces(text: Any) -> Iterator[str]:
    while lines := text.readlines(PIECE):
        yield "".join(lines)


def guard_streams() -> None:
    """Let standard output and error pass through the redactor, for this process and whatever its libraries print."""
    keep_secret()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Guarded):
            setattr(sys, name, _Guarded(stream))


class _Guarded:
    """A stream that passes lines on when they are whole, or when it is flushed."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.held, self.lock = stream, "", threading.RLock()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self.lock:
            self.held += text
            end = max(self.held.rfind("\n"), self.held.rfind("\r")) + 1 or (len(self.held) if len(self.held) > HELD else 0)
            if end:
                self._pass_on(end)
        return len(text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        with self.lock:
            if self.held:
                self._pass_on(len(self.held))
            self.stream.flush()

    def _pass_on(self, end: int) -> None:
        out, self.held = self.held[:end], self.held[end:]
        self.stream.write(for_a_reader(out))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
