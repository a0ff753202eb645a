"""YAML 1.2's core schema, with the merges of 1.1: what a plain word or number is, and what of a scalar is refused.

PyYAML reads 1.1, in which 1:30 is 90, 0132 is 90, yes is true and 2026-11-30 a date. What the two read differently is refused; what
1.1 takes for text and 1.2 for a number (1e5, 0o17) is a number; a date is a text, which its model reads.

Source: ours; YAML 1.2.2, 10.3, and yaml.org's types of 1.1 (bool, int, float, merge) as PyYAML 6 has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
PLAIN = ("tag:yaml.org,2002:str", MERGE)  # a key of these is its text
# Controls but tab and line feed, marks of direction, line separators, halves of a surrogate pair.
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
CORE = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"),
    "merge": re.compile(r"<<\Z"),
}
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+\Z")  # an octal number in YAML 1.1, a decimal one in 1.2
PLAINLY = {"bool": "write true or false", "int": "write it in plain digits", "float": "write it in plain digits"}


class Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, with merges."""


Loader.yaml_implicit_resolvers = {}
Loader.yaml_constructors = {
    tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag.endswith((":map", ":seq", ":str"))
}


class Dumper(yaml.SafeDumper):
    """What `Loader` reads as it was: a text that either YAML takes for something else is put in quotes."""


def _scalar(kind: str, read: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def construct(loader: Loader, node: yaml.Node) -> Any:
        text = loader.construct_scalar(node)  # type: ignore[arg-type]
        if not CORE[kind].match(text):
            raise ValueError(f"{text!r} is no {kind}")
        return read(text)

    return construct


def _float(text: str) -> float:
    return float(text.replace(".", "", 1) if text.lstrip("+-")[:2].lower() in (".i", ".n") else text)


READ: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text, 0) if text[:2] in ("0o", "0x") else int(text),
    "float": _float,
}
for _kind, _pattern in CORE.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, None)
    Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, None)
for _kind, _read in READ.items():
    Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _scalar(_kind, _read))


def odd(node: yaml.ScalarNode, *, is_key: bool = False) -> str | None:
    """Return what is wrong with a scalar: it steers a terminal, or YAML 1.1 and 1.2 read it differently; None where nothing is."""
    text = node.value
    steers = STEERS.search(text) or (is_key and re.search(r"[\t\n]", text))
    if steers:
        return f"is {short(text)}, with the control character U+{ord(steers[0]):04X}; take it out"
    if node.style is not None:  # in quotes: a text
        return None
    old = next((tag for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ()) if pattern.match(text)), "")
    kind = old.rpartition(":")[2]
    if LEADING_ZERO.match(text) or (kind in PLAINLY and old != node.tag):
        way_out = PLAINLY.get(kind, PLAINLY["int"])
        return f"is {text}, which YAML 1.1 and 1.2 read differently; {way_out}, or put it in quotes if it is a text"
    return None


def dumped(data: Any) -> str:
    """Return data as YAML that is read as it was."""
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, width=140))


def short(value: object) -> str:
    """Return a value as Python writes it, at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
