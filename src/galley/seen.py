"""Text as it is seen: what a terminal would obey, or nobody would see, stands as its code point; what is said to people goes through here.

Source: ours; Unicode's categories as Python's str.isprintable has them.
"""

from __future__ import annotations

import re
import sys

# Printable by Unicode's categories, yet nothing is seen of them: fillers, joiners, selectors of variants.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def visible(text: object) -> str:
    """Return a text on one line in which what cannot be seen (controls, marks of direction, zero width) stands as [U+202E]."""
    return all_seen(re.sub(r"[^\S\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+", " ", str(text)).strip(" "))


def all_seen(line: str) -> str:
    """Return a line with its spaces as they are and what cannot be seen by its code point."""
    return "".join(ch if ch.isprintable() and not _UNSEEN.match(ch) else code_point(ch) for ch in line)


def code_point(ch: str) -> str:
    """Return a character's name in ASCII."""
    return f"[U+{ord(ch):04X}]"


def say(text: object, *, err: bool = False) -> None:
    """Write a text of one line or several on standard output, or on standard error."""
    stream = sys.stderr if err else sys.stdout
    stream.write("".join(f"{all_seen(line)}\n" for line in str(text).split("\n")))
    stream.flush()
