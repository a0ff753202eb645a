"""The papers' rules for functions, each a small named predicate; what they drop is counted by reason.

Source: arXiv:2407.12504 and arXiv:2502.11460, their released AST helpers (return, arguments, no import inside, no function defined
directly inside; packages from a list). Ours: no free name left, without which 60 to 79 percent of what the released rules keep only
raises NameError.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from galley.data.functions import Function
from galley.data.syntax import bound_name, global_names, root_module

Filter = Callable[[Function], bool]
BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
INTERACTIVE = {
    "input",
    "open",
    "exec",
    "eval",
    "compile",
    "globals",
    "locals",
    "vars",
    "breakpoint",
    "exit",
    "quit",
    "__import__",
    "id",
    "hash",
}


def has_return(function: Function) -> bool:
    """Return whether there is a `return` anywhere inside."""
    return any(isinstance(node, ast.Return) for node in ast.walk(_node(function)))


def has_arguments(function: Function) -> bool:
    """Return whether it takes positional arguments."""
    arguments = _node(function).args
    return bool(arguments.posonlyargs or arguments.args)


def no_import_inside(function: Function) -> bool:
    """Return whether it imports nothing inside itself."""
    return not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(_node(function)))


def no_nested_function(function: Function) -> bool:
    """Return whether no function is defined directly in its body."""
    return not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in _node(function).body)


def no_package(function: Function) -> bool:
    """Return whether it uses nothing imported: builtins only."""
    return not function.imports


def no_free_name(function: Function) -> bool:
    """Return whether every name that it looks up outside itself is a builtin or one of its imports (ours)."""
    return not free_names(function)


def no_outside_world(function: Function) -> bool:
    """Return whether it uses no builtin that reads the outside, the interpreter's state or code from text (ours)."""
    return not global_names(function.source) & INTERACTIVE


def packages_within(allowed: Iterable[str]) -> Filter:
    """Return a rule: every import's root module is in the list."""
    roots = frozenset(allowed)
    return lambda function: all(root_module(line) in roots for line in function.imports)


def free_names(function: Function) -> set[str]:
    """Return the names that neither builtins nor the function's imports bind."""
    return global_names(function.source) - BUILTINS - {bound_name(line) for line in function.imports}


# reason -> rule, in the order in which they are asked; the first that fails is the reason.
SHARED: Mapping[str, Filter] = {
    "no_return": has_return,
    "no_arguments": has_arguments,
    "import_inside": no_import_inside,
    "nested_function": no_nested_function,
}
CASE2CODE: Mapping[str, Filter] = {**SHARED, "uses_package": no_package, "free_name": no_free_name, "outside_world": no_outside_world}


def keep(functions: Iterable[Function], filters: Mapping[str, Filter], *, counts: Counter[str]) -> Iterator[Function]:
    """Yield what passes every filter; `counts` gets `input`, `kept` and each reason, so that kept and dropped add up to the input."""
    for function in functions:
        counts["input"] += 1
        reason = next((name for name, rule in filters.items() if not rule(function)), "kept")
        counts[reason] += 1
        if reason == "kept":
            yield function


def _node(function: Function) -> ast.FunctionDef:
    node = ast.parse(function.source).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node
