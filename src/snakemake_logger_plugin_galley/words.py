"""Words of the console: text from outside made harmless, lines cut to the screen, spans of time.

Source: ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# ECMA-48: CSI and OSC sequences whole, so that their parameters do not stay behind as text; then every other control character,
# and Unicode's marks that turn the direction of writing.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]P_^X]|[\x9d\x90\x9f\x9e\x98]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return a text that cannot move the cursor, colour, retitle or reorder what a terminal shows; newlines and tabs stay."""
    return _CONTROLS.sub("", _SEQUENCES.sub("", text))


def one_line(text: str) -> str:
    """Return a cleaned text on one line."""
    return " ".join(clean(text).split())


def fit(text: str, columns: int) -> str:
    """Cut a line to a number of columns, of which wide characters take two."""
    width = 0
    for at, letter in enumerate(text):
        width += 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width > columns:
            return text[: max(at - 3, 0)] + "..."
    return text


def clock(seconds: float) -> str:
    """Return a span as 0:41, 3:20 or 1:05:00."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """Return a span as coarsely as it is known: 40 s, 4 min, 3 h 20 min."""
    if seconds < 55:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def job_name(rule: str, wildcards: Mapping[str, object]) -> str:
    """Return a job as its rule and its wildcards but the scale, which is the same for all jobs of a run."""
    return one_line(" ".join([rule, *(f"{name}={value}" for name, value in wildcards.items() if name != "scale")]))
