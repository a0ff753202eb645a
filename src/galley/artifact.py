"""Atomic files, digests, locks and manifests: what every stage writes through.

Source: ours.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock


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
    """Return one sha256 for a file or, by sorted relative name, a directory's files."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    names = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "manifest.json" and not p.name.startswith(".snakemake"))
    return digest([(str(p.relative_to(path)), sha256_file(p)) for p in names])


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`, renamed onto it on success and removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling directory, renamed onto `path` on success and removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        part.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, UTF-8."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an inter-process lock beside `path`, so that two jobs never write it at once."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(path) + ".lock"):
        yield


TELLS = "progress"  # the module that changes no result


def code_digest(module: str) -> str:
    """Return a digest of a galley module's import closure without comments and docstrings.

    A change of method changes it, a typo fix in a comment does not; it is a rule's
    parameter, so that Snakemake reruns what depends on the changed code.
    """
    return digest(sorted((name, _parsed(path, path.stat().st_mtime_ns)[0]) for name, path in code_files(module).items()))


def code_files(module: str) -> dict[str, Path]:
    """Return the files of a galley module's import closure, by module, without what only tells how far a stage is."""
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in found and name != f"galley.{TELLS}":
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
        "config": config,
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
