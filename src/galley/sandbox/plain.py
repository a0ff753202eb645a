"""Plain data as canonical bytes: the only form in which a program's values reach the trusted side.

Plain is None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset and dict, nested. Two values with equal
bytes are equal in value, type and order of keys (a NaN too, which `==` would not say): comparing bytes first is safe, and
only a mismatch needs `decode`. The bytes are those of `marshal.dumps(value, 2)`, which writes them at C speed inside the
sandbox. `marshal.loads` is never used on bytes from a program: it may crash or build code. `decode` is our own reader of
this subset, with bounds on depth, size and hash collisions; `encode` is the obvious twin of the C writer.

Source: ours; the byte layout is CPython's Python/marshal.c, version 2.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200
MAX_EQUAL_HASHES = 64  # set and dict keys made to collide would cost quadratic time
_INT32 = 1 << 31
KINDS = tuple(bytes([letter]) for letter in b"NTFilgyus[(<>{")  # first bytes of plain values


class NotPlain(ValueError):
    """A value or a byte string that is not plain data."""


def dumps(value: Any) -> bytes:
    """Return the canonical bytes at C speed; subclasses of plain types count as their base. Raises NotPlain."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:
        return marshal.dumps(normalise(value), 2)


def normalise(value: Any, depth: int = 0) -> Any:
    """Return the value rebuilt from exact plain types: an IntEnum becomes an int, a Counter a dict. Raises NotPlain."""
    if depth > MAX_DEPTH:
        raise NotPlain(f"nested deeper than {MAX_DEPTH}")
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    for base, rebuilt in _SCALARS:
        if isinstance(value, base):
            return rebuilt(value)
    for kind, items in _CONTAINERS:  # the base type's own iteration: a subclass may have changed it
        if isinstance(value, kind):
            return kind(normalise(item, depth + 1) for item in items(value))
    if isinstance(value, dict):
        return {normalise(key, depth + 1): normalise(item, depth + 1) for key, item in dict.items(value)}
    if type(value).__module__ == "numpy" and hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        return normalise(value.item(), depth + 1)  # a NumPy scalar equals the Python number
    raise NotPlain(f"{type(value).__name__} is not plain data")


_SCALARS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (int, lambda value: int.__add__(value, 0)),
    (float, float.__pos__),
    (complex, complex.__pos__),
    (str, lambda value: str.__getitem__(value, slice(None)) + ""),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value: bytes(bytearray.copy(value))),
)
_CONTAINERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
)


def encode(value: Any) -> bytes:
    """The slow, obvious twin of `dumps` for values of exact plain types."""
    kind = type(value)
    if value is None:
        return b"N"
    if kind is bool:
        return b"T" if value else b"F"
    if kind is int:
        return b"i" + struct.pack("<i", value) if -_INT32 <= value < _INT32 else b"l" + _digits(value)
    if kind is float:
        return b"g" + struct.pack("<d", value)
    if kind is complex:
        return b"y" + struct.pack("<dd", value.real, value.imag)
    if kind in (str, bytes):
        data = value.encode("utf-8", "surrogatepass") if kind is str else value
        return (b"u" if kind is str else b"s") + struct.pack("<I", len(data)) + data
    if kind is dict:
        return b"{" + b"".join(encode(key) + encode(item) for key, item in value.items()) + b"0"
    if kind in (set, frozenset):
        parts = sorted(encode(item) for item in value)
        return (b"<" if kind is set else b">") + struct.pack("<I", len(parts)) + b"".join(parts)
    if kind in (list, tuple):
        return (b"[" if kind is list else b"(") + struct.pack("<I", len(value)) + b"".join(encode(item) for item in value)
    raise NotPlain(f"{kind.__name__} is not plain data")


def _digits(value: int) -> bytes:
    size, digits = abs(value), []
    while size:
        digits.append(size & 0x7FFF)
        size >>= 15
    return struct.pack(f"<i{len(digits)}H", len(digits) if value > 0 else -len(digits), *digits)


def decode(data: bytes) -> Any:
    """Rebuild a plain value from untrusted canonical bytes; every malformed input raises NotPlain."""
    try:
        value, end = _read(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, OverflowError) as error:
        raise NotPlain(f"malformed bytes: {error}") from None
    if end != len(data):
        raise NotPlain("bytes after the value")
    return value


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    at += 1
    if kind == b"i":
        return struct.unpack_from("<i", data, at)[0], at + 4
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind == b"g":
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == b"y":
        return complex(*struct.unpack_from("<dd", data, at)), at + 16
    if kind == b"l":
        return _long(data, at)
    if kind == b"{":
        return _dict(data, at, depth + 1)
    if kind not in (b"u", b"s", b"[", b"(", b"<", b">"):
        raise NotPlain(f"byte {kind!r} opens no plain value")
    (size,) = struct.unpack_from("<I", data, at)
    at += 4
    if size > len(data) - at:
        raise NotPlain("a size beyond the end")
    if kind in (b"u", b"s"):
        part = data[at : at + size]
        return part.decode("utf-8", "surrogatepass") if kind == b"u" else bytes(part), at + size
    items, at = _items(data, at, size, depth + 1)
    if kind == b"[":
        return items, at
    if kind == b"(":
        return tuple(items), at
    _spread(items)
    return set(items) if kind == b"<" else frozenset(items), at


_CONSTANTS = {b"N": None, b"T": True, b"F": False}


def _items(data: bytes, at: int, size: int, depth: int) -> tuple[list[Any], int]:
    if depth > MAX_DEPTH:
        raise NotPlain(f"nested deeper than {MAX_DEPTH}")
    items = []
    for _ in range(size):
        item, at = _read(data, at, depth)
        items.append(item)
    return items, at


def _dict(data: bytes, at: int, depth: int) -> tuple[dict[Any, Any], int]:
    if depth > MAX_DEPTH:
        raise NotPlain(f"nested deeper than {MAX_DEPTH}")
    keys, values = [], []
    while data[at] != ord("0"):
        key, at = _read(data, at, depth)
        value, at = _read(data, at, depth)
        keys.append(key)
        values.append(value)
    _spread(keys)
    return dict(zip(keys, values, strict=True)), at + 1


def _spread(keys: list[Any]) -> None:
    """Refuse keys that were made to collide: numbers' hashes are known to the program, strings' are not."""
    if len(keys) <= MAX_EQUAL_HASHES:
        return
    hashes = sorted(hash(key) for key in keys)
    if any(hashes[i] == hashes[i + MAX_EQUAL_HASHES] for i in range(len(hashes) - MAX_EQUAL_HASHES)):
        raise NotPlain("keys with equal hashes")


def _long(data: bytes, at: int) -> tuple[int, int]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    size = abs(count)
    digits = list(struct.unpack_from(f"<{size}H", data, at))
    if size == 0 or digits[-1] == 0 or max(digits) > 0x7FFF:
        raise NotPlain("a long integer that is not canonical")
    width = 15
    while len(digits) > 1:  # pairwise: linear steps of doubling width instead of a quadratic sum
        digits += [0] * (len(digits) % 2)
        digits = [low | high << width for low, high in zip(digits[::2], digits[1::2], strict=True)]
        width *= 2
    return (digits[0] if count > 0 else -digits[0]), at + 2 * size
