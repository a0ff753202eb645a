"""Atomic files, digests, locks and manifests: what every stage writes through.

Source: ours.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import platform
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec

from galley.disk import no_room, size
from galley.holding import held, lock_of, private, sweep
from galley.redact import for_a_reader

P = ParamSpec("P")
NO_CONTENT = ("manifest.json", "source.json")  # records of how a directory's files came there


class GalleyError(Exception):
    """An error for the user: it names the field, the value and the way out."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return 12 hex digits of the sha256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sha256_tree(path: Path) -> str:
    """Return one sha256 for a file or, by sorted relative name, a directory's files without the records of how they came there."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    names = sorted(p for p in path.rglob("*") if p.is_file() and p.name not in NO_CONTENT and not p.name.startswith(".snakemake"))
    return digest([(str(p.relative_to(path)), sha256_file(p)) for p in names])


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a file of the same name in a private folder beside `path`, moved onto it on success and removed on failure."""
    path = Path(path)
    with part_of(path) as folder:
        part = folder / path.name
        part.touch()
        yield part
        part.chmod(0o644)
        part.replace(path)


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield a directory of the same name in a private folder beside `path`, moved onto it on success and removed on failure."""
    path = Path(path)
    with part_of(path) as folder:
        part = folder / path.name
        part.mkdir()
        yield part
        part.chmod(0o755)
        if path.exists():
            path.replace(folder / ".former")
        part.replace(path)


@contextlib.contextmanager
def part_of(path: Path, *, named: str | None = None) -> Iterator[Path]:
    """Yield a private folder beside `path` for what it is made of, which goes at the end; GalleyError when the disk is full.

    What dead processes left in the same place goes first: they cannot do it themselves.
    """
    path = Path(path)
    _sweep_once(path.parent)
    try:
        with private(path.parent, prefix=f".{path.name}.", named=named, suffix=".part") as folder:
            try:
                yield folder
            except Exception as error:
                if not no_room(error):
                    raise
                written = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                for one in (error, error.__context__):  # what a library's frames keep open would keep its room
                    traceback.clear_frames(one.__traceback__ if one else None)
                raise _FullError(written) from error
    except _FullError as full:  # the part has gone: what is free now is what there is
        free = shutil.disk_usage(path.parent).free
        need = max(full.args[0], free)
        raise GalleyError(
            f"the disk is full: {path} needs more than {size(need)}, and {path.parent} has {size(free)} free;"
            " make room there, then run the same command again"
        ) from None


class _FullError(Exception):
    """The disk was full after so many bytes."""


@functools.cache
def _sweep_once(folder: Path) -> None:
    sweep(folder)


def room(folder: Path, need: int, *, what: str, way_out: str = "make room there") -> None:
    """Refuse work of a known size before it begins: GalleyError if `need` bytes are more than a folder's disk has free."""
    there = next(p for p in (Path(folder), *Path(folder).absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < need:
        raise GalleyError(f"{what} needs {size(need)} in {folder}, which has {size(free)} free; {way_out}")


def write_text(path: Path, text: str) -> None:
    """Write text atomically, UTF-8."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock beside `path` while it is worked on, so that two jobs never are at once; the second says that it waits."""
    path = Path(path)
    with held(lock_of(path), what=str(path)):
        yield


def sole(command: Callable[P, None]) -> Callable[P, None]:
    """Return a command that holds its output, the parameter `out`, while it works: one job at a time makes a thing."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with file_lock(kwargs["out"]):  # type: ignore[arg-type]
            command(*args, **kwargs)

    return run


NO_RESULT = ("progress", "holding", "disk", "inputs", "outputs", "redact", "secret_forms")  # the modules that change no result


def code_digest(module: str) -> str:
    """Return a digest of a galley module's import closure without comments and docstrings.

    A change of method changes it, a typo fix in a comment does not; it is a rule's
    parameter, so that Snakemake reruns what depends on the changed code.
    """
    return digest(sorted((name, _parsed(path, path.stat().st_mtime_ns)[0]) for name, path in code_files(module).items()))


def code_files(module: str) -> dict[str, Path]:
    """Return the files of a galley module's import closure, by module, without what changes no result."""
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in found and name.removeprefix("galley.") not in NO_RESULT:
            path = found[name] = _module_file(name)
            todo.extend(_parsed(path, path.stat().st_mtime_ns)[1])
    return found


@functools.cache
def _parsed(path: Path, changed: int) -> tuple[str, tuple[str, ...]]:
    """Return the digest and galley imports of a file as of `changed`; closures share most files, and parsing them takes the time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _strip_docstrings(tree)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(galley_imports(tree))


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.body
            and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
            and isinstance(node.body[0].value.value, str)
        ):
            node.body = node.body[1:] or [ast.Pass()]


def galley_imports(tree: ast.AST) -> list[str]:
    """Return the galley modules that a tree imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith("galley.") and _module_file(name).exists()]


def _module_file(name: str) -> Path:
    """Return where a galley module's source would be; importlib would execute its parents to tell."""
    path = Path(__file__).parent.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


PACKAGES = ("galley", "torch", "transformers", "tokenizers", "numpy", "pandas", "lm_eval", "datasets")


def manifest(*, stage: str, config: dict[str, Any], inputs: dict[str, Path], seed: int | None = None) -> dict[str, Any]:
    """Return the facts that identify a stage's run: config, input digests, versions, threads, device."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    device = "cpu"
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        device = sys.modules["torch"].cuda.get_device_name(0)
    return {
        "stage": stage,
        "config": for_a_reader(config),
        "inputs": {name: sha256_tree(path) for name, path in sorted(inputs.items())},
        "packages": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1,
        "seed": seed,
    }


def peak_rss_mib() -> float:
    """Return this process's peak resident memory in MiB.

    The kernel's count in /proc starts anew with a program; getrusage's begins at what the parent held when it started us.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Stopwatch:
    """Wall seconds, CPU seconds (those of ended children too) and peak memory (MiB) since it was made."""

    def __init__(self) -> None:
        self.wall0, self.cpu0 = time.perf_counter(), _cpu_s()

    def read(self) -> dict[str, float]:
        """Return `wall_s`, `cpu_s` and `peak_rss_mib` so far."""
        return {
            "wall_s": round(time.perf_counter() - self.wall0, 3),
            "cpu_s": round(_cpu_s() - self.cpu0, 3),
            "peak_rss_mib": round(peak_rss_mib(), 1),
        }
