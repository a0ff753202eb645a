"""Claims as data: what a paper says, the rows that test it, the margin with its reason, the controls.

A claim without a margin's reason is refused. Every claim names controls, broken variants that must flip it.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from pydantic import Field, ValidationError, model_validator

from galley.artifact import GalleyError
from galley.recipe import Scale, Strict

Kind = Literal["structural", "order", "equivalence", "non_inferiority", "trend", "value"]
VERDICTS = ("reproduced", "contradicted", "inconclusive", "proxy_agrees", "proxy_disagrees", "not_run")


class Rows(Strict):
    """A choice of item rows; a field left out takes the claim's own or any."""

    method: str
    benchmark: str
    metric: str
    setting: str | None = None
    model: str | None = None


class Margin(Strict):
    """The difference that matters, in the metric's unit, and why that much."""

    abs: float = Field(ge=0)
    reason: str = Field(min_length=10)


class Expected(Strict):
    """What a structural row must be."""

    op: Literal["eq", "le", "ge"]
    value: float
    atol: float = 0.0


class Point(Strict):
    """One point of a trend."""

    x: float
    rows: Rows


class Control(Strict):
    """A broken variant: the claim judged on these rows instead must not agree."""

    name: str
    why: str
    lhs: Rows | None = None
    rhs: Rows | None = None
    points: list[Point] | None = None


class Claim(Strict):
    """One claim; see docs/statistics.md for each kind's rule."""

    id: str
    statement: str
    source: str = Field(description="where the paper makes it")
    tier: Literal["headline", "secondary", "ablation"] = "secondary"
    kind: Kind
    lhs: Rows | None = None
    rhs: Rows | None = None
    points: list[Point] | None = None
    expected: Expected | None = None
    direction: Literal["less", "greater"] = Field(default="less", description="order: lhs is less or greater than rhs")
    margin: Margin
    exact: bool = Field(default=False, description="true for arithmetic and equivalences, judged alike at any scale")
    scales: list[Scale]
    not_run_reason: str = "this scale cannot test it"
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
        wrong = [v for verdicts in self.expect.values() for v in verdicts if v not in VERDICTS]
        if wrong:
            raise ValueError(f"expect has {wrong[0]!r}; verdicts: {', '.join(VERDICTS)}")
        return self


def load_claims(path: Path) -> list[Claim]:
    """Read a claims file; a GalleyError names file, claim and field."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GalleyError(f"no claims at {path}; they live in recipes/<name>/claims.yaml") from None
    except yaml.YAMLError as error:
        raise GalleyError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(entries, list):
        raise GalleyError(f"{path}: expected a list of claims at the top of the file")
    claims = []
    for entry in entries:
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            fault = error.errors()[0]
            name = entry.get("id", "?") if isinstance(entry, dict) else "?"
            raise GalleyError(f"{path}: claim {name!r}: {'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {_short(fault)})") from None
    ids = [claim.id for claim in claims]
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise GalleyError(f"{path}: claim id {min(twice)!r} appears twice")
    return claims


def _short(fault: Any) -> str:
    text = repr(fault.get("input"))
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_file(claims_csv: Path, claims_yaml: Path, scale: str) -> list[str]:
    """Return what is wrong with a judged claims file: changed verdicts, controls that did not run or did not flip."""
    if not claims_csv.exists():
        raise GalleyError(f"no verdicts at {claims_csv}; make the table first")
    judged = pd.read_csv(claims_csv, keep_default_na=False).set_index("claim_id")
    scales = set(judged["scale"])
    if scales != {scale}:
        raise GalleyError(f"{claims_csv} is of scale {', '.join(scales)}, not {scale}; pass --scale or make the table again")
    problems = []
    for claim in load_claims(claims_yaml):
        if claim.id not in judged.index:
            problems.append(f"{claim.id}: not in {claims_csv}")
            continue
        row = judged.loc[claim.id]
        allowed = claim.expect.get(scale)  # type: ignore[call-overload]
        tolerated = row["verdict"] == "inconclusive" and not claim.exact
        if allowed and row["verdict"] not in allowed and not tolerated:
            problems.append(f"{claim.id}: verdict is {row['verdict']}, expected {' or '.join(allowed)} ({row['reason']})")
        if row["verdict"] == "not_run":
            continue
        if row["controls_run"] == 0:
            problems.append(f"{claim.id}: none of its controls ran: {row['controls']}")
        if row["controls_flipped"] != row["controls_run"]:
            problems.append(f"{claim.id}: a control did not flip it: {row['controls']}")
    return problems
