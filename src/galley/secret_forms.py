"""Which values are secret, and where a text holds one of them, whole or in part, in whatever writing.

A text is read without its white space, without regard to case, as it stands and with its percent, backslash and HTML escapes undone, once
and again up to five deep. Looked for are runs of twelve characters of a secret, of its hexadecimal or of its base64 (at each of the three
places that it can have in a longer text, such as `Basic` authentication). Twelve, because a key that is cut off or split still shows a
run of them, while twelve of even 36 equally likely characters stand in a corpus of 10^12 characters by chance once in four million corpora.
What every key of a vendor begins with (`sk-ant-api03-`) is in its manual, and does not count: at least eight of the twelve come after it.

Vendors shorten a key to its ends about a mask (`sk-ab...wxyz`, `****wxyz`). Beside a mask four characters of the end, or of the beginning
after the vendor's own, are enough: at a mask they are there by chance once in 1.7 million masks. A shorter remnant is not found, nor is
a secret of less than eight characters: words of a program would be cut out.

Source: ours.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

MARK = "[redacted]"
SHORTEST = 8  # characters of a secret
RUN, BESIDE_A_MASK, END = 12, 4, 24  # characters: of a run anywhere, of what a mask leaves at least, and at most
DEPTH = 5  # escapes within escapes

SAYS_SO = re.compile(  # whole words of a name, so that MONKEY and COMPASS are none; a KEY or PASS alone may be anything
    r"(?:^|_)(?:\w*(?:SECRET|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|TOKEN)S?|\w*(?:API|AUTH|ACCESS|PRIVATE|SECRET)_?KEYS?)\d*(?:_|$)"
    r"|(?<!GIT_CONFIG)_(?:KEYS?|PASS)\d*(?:_|$)|^SSHPASS$"
)
WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")  # where a name's words meet: apiKey, api-key
SAYS_WHERE = re.compile(r"_(?:FILE|PATH|DIR|SOCK|URI|URL|HOST|NAME|ENV|TYPE)$", re.I)  # of a secret, not the secret
IN_A_URL = re.compile(r"(?<=://)[^\s/?#@'\"<>]+(?=@)")
IN_A_QUERY = re.compile(r"([?&;][\w.-]*(?:key|token|secret|passw|credential|sig)[\w.-]*=)([^&;#\s'\"<>]+)", re.I)
NO_SECRETS = {"anything", "changeme", "disabled", "lm-studio", "no-key-required", "not-needed", "password", "postgres",
              "placeholder", "sk-no-key-required", "token-abc123", "undefined"}  # fmt: skip # what manuals set where a server wants no key
PUBLIC = re.compile(r"-----BEGIN [A-Z ]+-----|sk-(?:proj-|svcacct-|admin-|ant-\w+-|or-v\d-)?|hf_|gh[opsur]_|github_pat_|glpat-|xai-|"
                    r"gsk_|nvapi-|xox[a-z]-|AKIA|ASIA|AIza|Bearer |Basic ")  # fmt: skip

IGNORED = re.compile("[\\s\0\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+")  # white space, nulls, and what has no width
HEX = "[0-9a-fA-F]"
ESCAPE = re.compile(  # begins with a set of characters, which re looks for quickly
    rf"[%\\&](?:(?<=%)(?P<percent>{HEX}{{2}})|(?<=\\)(?:u(?P<u>{HEX}{{4}})|u\{{(?P<braced>{HEX}{{1,6}})\}}|U(?P<long>{HEX}{{8}})"
    rf"|x(?P<x>{HEX}{{2}})|(?P<blank>[nrtfv0])|(?P<other>.))|(?<=&)(?P<html>#[xX]?{HEX}{{1,7}};?|\w{{2,31}};))"
)
MASK = re.compile(r"(?:\.\.\.+|…+|\\+u2026|&hellip;|\*\*\*+|••+|██+|xxx+|XXX+|###+)[\])>}]?")  # letters first: re looks for these quickly
MASKS = ("...", "…", "u2026", "&hellip;", "***", "••", "██", "xxx", "XXX", "###")
BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
Piece = tuple[str, int, int]  # a character, and where in the text it begins and ends


def secrets_of(environment: Mapping[str, str]) -> set[str]:
    """Return the secrets of an environment: what a name says is one, what looks like a vendor's key, passwords and keys in addresses.

    A name that says where a secret is (`..._FILE`) holds none, nor does a value that is a file, a limit (`MAX_TOKENS`) or a manual's
    stand-in for a key. Of JSON, such as a service account's, the members whose names say so are taken.
    """
    found: set[str] = set()
    for name, value in environment.items():
        if (_says_so(name) or _looks_so(value)) and not SAYS_WHERE.search(name) and not _is_a_file(value):
            if value.lstrip().startswith("{"):
                found |= _members(value)
            elif not (value.isdigit() and name.upper().endswith("TOKENS")):
                found.add(value)
        if "://" in value:
            for user in IN_A_URL.findall(value):
                found |= {user, unquote(user), *(part for part in (user.partition(":")[2], unquote(user.partition(":")[2])) if part)}
            found |= {secret for _, secret in IN_A_QUERY.findall(value)}
    return {secret for secret in found if is_secret(secret)}


def is_secret(value: str) -> bool:
    """Return whether a value is long enough to be found, and no manual's stand-in for a key."""
    return len(IGNORED.sub("", value)) >= SHORTEST and value.strip().lower() not in NO_SECRETS


