"""What people write by hand, in YAML: read with its lines and checked by its model, so that a fault names file, line and field.

A file is UTF-8 text with one mapping at the top and no key twice. Light on purpose: the Snakefile reads recipes on every parse.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from galley.artifact import GalleyError

T = TypeVar("T")
Loc = tuple[str, ...]
PLAIN = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "merge", "value"))  # a key of these is its text
# What YAML's constructors raise for a value that is none of its kind, such as 2026-13-45 for a date.
NO_VALUE = (ValueError, KeyError, AttributeError, TypeError, OverflowError)


@dataclass(frozen=True)
class Document:
    """A file's data, and the nodes that know their lines; `node` is None for an empty file."""

    path: Path
    node: yaml.Node | None
    data: dict[str, Any]

    def line(self, loc: Loc) -> int | None:
        """Return the line (from 1) of a place; None when it is not in the file."""
        return line_of(self.node, loc)


def read_yaml(path: Path, *, what: str, home: str, empty: bool = False) -> Document:
    """Read a file; `what` it holds and where its `home` is are for the errors. An `empty` one may be allowed.

    GalleyError, in one line, for a file that is not there, no text, no YAML, no mapping, or that has a key twice.
    """
    path = Path(path)
    loader = None
    try:
        loader = yaml.SafeLoader(_text(path, what=what, home=home))
        node = loader.get_single_node()
        if node is not None:
            _refuse_twice(node, loader, path)
        data = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise GalleyError(f"{_where(path, error)}: not valid YAML: {_problem(error)}") from None
    except NO_VALUE as error:
        raise GalleyError(f"{path}: not valid YAML: a value is none of its kind ({error}); put it in quotes, or correct it") from None
    except RecursionError:
        raise GalleyError(f"{path}: not valid YAML: it is nested too deep") from None
    finally:
        if loader is not None:
            loader.dispose()
    if data is None and empty:
        return Document(path, None, {})
    if not isinstance(data, dict):
        found = {list: "a list", type(None): "nothing", str: "text"}.get(type(data), f"a {type(data).__name__}")
        raise GalleyError(f"{path}: expected a mapping (key: value) at the top of the file, found {found}")
    return Document(path, node, data)


def _text(path: Path, *, what: str, home: str) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise GalleyError(f"no {what} at {path}; in the project's folder it is {home}") from None
    except OSError as error:
        raise GalleyError(f"{path}: {what} cannot be read ({error.strerror}); it is a text file, {home}") from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        seems = ", it seems to be UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise GalleyError(f"{path}: no UTF-8 text (byte {error.start} is {raw[error.start]:#04x}{seems}); save it as UTF-8") from None


def _where(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f"{path}:{mark.line + 1}" if mark else f"{path}"


def _problem(error: yaml.YAMLError) -> str:
    """Return what is wrong in one line: the loader's own message is five, with a picture."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position} is {chr(error.character)!r}, which no text has"
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    return ": ".join(part for part in parts if part) or str(error).splitlines()[0]


def _refuse_twice(top: yaml.Node, loader: yaml.SafeLoader, path: Path) -> None:
    """Refuse a mapping with a key twice, of which YAML's own loader would drop one, and a node inside itself."""
    for node in _nodes(top, inside=(), seen=set(), path=path):
        first: dict[Any, int] = {}
        for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key, line = name.value if name.tag in PLAIN else loader.construct_object(name, deep=True), name.start_mark.line + 1
            if not isinstance(key, Hashable):
                continue  # YAML's loader refuses it
            if key in first:
                raise GalleyError(f"{path}:{line}: the key {key!r} is also in line {first[key]}; keep one of them")
            first[key] = line


def _nodes(node: yaml.Node, *, inside: tuple[int, ...], seen: set[int], path: Path) -> Iterator[yaml.Node]:
    if id(node) in inside:
        raise GalleyError(f"{path}:{node.start_mark.line + 1}: a part of the file is inside itself (an alias); write it out")
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    children = node.value if isinstance(node, yaml.SequenceNode) else ()
    children = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else children
    for child in children:
        yield from _nodes(child, inside=(*inside, id(node)), seen=seen, path=path)


def checked(kind: Any, document: Document, *, tags: Collection[str] = (), way_out: str = "") -> Any:
    """Return a document's data as a kind (a model, a mapping of models, ...); a GalleyError names file, line and field."""
    try:
        return TypeAdapter(kind).validate_python(document.data)
    except ValidationError as error:
        raise refusal(error, kind=kind, path=document.path, line_of=document.line, tags=tags, way_out=way_out) from None


def refusal(
    error: ValidationError,
    *,
    kind: Any,
    path: Path,
    line_of: Callable[[Loc], int | None],
    about: str = "",
    tags: Collection[str] = (),
    way_out: str = "",
) -> GalleyError:
    """Return the error to raise, of the first fault: the file's line, what the entry is called, the field, the value, known keys.

    A field that is missing has no line: its owner's is named. Tags are the kinds of a union, which pydantic puts among the fields.
    """
    # A key that is a slip comes first: it is why another one is missing.
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    loc = tuple(str(part) for part in fault["loc"] if part not in tags)
    line = line_of(loc[:-1] if fault["type"] == "missing" else loc)
    value = fault.get("input")
    got = "" if fault["type"] == "missing" or isinstance(value, dict | BaseModel) else f" (got {_short(value)})"
    hint = f"; known keys: {', '.join(sorted(_keys(kind, loc[:-1])))}" if fault["type"] == "extra_forbidden" else ""
    hint += f"; {way_out}" if way_out else ""
    count = f" (1 of {len(faults)} faults)" if len(faults) > 1 else ""
    parts = (f"{path}:{line}" if line else f"{path}", about, ".".join(loc), " ".join(f"{fault['msg']}{got}{hint}{count}".split()))
    return GalleyError(": ".join(part for part in parts if part))


def line_of(node: yaml.Node | None, loc: Loc) -> int | None:
    """Return the line (from 1) of a key path; None when the path is not in the file."""
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if str(k.value) == part), None)
            if found is None:
                return None
            if last:
                return int(found[0].start_mark.line) + 1
            node = found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            if last:
                return int(node.start_mark.line) + 1
        else:
            return None
    return None


def _keys(kind: Any, loc: Loc) -> set[str]:
    """Return the keys of what stands at a place of a kind: through models, lists, mappings and unions."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(loc[0]) if loc else None
        return _keys(field.annotation, loc[1:]) if field else set() if loc else set(kind.model_fields)
    deeper = loc[1:] if get_origin(kind) in (list, dict) else loc
    return {key for part in get_args(kind) for key in _keys(part, deeper)}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
