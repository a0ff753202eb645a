"""Claims as data: what a paper says, what kind of evidence tests it, the rows, the margin with its reason, the controls.

A claim without a margin's reason is refused. Every claim names controls, broken variants that must flip it: one that only exchanges the
sides or holds a row to itself breaks nothing, and is refused. A file has `defaults`,
which its claims take unless they say otherwise, and `claims`; an entry of these with `claims` of its own is a group, with defaults
of its own. What every side of a claim shares is said once, in the claim's or a group's `rows`.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from galley.artifact import GalleyError
from galley.declared import Loc, line_of, read_yaml, refusal
from galley.recipe import Name, Scale, Strict, Text, merge

# Merged key by key over a default; any other key is replaced whole, so that a margin never borrows another one's reason.
MERGED = ("rows", "lhs", "rhs")
OWN = ("id", "statement")  # never a default: with them a claim can be read where it stands
Kind = Literal["structural", "order", "equivalence", "non_inferiority", "trend", "value"]
Evidence = Literal["printed", "artefact", "self_check", "experiment"]
Stance = Literal["paper", "critique"]
VERDICTS = (
    "reproduced", "contradicted", "below_margin", "confirmed", "refuted", "holds", "broken",
    "proxy_agrees", "proxy_reverse", "proxy_below_margin", "proxy_disagrees", "inconclusive", "not_run",
)  # fmt: skip
AGREES = {"reproduced", "confirmed", "holds", "proxy_agrees"}


class Rows(Strict):
    """A choice of item rows; a field left out takes the claim's own or any."""

    method: Name
    benchmark: Name
    metric: Name
    setting: str | None = None
    model: Name | None = None


class Margin(Strict):
    """The difference that matters, in the metric's unit, and why that much."""

    abs: float = Field(ge=0)
    reason: Text = Field(min_length=10)


class Expected(Strict):
    """What a structural row must be."""

    op: Literal["eq", "le", "ge"]
    value: float
    atol: float = Field(default=0.0, ge=0)


class Point(Strict):
    """One point of a trend."""

    x: float
    rows: Rows


class Requirement(Strict):
    """What must be so before a verdict means anything: the mean of rows, or how far it is from that of others, within bounds."""

    why: str = Field(min_length=10, description="what a reader is told where it is not met")
    rows: Rows
    minus: Rows | None = Field(default=None, description="take the distance to the mean of these rows")
    least: float | None = None
    most: float | None = None
    below_gap: bool = Field(default=False, description="the distance must be less than the claim's own estimate is far from 0")

    @model_validator(mode="after")
    def _bounded(self) -> Requirement:
        if self.least is None and self.most is None and not self.below_gap:
            raise ValueError("a requirement needs least, most or below_gap")
        if self.below_gap and self.minus is None:
            raise ValueError("below_gap compares a distance; say minus which rows")
        return self


class Control(Strict):
    """A broken variant: the claim judged on these rows instead must not agree."""

    name: Name
    why: Text
    lhs: Rows | None = None
    rhs: Rows | None = None
    points: list[Point] | None = None


class Claim(Strict):
    """One claim; see docs/statistics.md for each kind's rule."""

    id: str = Field(pattern=r"^\S+$")
    statement: Text
    source: Text = Field(description="where the paper makes it")
    tier: Literal["headline", "secondary", "ablation"] = "secondary"
    evidence: Evidence = Field(
        description="printed: a number of the paper, derived again; artefact: what its authors released; self_check: an identity of our"
        " code; experiment: what was run"
    )
    stance: Stance = Field(default="paper", description="critique: a finding against the paper, never counted as agreement")
    kind: Kind
    lhs: Rows | None = None
    rhs: Rows | None = None
    points: list[Point] | None = None
    expected: Expected | None = None
    direction: Literal["less", "greater"] = Field(default="less", description="order: lhs is less or greater than rhs")
    margin: Margin
    scales: list[Scale] = Field(min_length=1)
    requires: list[Requirement] = Field(default_factory=list)
    not_run_reason: Text = "this scale cannot test it"
    controls: list[Control]
    expect: dict[Scale, list[str]] = Field(default_factory=dict, description="per scale, the verdicts that are no regression")

    @model_validator(mode="after")
    def _shape(self) -> Claim:
        need = {"structural": ("lhs", "expected"), "trend": ("points",)}.get(self.kind, ("lhs", "rhs"))
        missing = [field for field in need if getattr(self, field) is None]
        if missing:
            raise ValueError(f"a {self.kind} claim needs {missing[0]}")
        if not self.controls:
            raise ValueError("a claim needs a control that flips it")
        if self.kind == "structural" and any(requirement.below_gap for requirement in self.requires):
            raise ValueError("a structural claim has no gap that below_gap could hold a distance to")
        judged = [field for field in need if field != "expected"]
        for control in self.controls:
            if all(getattr(control, field) is None for field in judged):
                raise ValueError(f"control {control.name!r} changes nothing of a {self.kind} claim; give it {' or '.join(judged)}")
            if fault := self._breaks_nothing(control):
                raise ValueError(f"control {control.name!r} {fault}: it would flip whatever is true; name rows of a broken variant")
        for points in (self.points, *(control.points for control in self.controls)):
            if self.kind == "trend" and points is not None and len({point.x for point in points}) < 2:
                raise ValueError("a trend needs points at two values of x or more")
        wrong = [v for verdicts in self.expect.values() for v in verdicts if v not in VERDICTS]
        if wrong:
            raise ValueError(f"expect has {wrong[0]!r}; verdicts: {', '.join(VERDICTS)}")
        return self

    @property
    def exact(self) -> bool:
        """Return whether it is judged alike at any scale: only an experiment depends on one."""
        return self.evidence != "experiment"

    def _breaks_nothing(self, control: Control) -> str:
        """Return why a control is no broken variant, as far as its rows' names tell."""
        if self.kind == "structural":
            return "is the claim itself" if control.lhs == self.lhs else ""
        if self.kind == "trend":
            mine, theirs = ([p.rows for p in sorted(points or (), key=lambda p: p.x)] for points in (self.points, control.points))
            if theirs == mine:
                return "is the claim itself"
            if all(rows in mine for rows in theirs) and len(theirs) == len(mine) and all(theirs.count(rows) == 1 for rows in theirs):
                return "only orders the claim's points anew"
            return "holds one row to itself" if all(rows == theirs[0] for rows in theirs) else ""
        lhs, rhs = control.lhs or self.lhs, control.rhs or self.rhs
        if lhs == rhs:
            return "holds a row to itself"
        if (lhs, rhs) == (self.rhs, self.lhs):
            return "only exchanges the sides"
        return "is the claim itself" if (lhs, rhs) == (self.lhs, self.rhs) else ""


