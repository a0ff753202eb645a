"""Single edits of a program's syntax tree: the mutants of mutation testing, which the search repairer tries as repairs.

Operators: relational, arithmetic, logical and unary replacement, constants one up or down, negated conditions, deleted
statements, exchanged names, returns of nothing, twin builtins (Jia and Harman, 2011, survey the family). A mutant differs from
the program in one node. Programs are re-printed from the tree, so comments and layout go.

Source: ours.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "sum": "len", "ceil": "floor", "floor": "ceil",
         "upper": "lower", "lower": "upper", "append": "extend", "keys": "values", "values": "keys", "set": "list"}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One edited program: what was done, at which line of the original, and the whole new program."""

    kind: str
    line: int
    code: str


@dataclass(frozen=True)
class _Site:
    parent: ast.AST
    field: str
    index: int | None
    old: ast.AST
    new: ast.AST
    kind: str


def edits(code: str, *, entry_point: str | None = None) -> Iterator[Edit]:
    """Yield every single edit of a program in the order of its lines; nothing when it does not parse.

    With `entry_point`, only that function is edited. No two edits are the same text, and none is the program's own.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return
    targets: list[ast.AST] = (
        [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == entry_point] if entry_point else [tree]
    )
    if not targets:
        return
    seen = {ast.unparse(tree)}
    sites = sorted(_sites(targets[0]), key=lambda s: (_line(s.old), getattr(s.old, "col_offset", 0)))
    for site in sites:
        _put(site, site.new)
        text = ast.unparse(tree)
        _put(site, site.old)
        if text not in seen:
            seen.add(text)
            yield Edit(site.kind, _line(site.old), text + "\n")


def mutants(code: str, *, entry_point: str, limit: int, seed: int) -> list[Edit]:
    """Return up to `limit` edits of a function, drawn without replacement by the seed and given in the order of their lines."""
    found = list(edits(code, entry_point=entry_point))
    if len(found) <= limit:
        return found
    chosen = sorted(random.Random(f"{seed} {code}").sample(range(len(found)), limit))
    return [found[i] for i in chosen]


def _sites(target: ast.AST) -> Iterator[_Site]:
    names = sorted({n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                   | {a.arg for n in ast.walk(target) if isinstance(n, ast.arguments) for a in n.args})  # fmt: skip
    for parent in ast.walk(target):
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "ctx", "args") and isinstance(parent, ast.FunctionDef | ast.arg):
                continue
            children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, child in children:
                if isinstance(child, ast.AST) and not _is_docstring(child, parent, field, index):
                    for kind, new in _replacements(child, parent, field, names):
                        yield _Site(parent, field, index, child, ast.copy_location(new, child), kind)


def _replacements(node: ast.AST, parent: ast.AST, field: str, names: list[str]) -> Iterator[tuple[str, ast.AST]]:
    """Yield (kind, node) of what may stand in a node's place."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARE.get(type(op), ()):
                yield "compare", ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators)
    elif isinstance(node, ast.BinOp):
        for operator in ARITHMETIC.get(type(node.op), ()):
            yield "arithmetic", ast.BinOp(node.left, operator(), node.right)
    elif isinstance(node, ast.AugAssign):
        for operator in ARITHMETIC.get(type(node.op), ()):
            yield "arithmetic", ast.AugAssign(node.target, operator(), node.value)
    elif isinstance(node, ast.BoolOp):
        yield "logical", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield "unary", node.operand
    elif isinstance(node, ast.Constant):
        yield from (("constant", ast.Constant(value)) for value in _near(node.value))
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        if node.id in TWINS:
            yield "twin", ast.Name(TWINS[node.id], ast.Load())
        elif node.id in names:
            yield from (("name", ast.Name(other, ast.Load())) for other in names if other != node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in TWINS:
        yield "twin", ast.Attribute(node.value, TWINS[node.attr], ast.Load())
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return", ast.Return(ast.Constant(None))
    if isinstance(parent, ast.If | ast.IfExp) and field == "test" and not isinstance(node, ast.UnaryOp):
        yield "negate", ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Break | ast.Continue) and field in ("body", "orelse"):
        yield "delete", ast.Pass()
    if isinstance(node, ast.Break):
        yield "jump", ast.Continue()
    if isinstance(node, ast.Continue):
        yield "jump", ast.Break()


def _near(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int | float):
        return (value + 1, value - 1)
    if isinstance(value, str):
        return ("",) if value else (" ",)
    return ()


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_docstring(node: ast.AST, parent: ast.AST, field: str, index: int | None) -> bool:
    expression = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    inside = isinstance(parent, ast.Expr) and isinstance(node, ast.Constant) and isinstance(node.value, str)
    return inside or (expression and field == "body" and index == 0)


def _put(site: _Site, node: ast.AST) -> None:
    if site.index is None:
        setattr(site.parent, site.field, node)
    else:
        getattr(site.parent, site.field)[site.index] = node


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))