def _says_so(name: str) -> bool:
    return SAYS_SO.search(WORDS.sub("_", name).upper()) is not None


def _looks_so(value: str) -> bool:
    found = PUBLIC.match(value)
    return found is not None and len(value) - found.end() >= 16 and not re.search(r"\s", value)


def _is_a_file(value: str) -> bool:
    try:
        return value.startswith(("/", "~", ".")) and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _members(value: str) -> set[str]:
    try:
        members = json.loads(value)
    except (ValueError, RecursionError):
        return {value}
    return {text for name, text in members.items() if isinstance(text, str) and _says_so(name)}


@dataclass(frozen=True)
class Form:
    """One writing of a secret, folded: its runs of one length, and whether each has more than a vendor's own beginning."""

    runs: dict[str, bool]
    size: int
    base64: bool


class Finder:
    """Finds the given secrets in texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = [(secret, _public(secret)) for secret in sorted(set(secrets), key=lambda s: (-len(s), s))]
        self.forms = [form for secret, public in self.secrets for form in _forms(secret, public)]
        # A run that is found has one of the places 0, step, 2 step, ... of the text within it, with a whole gram after it.
        shortest = min((form.size for form in self.forms), default=RUN)
        self.gram = 5 if shortest >= RUN else 3
        self.step = shortest - self.gram + 1
        self.grams = {run[at : at + self.gram] for form in self.forms for run in form.runs for at in range(form.size - self.gram + 1)}

    def clean(self, text: str) -> str:
        """Return the text with a mark for each secret; the text itself when it holds none."""
        if not self.secrets or len(text) < BESIDE_A_MASK:
            return text
        spans = [*self._masked(text)] if any(mask in text for mask in MASKS) else []
        if self._suspected(text):
            pieces = [(c, at, at + 1) for at, c in enumerate(text) if not IGNORED.match(c)]
            spans += self._runs(pieces, text)
            for undone in _undone(pieces):
                spans += self._runs(undone, text)
        if not spans:
            return text
        parts: list[str] = []
        end = 0
        for start, stop in sorted(spans):
            if start > end or not parts:
                parts += [text[end:start], MARK]
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def _suspected(self, text: str) -> bool:
        """Return whether a closer look is due; cheap, because nearly every text stops here."""
        flat = "".join(text.split()) if text.isascii() and "\0" not in text else IGNORED.sub("", text)
        if self._has_a_run(flat):
            return True
        for _ in range(DEPTH):
            if not ("%" in flat or "\\" in flat or "&" in flat):
                return False
            plain = ESCAPE.sub(_plain, flat)
            if plain == flat:
                return False
            flat = IGNORED.sub("", plain)
            if self._has_a_run(flat):
                return True
        return False

    def _has_a_run(self, flat: str) -> bool:
        flat = _fold(flat)
        places = self._places(flat)
        return bool(places) and any(self._starts(flat, places, form) for form in self.forms)

    def _places(self, flat: str) -> list[int]:
        """Return which of the places 0, step, 2 step, ... have a gram of a secret."""
        grams = [flat[at : at + self.gram] for at in range(0, len(flat), self.step)]
        return [] if self.grams.isdisjoint(grams) else [n * self.step for n, gram in enumerate(grams) if gram in self.grams]

    def _starts(self, flat: str, places: list[int], form: Form) -> list[int]:
        """Return where runs of a form begin, in order."""
        near = {start for at in places for start in range(max(0, at + self.gram - form.size), at + 1)}
        return sorted(start for start in near if flat[start : start + form.size] in form.runs)

    def _runs(self, pieces: list[Piece], text: str) -> Iterator[tuple[int, int]]:
        """Yield where runs of secrets stand in the text."""
        folded = [(f, start, end) for c, start, end in pieces for f in _fold(c)]
        flat = "".join(c for c, _, _ in folded)
        places = self._places(flat)
        for form in self.forms if places else []:
            joined: list[tuple[int, int, bool]] = []  # where runs that touch begin and end, and whether one of them counts
            for start in self._starts(flat, places, form):
                end, counts = start + form.size, form.runs[flat[start : start + form.size]]
                if joined and start <= joined[-1][1]:
                    start, _, other = joined.pop()
                    counts = counts or other
                joined.append((start, end, counts))
            for start, end, counts in joined:
                if counts:
                    yield _whole(text, folded[start][1], folded[end - 1][2], form.base64)

    def _masked(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where a mask stands between a secret's beginning and its end, or beside one of them."""
        for mask in MASK.finditer(text):
            start, end = mask.span()
            start -= text[start - 1 : start] in ("[", "(", "<", "{")
            edge = min(BESIDE_A_MASK, end - start - 1)  # a secret may itself have a character that is taken for the mask's
            for secret, public in self.secrets:
                low = secret.lower()
                begins = max(_common(low, text[max(0, at - END) : at].lower(), first=True) for at in range(start, start + edge + 1))
                ends = max(_common(low, text[at : at + END].lower(), first=False) for at in range(end - edge, end + 1))
                if max(0, begins - public) + ends >= BESIDE_A_MASK:
                    yield max(0, start - begins), min(len(text), end + ends)


