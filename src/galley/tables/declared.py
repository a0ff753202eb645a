"""What people declare for the tables in YAML (claims, figures, metrics), read with its lines: a fault names file, line and field.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from galley.artifact import GalleyError

Loc = tuple[str, ...]


def read_yaml(path: Path, *, what: str, home: str) -> tuple[yaml.Node | None, Any]:
    """Return a file's nodes, which know their lines, and its data; `what` it holds and its `home` are for the errors."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except FileNotFoundError:
        raise GalleyError(f"no {what} at {path}; they live in {home}") from None
    except yaml.YAMLError as error:
        raise GalleyError(f"{path}: not valid YAML: {error}") from None


def refusal(
    error: ValidationError, *, kind: Any, path: Path, line_of: Callable[[Loc], int | None], about: str = "", tags: Collection[str] = ()
) -> GalleyError:
    """Return the error to raise: one line a fault, with the file's line, what the entry is called, the field, the value, known keys.

    A field that is missing has no line: its owner's is named. Tags are the kinds of a union, which pydantic puts among the fields.
    """
    lines = []
    for fault in error.errors():
        loc = tuple(str(part) for part in fault["loc"] if part not in tags)
        line = line_of(loc[:-1] if fault["type"] == "missing" else loc)
        where = f"{path}:{line}" if line else f"{path}"
        got = "" if fault["type"] == "missing" else f" (got {_short(fault.get('input'))})"
        hint = f"; known keys: {', '.join(sorted(_keys(kind, loc[:-1])))}" if fault["type"] == "extra_forbidden" else ""
        lines.append(": ".join(part for part in (where, about, ".".join(loc), f"{fault['msg']}{got}{hint}") if part))
    return GalleyError("\n".join(lines))


def _keys(kind: Any, loc: Loc) -> set[str]:
    """Return the keys of what stands at a place of a kind: through models, lists, mappings and unions."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _keys(kind.model_fields[loc[0]].annotation, loc[1:]) if loc else set(kind.model_fields)
    deeper = loc[1:] if get_origin(kind) in (list, dict) else loc
    return {key for part in get_args(kind) for key in _keys(part, deeper)}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
