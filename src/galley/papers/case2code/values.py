"""How a value is written in a case, and which values are small enough to show.

`render` is repr with sets in sorted order, so that equal values are equal texts under any hash seed. Limits follow CodeI/O's release
(under 1 KiB, containers below 20 items, strings below 100 characters), since Case2Code states none.

Source: ours; arXiv:2502.07316 (CodeI/O) for the limits.
"""

from __future__ import annotations

import ast
from typing import Any

MAX_TEXT, MAX_ITEMS, MAX_STRING, MAX_DEPTH = 256, 20, 100, 6
ADDRESS = " at 0x"  # a repr that names a place in memory


def render(value: Any) -> str:
    """Return a plain value as Python source (but for inf and nan), the items of sets sorted by their text."""
    if isinstance(value, set | frozenset):
        inner = ", ".join(sorted(map(render, value)))
        if isinstance(value, frozenset):
            return f"frozenset({{{inner}}})" if inner else "frozenset()"
        return f"{{{inner}}}" if inner else "set()"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{render(k)}: {render(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(map(render, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(render, value))}]"
    return repr(value)


def fits(value: Any, *, depth: int = 0) -> bool:
    """Return whether a value is small enough to show, and names no place in memory."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, str | bytes):
        return len(value) <= MAX_STRING and ADDRESS not in repr(value)
    if isinstance(value, int):
        return value.bit_length() <= 330  # below 100 digits; repr of a huge int is refused by Python itself
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
        return len(value) <= MAX_ITEMS and all(fits(v, depth=depth + 1) for v in parts)
    if isinstance(value, list | tuple | set | frozenset):
        return len(value) <= MAX_ITEMS and all(fits(v, depth=depth + 1) for v in value)
    return True


def text_of(value: Any) -> str | None:
    """Return a value's text, or None when it is too large to show."""
    text = render(value) if fits(value) else ""
    return text if 0 < len(text) <= MAX_TEXT else None


def read_inputs(inputs: dict[str, str]) -> dict[str, Any]:
    """Return the arguments that texts written by `render` stand for."""
    return {name: ast.literal_eval(text) for name, text in inputs.items()}
