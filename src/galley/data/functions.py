"""Corpora of top-level functions: the standard library, installed packages, wheels, JSON lines and hub data, all as one type.

A function carries only the import lines that it really uses, resolved by scope (Python's own symbol table) and with relative
imports made absolute. The official filters of the papers are in function_filters.py.

Source: arXiv:2407.12504 (section 3, functions by AST) and arXiv:2502.11460 (section 2.2). Deviation from both: import lines are
attached by the name that they bind, not by substring, so that none is wrong or twice.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sysconfig
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.data.syntax import BROKEN, ast_key, bound_name, docstring_examples, global_names, parse, plain_source

SKIP = {
    "test",
    "tests",
    "testing",
    "site-packages",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "encodings",
    "turtledemo",
    "pydoc_data",
    "__pycache__",
}


@dataclass(frozen=True)
class Function:
    """One top-level function: its source, the import lines that it really uses, and the calls in its docstring.

    `id` is unique in a corpus (origin and name), `origin` the file, `doctests` the sources of the docstring's examples.
    """

    id: str
    name: str
    source: str
    imports: tuple[str, ...]
    origin: str
    doctests: tuple[str, ...]
    package: str


def functions_in(text: str, *, origin: str, package: str, module: str = "", counts: Counter[str] | None = None) -> list[Function]:
    """Return the top-level functions of a file's text; none when it cannot be parsed, which `counts` records as `unparsable`.

    `module` is the dotted name of the package that the file is in, against which relative imports are resolved.
    """
    tree = parse(text)
    if tree is None:
        if counts is not None:
            counts["unparsable"] += 1
        return []
    lines = text.splitlines()
    bound = dict(_import_lines(tree.body, module))
    found: list[Function] = []
    seen: Counter[str] = Counter()
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        source = "\n".join(lines[first - 1 : node.end_lineno]) + "\n"
        if parse(source) is None:  # `def` after a semicolon, and line ends that splitlines and the parser see differently
            source = ast.unparse(node) + "\n"
        try:
            used = global_names(source)
        except BROKEN:  # what the parser lets pass and the compiler does not, such as a `nonlocal` of nothing
            continue
        seen[node.name] += 1
        mark = f"#{seen[node.name]}" if seen[node.name] > 1 else ""
        imports = tuple(sorted({line for name, line in bound.items() if name in used}))
        found.append(Function(f"{origin}:{node.name}{mark}", node.name, source, imports, origin, docstring_examples(node), package))
    return found


def plain(function: Function) -> Function:
    """Return the function without docstring, annotations and comments, re-printed from its tree; imports that only these used go too."""
    source = plain_source(function.source)
    used = global_names(source)
    return replace(function, source=source, imports=tuple(line for line in function.imports if bound_name(line) in used))


def dedupe(functions: Iterable[Function], *, counts: Counter[str] | None = None) -> Iterator[Function]:
    """Yield the first of all functions that are equal up to names, docstrings and annotations; `counts` gets the `duplicate`s."""
    seen: set[str] = set()
    for function in functions:
        key = ast_key(function.source)
        if key in seen:
            if counts is not None:
                counts["duplicate"] += 1
            continue
        seen.add(key)
        yield function


def stdlib_functions(*, counts: Counter[str] | None = None) -> Iterator[Function]:
    """Yield the functions of this interpreter's standard library, in file order, without its tests and IDLE."""
    yield from _folder_functions(Path(sysconfig.get_paths()["stdlib"]), prefix="stdlib", package="stdlib", root="", counts=counts)


def package_functions(name: str, *, counts: Counter[str] | None = None) -> Iterator[Function]:
    """Yield the functions of an installed package, which is read but not imported; GalleyError when it is not installed."""
    spec = importlib.util.find_spec(name) if "." not in name else None
    if spec is None or not spec.submodule_search_locations:
        raise GalleyError(f"package is {name!r}, which is not installed here; install it, or leave it out of the recipe's packages")
    yield from _folder_functions(Path(spec.submodule_search_locations[0]), prefix=name, package=name, root=name, counts=counts)


def wheel_functions(wheel: Path, *, counts: Counter[str] | None = None) -> Iterator[Function]:
    """Yield the functions of a pure-Python wheel, which is read where it is and never installed."""
    with zipfile.ZipFile(wheel) as archive:
        for member in sorted(archive.namelist()):
            parts = member.split("/")
            if member.endswith(".py") and not SKIP.intersection(parts):
                text = archive.read(member).decode("utf-8", errors="replace")
                yield from functions_in(text, origin=member, package=parts[0], module=".".join(parts[:-1]), counts=counts)


def row_functions(
    rows: Iterable[Mapping[str, Any]],
    *,
    field: str = "content",
    id_field: str | None = None,
    package: str,
    counts: Counter[str] | None = None,
) -> Iterator[Function]:
    """Yield the functions of rows that each hold a file's text, as code corpora do; without `id_field` a file is named by its digest."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(field), str):
            raise GalleyError(f"row {number} of {package} has no text in the field {field!r}; its fields: {', '.join(row)}")
        origin = str(row[id_field]) if id_field else hashlib.sha256(row[field].encode("utf-8", "replace")).hexdigest()[:16]
        yield from functions_in(row[field], origin=f"{package}/{origin}", package=package, counts=counts)


def jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file, one at a time; GalleyError names the first broken line."""
    with Path(path).open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise GalleyError(f"{path}:{number}: not JSON: {error.msg}") from None


def hub_rows(repo: str, *, revision: str | None, data_dir: str | None = None, split: str = "train") -> Iterator[dict[str, Any]]:
    """Stream the rows of a hub data set at a commit; nothing is loaded whole. GalleyError for a branch."""
    if revision is None or len(revision) != 40 or not set(revision) <= set("0123456789abcdef"):
        raise GalleyError(f"revision of {repo} is {revision!r}; give the data set's commit (40 hex digits) that the hub's page shows")
    from datasets import load_dataset

    yield from load_dataset(repo, revision=revision, data_dir=data_dir, split=split, streaming=True)


def _folder_functions(folder: Path, *, prefix: str, package: str, root: str, counts: Counter[str] | None) -> Iterator[Function]:
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder)
        if SKIP.intersection(inner.parts):
            continue
        module = ".".join([*([root] if root else []), *inner.parts[:-1]])
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from functions_in(text, origin=f"{prefix}/{inner.as_posix()}", package=package, module=module, counts=counts)


def _import_lines(body: list[ast.stmt], module: str) -> Iterator[tuple[str, str]]:
    """Yield (bound name, line) of the imports that run when a file is loaded; star imports bind no name that can be told."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                yield name, f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            origin = _absolute(node, module)
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, f"from {origin} import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            handlers = [s for h in getattr(node, "handlers", ()) for s in h.body]
            yield from _import_lines([*node.body, *handlers, *getattr(node, "orelse", ())], module)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    parts = module.split(".") if module else []
    base = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])]) or "."
