"""What a function's source says: the names that it needs from outside, its docstring's examples, a normal form that copies share.

Scopes are resolved by Python's own symbol table, not by a walk over names: an argument never counts as a global.

Source: ours.
"""

from __future__ import annotations

import ast
import doctest
import hashlib
import symtable
import warnings
from collections.abc import Mapping

BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError)  # what parsing text from outside may raise


def parse(text: str) -> ast.Module | None:
    """Return a text's syntax tree, or None when it is no Python that this interpreter reads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning: invalid escapes of other people's code
            return ast.parse(text)
    except BROKEN:
        return None


def global_names(source: str) -> set[str]:
    """Return the names that a function's source looks up outside itself: builtins, imports, globals; not its own name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(source, "<function>", "exec")
    names, todo = set(), [top]
    while todo:
        table = todo.pop()
        todo += table.get_children()
        for symbol in table.get_symbols():
            if (table is top and symbol.is_referenced()) or (table is not top and symbol.is_global()):
                names.add(symbol.get_name())
    return names - {s.get_name() for s in top.get_symbols() if s.is_namespace()}


def docstring_examples(node: ast.FunctionDef) -> tuple[str, ...]:
    """Return the sources of the examples (`>>> ...`) in a function's docstring; none when they are malformed."""
    try:
        return tuple(e.source.strip() for e in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""))
    except ValueError:
        return ()


def bound_name(line: str) -> str:
    """Return the name that an import line of a Function binds."""
    alias = ast.parse(line).body[0].names[0]  # type: ignore[attr-defined]
    return str(alias.asname or alias.name.split(".")[0])


def root_module(line: str) -> str:
    """Return the root of the module that an import line of a Function names: numpy for `from numpy.linalg import norm`."""
    node = ast.parse(line).body[0]
    name = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name  # type: ignore[attr-defined]
    return name.split(".")[0]


def plain_source(source: str) -> str:
    """Return a function's source without docstrings, annotations and comments, re-printed from its tree."""
    return ast.unparse(ast.fix_missing_locations(_Plain().visit(ast.parse(source)))) + "\n"


def ast_key(source: str) -> str:
    """Return a digest that copies share: the tree without docstrings and annotations, with own, argument and local names normalised."""
    tree = _Plain().visit(ast.parse(source))
    bound = [name for node in ast.walk(tree) for name in _bound(node)]
    names = {name: f"n{i}" for i, name in enumerate(dict.fromkeys(bound))}
    return hashlib.sha256(ast.dump(_Rename(names).visit(tree)).encode()).hexdigest()[:16]


def _bound(node: ast.AST) -> list[str]:
    """Return the names that a node binds inside a function, in their order."""
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        return [node.id]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    return []


class _Plain(ast.NodeTransformer):
    """Drops docstrings and annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if not isinstance(node, ast.ClassDef):
            node.returns, node.type_comment = None, None
        return node

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation, node.type_comment = None, None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        self.generic_visit(node)
        return ast.copy_location(ast.Assign([node.target], node.value) if node.value else ast.Pass(), node)


class _Rename(ast.NodeTransformer):
    """Gives names their normal form wherever they are bound or used."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str) and not isinstance(node, ast.keyword | ast.alias):
                setattr(node, field, self.names.get(value, value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self.names.get(name, name) for name in node.names]
        return super().generic_visit(node)
