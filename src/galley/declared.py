"""What people write by hand, in YAML: read with its lines and checked by its model, so that a fault names file, line and field.

A file is UTF-8 text with one mapping at the top, no key twice and nothing that steers a terminal. Its numbers, booleans and texts are
those of YAML 1.2 (`core_yaml`). Light on purpose: the Snakefile reads recipes on every parse.

Source: ours.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from galley.artifact import GalleyError
from galley.core_yaml import MERGE, PLAIN, Loader, odd, short
from galley.inputs import no_text

T = TypeVar("T")
Loc = tuple[str, ...]
# What YAML's constructors raise for a value that is none of its kind, such as !!int foo.
NO_VALUE = (ValueError, KeyError, AttributeError, TypeError, OverflowError)
NOT_BLANK = r"\S"
ONE_LINE = r"^\S([^\t\r\n]*\S)?$"  # a name: it stands in cells, paths and lines, where spaces at its ends are not seen
PATTERNS = {NOT_BLANK: "is blank; write a text", ONE_LINE: "should be one line, without spaces at its ends"}
WAYS_OUT = {
    "int_type": "write a whole number in digits, without quotes",
    "float_type": "write a number in digits, without quotes",
    "bool_type": "write true or false, without quotes",
    "string_type": "write a text; what looks like a number or a boolean is one in quotes",
}


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
    node, kept = _parsed(path, _text(path, what=what, home=home))
    if kept is None and empty:
        return Document(path, None, {})
    if not isinstance(kept, dict):
        found = {list: "a list", type(None): "nothing", str: "text"}.get(type(kept), f"a {type(kept).__name__}")
        raise GalleyError(f"{path}: expected a mapping (key: value) at the top of the file, found {found}")
    return Document(path, node, copy.deepcopy(kept))


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, text: str) -> tuple[yaml.Node | None, Any]:
    """Return a file's nodes and data; a page of plans reads each registry a dozen times, and parsing took most of its time."""
    loader = None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is not None:
            nodes = list(_nodes(node, inside=(), seen=set(), path=path))
            _refuse_odd(nodes, path)
            _refuse_twice([one for one, *_ in nodes], loader, path)
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
    return node, data


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
        raise GalleyError(f"{path}: {no_text(error)}; save it as UTF-8") from None


def _where(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f"{path}:{mark.line + 1}" if mark else f"{path}"


def _problem(error: yaml.YAMLError) -> str:
    """Return what is wrong in one line: the loader's own message is five, with a picture."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position} is {chr(error.character)!r}, which no text has"
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    return ": ".join(part for part in parts if part) or str(error).splitlines()[0]


Place = tuple[yaml.Node, Loc, bool]  # a node, the field that it stands in, whether it is a key


def _nodes(
    node: yaml.Node, *, inside: tuple[int, ...], seen: set[int], path: Path, field: Loc = (), is_key: bool = False
) -> Iterator[Place]:
    """Yield every node once, with its place; refuse one that is inside itself."""
    if id(node) in inside:
        raise GalleyError(f"{path}:{node.start_mark.line + 1}: a part of the file is inside itself (an alias); write it out")
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node, field, is_key
    children: list[Place] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            children += [(key, field, True), (value, (*field, str(key.value)), False)]
    elif isinstance(node, yaml.SequenceNode):
        children = [(value, (*field, str(number)), False) for number, value in enumerate(node.value)]
    for child, name, key_too in children:
        yield from _nodes(child, inside=(*inside, id(node)), seen=seen, path=path, field=name, is_key=key_too)


def _refuse_odd(nodes: list[Place], path: Path) -> None:
    for node, field, is_key in nodes:
        wrong = odd(node, is_key=is_key) if isinstance(node, yaml.ScalarNode) else None
        if wrong:
            where = ": ".join(part for part in (".".join(field), "a key" if is_key else "") if part)
            raise GalleyError(f"{path}:{node.start_mark.line + 1}: {where} {wrong}".replace(":  ", ": "))


def _refuse_twice(nodes: list[yaml.Node], loader: Loader, path: Path) -> None:
    """Refuse a mapping with a key twice, of which YAML's own loader would drop one, also where several are merged into one."""
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            continue
        first: dict[Any, int] = {}
        for name, value in node.value:
            key, line = _key(name, loader), name.start_mark.line + 1
            if not isinstance(key, Hashable):
                continue  # YAML's loader refuses it
            if key in first:
                raise GalleyError(f"{path}:{line}: the key {key!r} is also in line {first[key]}; keep one of them")
            first[key] = line
            if name.tag == MERGE and isinstance(value, yaml.SequenceNode):
                _refuse_merged_twice(value, loader, path)


def _refuse_merged_twice(parts: yaml.SequenceNode, loader: Loader, path: Path) -> None:
    first: dict[Any, int] = {}
    for part in parts.value:
        merged = _merged(part, loader)
        for key in [key for key in merged if key in first]:
            line = parts.start_mark.line + 1
            said = f"lines {first[key]} and {merged[key]} of what is merged" if first[key] != merged[key] else "two parts of what is merged"
            raise GalleyError(f"{path}:{line}: the key {key!r} is in {said}; keep one of them")
        first |= merged


def _merged(node: yaml.Node, loader: Loader) -> dict[Any, int]:
    """Return the keys that a mapping brings where it is merged, those merged into it too, with their lines."""
    if isinstance(node, yaml.SequenceNode):
        return {key: line for part in node.value for key, line in _merged(part, loader).items()}
    found: dict[Any, int] = {}
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        key = _key(name, loader)
        found |= _merged(value, loader) if name.tag == MERGE else {key: name.start_mark.line + 1} if isinstance(key, Hashable) else {}
    return found


def _key(name: yaml.Node, loader: Loader) -> Any:
    return name.value if name.tag in PLAIN else loader.construct_object(name, deep=True)


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
    loc = tuple(str(part) for part in fault["loc"] if part not in tags and part != "[key]")
    line = line_of(loc[:-1] if fault["type"] == "missing" else loc)
    value = fault.get("input")
    got = "" if fault["type"] == "missing" or isinstance(value, dict | BaseModel) else f" (got {short(value)})"
    hint = f"; known keys: {', '.join(sorted(_keys(kind, loc[:-1])))}" if fault["type"] == "extra_forbidden" else ""
    way_out = way_out or WAYS_OUT.get(fault["type"], "")
    hint += f"; {way_out}" if way_out else ""
    said = PATTERNS.get(fault.get("ctx", {}).get("pattern", ""), fault["msg"])
    count = f" (1 of {len(faults)} faults)" if len(faults) > 1 else ""
    parts = (f"{path}:{line}" if line else f"{path}", about, ".".join(loc), " ".join(f"{said}{got}{hint}{count}".split()))
    return GalleyError(": ".join(part for part in parts if part))


def line_of(node: yaml.Node | None, loc: Loc) -> int | None:
    """Return the line (from 1) of a key path; None when the path is not in the file."""
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in reversed(node.value) if str(k.value) == part), None)  # what is merged stands first
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