def _common(secret: str, beside: str, *, first: bool) -> int:
    """Return how many of a secret's first characters stand at the end of a text, or of its last ones at the beginning."""
    sizes = range(min(END, len(secret)), 0, -1)
    return next((n for n in sizes if (beside.endswith(secret[:n]) if first else beside.startswith(secret[-n:]))), 0)


def _fold(text: str) -> str:
    """Return a text without regard to case, and to which of its two alphabets base64 is written in."""
    return text.lower().replace("-", "+").replace("_", "/")


def _public(secret: str) -> int:
    found = PUBLIC.match(secret)
    return min(found.end(), max(0, len(secret) - SHORTEST)) if found else 0


def _forms(secret: str, public: int) -> Iterator[Form]:
    flat, data = IGNORED.sub("", secret), secret.encode("utf-8", "surrogatepass")
    undone = {"".join(c for c, _, _ in pieces) for pieces in _undone([(c, 0, 0) for c in flat])}
    as_bytes = flat.encode("utf-8", "surrogatepass").decode("latin-1")  # as percent escapes give it
    for writing in sorted({flat, as_bytes, *(other for other in undone if len(other) >= SHORTEST)}):
        yield _form(writing, RUN, 1, public)
    yield _form(data.hex(), 2 * RUN, 2, public)
    for shift, first in enumerate((0, 2, 3)):  # the characters that hold bits of what stands before and after are left out
        code = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        yield _form(code[first : len(code) - ((shift + len(data)) % 3 > 0)], 4 * RUN // 3, 4 / 3, public, base64=True)


def _form(writing: str, size: int, a_byte: float, public: int, *, base64: bool = False) -> Form:
    folded = _fold(writing)
    size = min(size, len(folded))
    counts_from = (public - (RUN - SHORTEST)) * a_byte
    runs: dict[str, bool] = {}
    for at in range(len(folded) - size + 1):
        run = folded[at : at + size]
        runs[run] = runs.get(run, False) or at >= counts_from
    return Form(runs, size, base64)


def _undone(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces with their escapes undone once, twice and so on, as long as there are any."""
    for _ in range(DEPTH):
        text, out, end = "".join(c for c, _, _ in pieces), [], 0
        for match in ESCAPE.finditer(text):
            out += pieces[end : match.start()]
            end = match.end()
            out += [(c, pieces[match.start()][1], pieces[end - 1][2]) for c in _plain(match) if not IGNORED.match(c)]
        if not end:
            return
        pieces = out + pieces[end:]
        yield pieces


def _plain(match: re.Match[str]) -> str:
    if match["html"]:
        return html.unescape(f"&{match['html']}")
    if match["blank"] or match["other"]:
        return match["other"] or ""
    code = int(next(filter(None, match.group("percent", "u", "braced", "long", "x"))), 16)
    return chr(code) if code < 0x110000 else ""


def _whole(text: str, start: int, end: int, base64: bool) -> tuple[int, int]:
    """Return a span with what belongs to it: the rest of a base64 word, which holds bits of the secret, and no half of an escape."""
    while base64 and start > 0 and text[start - 1] in BASE64:
        start -= 1
    while base64 and end < len(text) and text[end] in BASE64:
        end += 1
    while start > 0 and text[start - 1] == "\\":
        start -= 1
    while text[end - 1] == "\\" and text[end : end + 1] == "\\":
        end += 1
    return start, end
