"""`galley claims check`: verdicts against what each claim expects, controls against their claims; what no source could be had for is apart.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from galley.artifact import GalleyError
from galley.recipe import known_recipe
from galley.tables.claims import AGREES, VERDICTS, Claim, load_claims
from galley.tables.items import OUT_OF_REACH
from galley.tables.sheets import number_column, read_sheet, refuse

COLUMNS = ("claim_id", "scale", "verdict", "reason", "controls_run", "controls_flipped", "controls")
WAY_OUT = "make the table again"


@dataclass
class Checked:
    """What is wrong with judged claims, and what could not be checked because a source is out of reach; a line each."""

    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def check_file(claims_csv: Path, claims_yaml: Path, scale: str) -> Checked:
    """Compare a judged claims file with what the claims expect; every control that can run must, and must flip its claim."""
    if not claims_yaml.parent.is_dir():
        known_recipe(claims_yaml.parent.name, claims_yaml.parent.parent)
    claims, judged = load_claims(claims_yaml), read_judged(claims_csv)
    scales = sorted(set(judged["scale"]))
    if scales != [scale]:
        raise GalleyError(f"{claims_csv} is of scale {', '.join(scales)}, not {scale}; pass --scale or make the table again")
    found = Checked()
    for claim in claims:
        if claim.id not in judged.index:
            found.problems.append(f"{claim.id}: not in {claims_csv}")
        else:
            _compare(claim, judged.loc[claim.id], scale, found)
    unknown = sorted(set(judged.index) - {claim.id for claim in claims})
    found.problems += [f"{name}: in {claims_csv}, but no claim of {claims_yaml}; {WAY_OUT}" for name in unknown]
    return found


def read_judged(path: Path) -> pd.DataFrame:
    """Return judged claims by their id; a GalleyError names line and column."""
    sheet = read_sheet(path, COLUMNS, what="verdicts", way_out="make the table first")
    if not len(sheet):
        raise GalleyError(f"{path}: there are no verdicts; {WAY_OUT}")
    refuse(sheet, ~sheet["verdict"].isin(VERDICTS), "verdict", f"it is one of {', '.join(VERDICTS)}", path=path, way_out=WAY_OUT)
    refuse(sheet, sheet["claim_id"].duplicated(), "claim_id", "that claim is there twice", path=path, way_out=WAY_OUT)
    counts = {name: number_column(sheet, name, path=path, way_out=WAY_OUT, least=0) for name in ("controls_run", "controls_flipped")}
    return sheet.assign(**counts).set_index("claim_id")


def _compare(claim: Claim, row: pd.Series, scale: str, found: Checked) -> None:
    allowed = claim.expect.get(scale)  # type: ignore[call-overload]
    tolerated = row["verdict"] == "inconclusive" and not claim.exact
    if allowed and row["verdict"] not in allowed and not tolerated:
        if row["verdict"] == "not_run" and OUT_OF_REACH in row["reason"]:
            found.unchecked.append(f"{claim.id}: not run, expected {' or '.join(allowed)} ({row['reason']})")
        else:
            found.problems.append(f"{claim.id}: verdict is {row['verdict']}, expected {' or '.join(allowed)} ({row['reason']})")
    if row["verdict"] == "not_run":
        return
    idle = [part for part in row["controls"].split("; ") if ": not_run" in part]
    lost = [part for part in idle if OUT_OF_REACH not in part]
    found.unchecked += [f"{claim.id}: a control did not run: {part}" for part in idle if part not in lost]
    if row["controls_run"] == 0 and (lost or not idle):
        found.problems.append(f"{claim.id}: none of its controls ran: {row['controls']}")
    else:
        found.problems += [f"{claim.id}: a control did not run: {part}" for part in lost]
    if row["verdict"] in AGREES and row["controls_flipped"] != row["controls_run"]:
        found.problems.append(f"{claim.id}: a control did not flip it: {row['controls']}")


def report(recipe: str, scale: str, found: Checked, *, complete: bool = False) -> tuple[list[str], bool]:
    """Return the lines to say and whether the check passes; with `complete`, what could not be checked fails it too."""
    lines = [*found.problems, *found.unchecked]
    counted = f"{len(found.unchecked)} of its claims or controls could not be checked: a source is {OUT_OF_REACH}"
    if found.problems or (complete and found.unchecked):
        return [*lines, *([f"{recipe} at {scale} scale: {counted}"] if found.unchecked else [])], False
    if found.unchecked:
        return [*lines, f"{recipe} at {scale} scale: {counted}; the others are as expected (--complete makes this a failure)"], True
    return [f"{recipe} at {scale} scale: all verdicts are as expected and every control of a claim that agrees flips it"], True
