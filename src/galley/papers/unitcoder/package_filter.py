"""Stage 1: which functions of a file go in, by the packages that they use.

arXiv:2502.11460 and the released filter: a top-level function with a return, positional arguments, no import inside and no function
defined directly inside, whose imported names all come from an allow list; functions that import nothing are kept too.

Deviations, each the authors' behaviour again behind an audit flag:
  drop_file          one function with a package outside the list drops the whole file (ours: that function)
  substring_imports  every import line that contains a used name as text is attached, so some are wrong and some twice (ours: the line that
                     binds the name)
  nested_imports     imports anywhere in the file count, also those inside other functions (ours: those that run when the file is loaded)
  free_names         functions that use helpers or constants of their file are kept, and can only raise NameError (ours: dropped)
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from galley.data.function_filters import BUILTINS, SHARED, no_free_name
from galley.data.functions import Function, functions_in
from galley.data.syntax import global_names, parse, root_module

AUDITS = ("drop_file", "substring_imports", "nested_imports", "free_names")


def filter_file(
    text: str, *, origin: str, package: str, allowed: Collection[str], audits: Collection[str] = (), counts: Counter[str], module: str = ""
) -> list[Function]:
    """Return the functions of a file that pass; `counts` gets input, kept and each reason, which add up to the input."""
    found = functions_in(text, origin=origin, package=package, module=module, counts=counts)
    roots = [{root_module(line) for line in function.imports} for function in found]
    reasons = [_reason(f, mine, allowed=allowed, free="free_names" in audits) for f, mine in zip(found, roots, strict=True)]
    tree = parse(text) if {"substring_imports", "nested_imports"} & {*audits} else None
    if tree is not None:
        statements = _import_statements(tree, nested="nested_imports" in audits)
        pairs = [_attached(function, statements, substring="substring_imports" in audits) for function in found]
        reasons = [_reason(f, pair[1], allowed=allowed, free="free_names" in audits) for f, pair in zip(found, pairs, strict=True)]
        found = [function for function, _ in pairs]
    if "drop_file" in audits and "package" in reasons:
        reasons = ["dropped_file"] * len(found)
    counts.update({"input": len(found)})
    counts.update(reasons)
    return [function for function, reason in zip(found, reasons, strict=True) if reason == "kept"]


def _reason(function: Function, roots: set[str], *, allowed: Collection[str], free: bool) -> str:
    """Return the first rule that a function fails, or `kept`."""
    shape = next((name for name, rule in SHARED.items() if not rule(function)), None)
    if shape is not None:
        return shape
    if not roots <= set(allowed):
        return "package"
    return "kept" if free or no_free_name(function) else "free_name"


def _import_statements(tree: ast.Module, *, nested: bool) -> list[ast.Import | ast.ImportFrom]:
    nodes = ast.walk(tree) if nested else iter(tree.body)
    return [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]


def _attached(function: Function, statements: list[ast.Import | ast.ImportFrom], *, substring: bool) -> tuple[Function, set[str]]:
    """Return the function with the authors' import lines, whole statements, and the root modules of the names that it uses."""
    printed = [ast.unparse(node) for node in statements]
    bound = {
        alias.asname or alias.name: (_full(node, alias), line)
        for node, line in zip(statements, printed, strict=True)
        for alias in node.names
    }
    used = sorted({n.id for n in ast.walk(ast.parse(function.source)) if isinstance(n, ast.Name)} & bound.keys())
    if substring:
        lines = [line for name in used for line in printed if name in line or bound[name][0] in line]
    else:
        lines = list(dict.fromkeys(bound[name][1] for name in used))
    return replace(function, imports=tuple(lines)), {bound[name][0].split(".")[0] for name in used}


def _full(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    return f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) and node.module else alias.name


def program(function: Function) -> str:
    """Return a function with its imports as one program."""
    return "\n".join([*function.imports, *(["", ""] if function.imports else []), function.source])


def unresolved(code: str) -> set[str]:
    """Return the names that a program's functions look up and that neither it nor Python binds; every name when it does not parse."""
    tree = parse(code)
    if tree is None:
        return {"<does not parse>"}
    bound = {
        alias.asname or alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for alias in n.names
    }
    bound |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return global_names(code) - bound - BUILTINS
