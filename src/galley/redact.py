"""The one redactor, where a process speaks to readers: errors, logs and records of provenance; data is never rewritten.

What is said is cut: standard output and error line by line, an endpoint's errors, a manifest's config. A reply that holds what this
process sent to prove who it is (an endpoint's key, a proxy's password) is no data, and its client refuses it; nobody but whom a
secret was sent to can say it. Rows, corpora and fetched files are as they were made: a password that is a word of theirs changes
nothing. Without secrets nothing is changed, and the same secrets and text give the same bytes.

Source: ours.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from galley.secret_forms import IN_A_QUERY, IN_A_URL, MARK, Finder, is_secret, secrets_of

T = TypeVar("T")
HELD = 1 << 16  # characters of a line without end that a stream keeps back


@dataclass
class _Secrets:
    """What this process must not tell."""

    sent: Finder = field(default_factory=lambda: Finder(()))
    all: Finder | None = None  # these, and the environment's
    lock: threading.Lock = field(default_factory=threading.Lock)


_OURS = _Secrets()


def keep_secret(*values: str) -> None:
    """Add secrets that this process sends to somebody, and read those of the environment anew; under eight characters it is none."""
    with _OURS.lock:
        sent = {secret for secret, _ in _OURS.sent.secrets} | {value for value in values if is_secret(value)}
        if len(sent) > len(_OURS.sent.secrets):
            _OURS.sent = Finder(sent)
        wanted = sent | secrets_of(os.environ)
        if _OURS.all is None or {secret for secret, _ in _OURS.all.secrets} != wanted:
            _OURS.all = Finder(wanted)


def says_a_secret(text: str) -> bool:
    """Return whether a text from outside holds a secret that was sent there, whole or in part, in whatever writing."""
    return _OURS.sent.clean(text) is not text


def _all() -> Finder:
    if _OURS.all is None:
        keep_secret()
    assert _OURS.all is not None
    return _OURS.all


def for_a_reader(value: T) -> T:
    """Return a text, or a value with texts, for a reader (a message, a log, a record): also without the users and keys in addresses."""
    return _deep(value, _told)


def _told(text: str) -> str:
    text = _all().clean(text)
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
