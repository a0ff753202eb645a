"""A watch over programs that share an interpreter with their check (Run and UnitTests): audit hooks, which nothing can remove.

A program that reaches for the collector's objects, raw memory, tracing, new code objects, a second interpreter, or (under
UnitTests) for frames, is told on and killed before it gets them: what it might have forged next is never sent.
Standard library only: programs can reach this module's globals.

Source: ours; PEP 578.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALWAYS = frozenset(
    (
        *("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.settrace", "sys.setprofile"),
        *("sys._current_frames", "sys._current_exceptions", "cpython._PySys_ClearAuditHooks"),
        *("ctypes.addressof", "ctypes.call_function", "ctypes.cdata", "ctypes.cdata/buffer", "ctypes.dlsym", "ctypes.dlsym/handle"),
        *("ctypes.string_at", "ctypes.wstring_at", "ctypes.PyObj_FromPtr"),
    )
)
MODULES = frozenset(
    (
        *("ctypes", "_ctypes", "cffi", "_cffi_backend", "_testcapi", "_testinternalcapi"),
        *("_xxsubinterpreters", "_xxinterpchannels", "gdb"),
    )
)
FRAMES = frozenset(("sys._getframe", "object.__getattr__"))
FRAME_ATTRIBUTES = frozenset(("tb_frame", "gi_frame", "cr_frame", "ag_frame"))
FUNCTION_PARTS = frozenset(("__code__", "__defaults__", "__kwdefaults__"))
LENDERS = frozenset(("inspect.py", "walk_stack", "walk_tb", "currentframe"))  # library code that hands frames to its caller
_HOMES = (sys.prefix, sys.base_prefix, str(Path(os.__file__).parent), str(Path(__file__).parent))
LIBRARY = (*(str(Path(path).resolve()) + os.sep for path in _HOMES), *(path + os.sep for path in _HOMES), "<frozen ")


def arm(channel: int, *, guarded: frozenset[Any] = frozenset(), frames: bool = False, allowed: frozenset[str] = frozenset()) -> None:
    """Watch this process from now on.

    `guarded` functions must not change; `frames`: the program may not look at frames; `allowed` modules it may use (ctypes).
    """
    write, kill, getpid, getframe, ident = os.write, os.kill, os.getpid, sys._getframe, _thread.get_ident
    mortal = signal.SIGKILL
    watched = ALWAYS | {"import", "marshal.loads", "code.__new__", "compile", "object.__setattr__"} | (FRAMES if frames else frozenset())
    watched = frozenset(event for event in watched if event.partition(".")[0] not in allowed)
    modules = MODULES - allowed - {f"_{name}" for name in allowed}
    busy: set[int] = set()

    def end(event: str) -> None:
        try:
            payload = event.encode()[:200]
            write(channel, b"X" + len(payload).to_bytes(4, "little") + payload)
        finally:
            kill(getpid(), mortal)

    def outside(lenders: frozenset[str]) -> bool:
        """Say whether the code that raised the event, or that it works for, is the program's."""
        frame: Any = getframe(3)
        while frame is not None:
            code = frame.f_code
            lends = code.co_name in lenders or code.co_filename.rpartition("/")[2] in lenders
            if not lends and not code.co_filename.startswith("<frozen importlib"):
                return not code.co_filename.startswith(LIBRARY)
            frame = frame.f_back
        return True

    def suspect(event: str, arguments: tuple[Any, ...]) -> bool:
        if event in ALWAYS:
            return True
        if event == "code.__new__":
            return outside(frozenset())
        if event == "import":
            name, path = arguments[:2]  # a path: native code; a library may bring its own, a program may not
            return (isinstance(path, str) and not path.startswith(LIBRARY)) or (name in modules and outside(frozenset()))
        if event == "marshal.loads":
            return not getframe(2).f_code.co_filename.startswith("<frozen importlib")
        if event == "compile":  # a library's file name would pass for the library
            name = arguments[1]
            return isinstance(name, str) and name.startswith(LIBRARY) and outside(frozenset())
        if event == "object.__setattr__":
            return arguments[1] in FUNCTION_PARTS and arguments[0] in guarded
        if event == "object.__getattr__" and arguments[1] not in FRAME_ATTRIBUTES:
            return False
        return outside(LENDERS)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in watched:
            return
        thread = ident()
        if thread in busy:
            return
        busy.add(thread)
        try:
            found = suspect(event, arguments)
        except BaseException:  # no room to think: the attempt is refused all the same
            found = True
        busy.discard(thread)
        if found:
            end(event + (f" {arguments[0]}" if event == "import" else ""))

    sys.addaudithook(hook)


def functions_of(*modules: Any) -> frozenset[Any]:
    """Return the functions and methods that these modules define."""
    found: set[Any] = set()
    for module in modules:
        for value in vars(module).values():
            for item in vars(value).values() if isinstance(value, type) else (value,):
                inner = getattr(item, "__func__", item)
                if type(inner) is type(functions_of) and inner.__module__ == module.__name__:
                    found.add(inner)
    return frozenset(found)


def freezer() -> Callable[[type, bool], None]:
    """Return a function that makes a class unchangeable (Py_TPFLAGS_IMMUTABLETYPE) and back; a no-op where the layout differs."""
    import ctypes

    offset, flag, size = 168, 1 << 8, 8  # of tp_flags in PyTypeObject on 64-bit builds
    if ctypes.string_at(id(int) + offset, size) != int.__flags__.to_bytes(size, "little") or not int.__flags__ & flag:
        return lambda _kind, _on: None
    move = ctypes.memmove  # taken now: in a program's process, getting at it is fatal

    def freeze(kind: type, on: bool) -> None:
        flags = type.__dict__["__flags__"].__get__(kind)
        move(id(kind) + offset, (flags | flag if on else flags & ~flag).to_bytes(size, "little"), size)

    return freeze


def dict_version() -> Callable[[dict[Any, Any]], int] | None:
    """Return a function that reads a dict's private version (PEP 509), which every change of it changes; None where the layout differs.

    Comparing all values instead touches their reference counts, and so copies the pages that a forked process shares.
    """
    import ctypes

    offset, size = 24, 8  # of ma_version_tag in PyDictObject on 64-bit builds
    move = ctypes.memmove
    buffer = ctypes.create_string_buffer(size)
    address = ctypes.addressof(buffer)
    view = memoryview(buffer).cast("B")

    def version(table: dict[Any, Any]) -> int:
        move(address, id(table) + offset, size)
        return int.from_bytes(view, "little")

    seen, trial = [], {"a": 1}
    for change in (lambda: None, lambda: trial.update(b=2), lambda: trial.get("a"), lambda: trial.update(a=3), lambda: trial.pop("b")):
        change()
        seen.append(version(trial))
    return version if seen[0] != seen[1] == seen[2] and len(set(seen)) == 4 else None
