"""Whether a table is made of all that its plan's jobs leave, and of nothing else: a shard that is missing would be a seed or an arm less.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from galley.artifact import GalleyError
from galley.tables.rows import read_items, read_runs


def check_jobs(
    planned: Mapping[str, str],
    *,
    items: list[Path],
    runs: list[Path],
    recipe: str,
    scale: str,
    seeds: int | None = None,
    effort: int = 1,
) -> None:
    """Refuse items and runs of other jobs than a plan's: GalleyError names those that are missing, left over or made by another plan.

    `planned`: of each of the recipe's jobs the digest of its part of the plan, which runs bear.
    """
    asked = "".join([f" --seeds {seeds}" if seeds else "", f" --effort {effort}" if effort != 1 else ""])
    make = f"make them with `galley run {recipe} --scale {scale}{asked}`"
    of = f"the table of {recipe} at {scale} scale"
    made = read_runs(runs, paper=recipe, scale=scale)
    with_items = set(made["job"][made["run_id"].isin(read_items(items, paper=recipe, scale=scale)["run_id"])])
    for what, there in {"runs": set(made["job"]), "items": with_items}.items():
        gone = [job for job in planned if job not in there]
        if gone:
            raise GalleyError(f"{of} lacks the {what} of {_some(gone)}, of {len(planned)} jobs of its plan; name all files, or {make}")
    more = sorted(set(made["job"]) - set(planned))
    if more:
        raise GalleyError(f"{of}: its plan has no {_some(more)}, left by another plan; do not name its files")
    other = [job for job, plan in planned.items() if set(made["plan"][made["job"] == job]) != {plan}]
    if other:
        way_out = f"pass the --seeds and --effort that they were made with, or {make}"
        raise GalleyError(f"{of}: not made by its plan: {_some(other)} (other seeds, effort or settings of the recipe); {way_out}")


def _some(jobs: Collection[str]) -> str:
    shown = ", ".join([*jobs][:3])
    return f"{shown} and {len(jobs) - 3} more" if len(jobs) > 3 else shown
