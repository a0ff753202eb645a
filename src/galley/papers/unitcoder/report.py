"""What the stages share: the sandbox limits of a plan, pooled ratios as items, and two ways to break a filter.

Source: ours.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from galley.papers.unitcoder.plan import Plan
from galley.sandbox.types import Limits
from galley.stats import derangement
from galley.synthesize.ratios import linearised
from galley.tables.items import Rows, absent, fraction

T = TypeVar("T")


def limits_of(plan: Plan) -> Limits:
    """Return the sandbox limits of a plan."""
    return Limits(cpu_s=plan.limits.cpu_s, wall_s=plan.limits.wall_s, memory_mb=plan.limits.memory_mb)


def ratio_rows(hits: Mapping[str, float], counts: Mapping[str, float], **row: Any) -> Rows:
    """Return a pooled ratio as one item a task (linearised, so that its mean is the ratio); one not_run row when nothing was counted."""
    ids = sorted(counts)
    scores = linearised([hits[i] for i in ids], [counts[i] for i in ids])
    if not len(ids) or scores[0] != scores[0]:
        return [absent(reason="nothing was kept, so there is no ratio", **row)]
    return [fraction(value=float(score), item_id=i, **row) for i, score in zip(ids, scores, strict=True)]


def mixed_up(found: Mapping[T, Any], *, seed: int) -> dict[T, Any]:
    """A broken runner, for controls: what was found of each program is said of another one; as many pass as before."""
    keys = list(found)
    if len(keys) < 2:
        return dict(found)
    return {key: found[keys[other]] for key, other in zip(keys, derangement(len(keys), seed=seed), strict=True)}


def unasserted(tests: Sequence[str]) -> list[str]:
    """Broken tests, for controls: they call what they called, and look at nothing that comes back."""
    return [ast.unparse(ast.fix_missing_locations(ast.Module([_unasserted(n) for n in ast.parse(t).body], []))) for t in tests]


def _unasserted(node: ast.stmt) -> ast.stmt:
    if isinstance(node, ast.Assert):
        return ast.Expr(node.test)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "self.assertEqual":
        return ast.Expr(ast.Tuple(list(node.value.args), ast.Load()))
    return node