class Part(BaseModel):
    """A claim, a group or defaults as they are written: whether a claim is whole is seen when its defaults are in it."""

    model_config = ConfigDict(extra="allow")
    rows: dict[str, Any] | None = None

    def said(self) -> dict[str, Any]:
        """Return what is written."""
        return self.model_dump(exclude_unset=True)


class Group(Strict):
    """A claims file, or some of its claims that share defaults of their own."""

    defaults: Part = Part()
    claims: list[Part] = Field(min_length=1)


def load_claims(path: Path) -> list[Claim]:
    """Read a claims file; a GalleyError names file, line, claim and field."""
    document = read_yaml(path, what="claims", home="recipes/<name>/claims.yaml")
    claims: list[Claim] = []
    for entry, nodes in _entries(document.data, document.node, path=path):
        try:
            claims.append(Claim.model_validate(_filled(entry)))
        except ValidationError as error:
            about = f"claim {entry.get('id', '?')!r}"
            raise refusal(error, kind=Claim, path=path, line_of=lambda loc, nodes=nodes: _line_in(nodes, loc), about=about) from None  # type: ignore[misc]
        if claims[-1].id in {claim.id for claim in claims[:-1]}:
            raise GalleyError(f"{path}:{_line_in(nodes, ('id',))}: claim id {claims[-1].id!r} appears twice; give one another id")
    return claims


Nodes = tuple[yaml.Node | None, ...]


def _entries(
    raw: Any, node: yaml.Node | None, *, path: Path, above: Mapping[str, Any] | None = None, over: Nodes = ()
) -> Iterator[tuple[dict[str, Any], Nodes]]:
    """Yield each claim with its defaults, and the nodes that its keys may come from, its own first."""
    try:
        group = Group.model_validate(raw)
    except ValidationError as error:
        first = node.start_mark.line + 1 if node else None
        raise refusal(error, kind=Group, path=path, line_of=lambda loc: line_of(node, loc) or first) from None
    own, entries = _child(node, "defaults"), _child(node, "claims")
    shared = group.defaults.said()
    for key in OWN:
        if key in shared:
            raise GalleyError(f"{path}:{line_of(own, (key,))}: defaults have {key!r}, which is each claim's own; write it in the claim")
    defaults, nodes = _over(above or {}, shared), (own, *over)
    for place, entry in enumerate(part.said() for part in group.claims):
        mine = entries.value[place] if isinstance(entries, yaml.SequenceNode) else None
        if "claims" in entry:
            yield from _entries(entry, mine, path=path, above=defaults, over=nodes)
        else:
            yield _over(defaults, entry), (mine, *nodes)


def _over(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the defaults that it does not replace."""
    merged = {key: merge(defaults[key], entry[key]) for key in MERGED if key in defaults and key in entry}
    return {**defaults, **entry, **merged}


def _filled(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim in full: each of its sides, and of its controls', has what `rows` says and the side does not."""
    return _sides({key: value for key, value in entry.items() if key != "rows"}, entry.get("rows") or {})


def _sides(part: Any, shared: Any) -> Any:
    if not isinstance(part, dict):
        return part
    full = {key: merge(shared, part[key]) for key in ("lhs", "rhs", "rows") if isinstance(part.get(key), dict)}
    full |= {key: [_sides(one, shared) for one in part[key]] for key in ("points", "controls") if isinstance(part.get(key), list)}
    return {**part, **full}


def _line_in(nodes: Nodes, loc: Loc) -> int | None:
    """Return the line that says a field of a claim: its own, else a default's, else what its sides share, else the claim's."""
    shared = ("rows", loc[-1]) if len(loc) > 1 and loc[-2] in ("lhs", "rhs", "rows") else loc
    found = (line_of(node, path) for path in (loc, shared) for node in nodes)
    return next((line for line in found if line), nodes[0].start_mark.line + 1 if nodes[0] else None)


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the node of a mapping's value."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)
