"""What plans would take, as text for a reader: one recipe's scale in full, or a page of all recipes; nothing is run.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from galley import cost
from galley.cost import Takes
from galley.data.sources import Source, load_sources
from galley.disk import size
from galley.plan import Plan, read_plan_of
from galley.stage import Stages, stages_of

COLUMNS = f"{'recipe':<20}{'scale':<8}{'jobs':>5}{'downloads':>12}{'disk':>11}{'CPU time':>15}{'GPU-hours':>11}"
ROUGH = "CPU time: of one core, in jobs without GPUs; two idle cores take half. Figures follow from the plans; expect a factor of two."


def describe(plan: Plan, stages: Stages, *, scale: str, recipes: Path, seeds: int | None = None, effort: int = 1) -> str:
    """Return what a scale's plan, read with these seeds and this effort, takes; GalleyError when a registry cannot be read."""
    own, registry = cost.own_cost(stages.recipe), load_sources(recipes / "sources.yaml")
    counts, fetched = cost.jobs(plan, stages), cost.downloads(plan, stages, registry)
    lines = [f"{stages.recipe} at {scale} scale{asked(seeds, effort)}: what it would take. Nothing has been run.", "", "Jobs"]
    lines += [f"  {rule:<32}{n:>6}" for rule, n in {**counts, "in all": sum(counts.values())}.items()]
    lines += ["", "Downloads (once; a mirror or the cache spares them)"]
    lines += [f"  {name:<32}{size(n) if n else '':>10}  {note}" for name, n, note in fetched]
    lines += [f"  {'in all':<32}{size(sum(n for _, n, _ in fetched)):>10}", ""]
    lines += [*own.compute(plan), ""] if own else []
    lines += [*work(cost.takes(plan, stages, effort=effort)), "", f"Disk: about {size(cost.disk_bytes(plan, stages, registry))}"]
    absent = [*cost.missing(plan, stages, recipes=recipes), *(own.lacks(plan) if own else ())]
    lines += ["", "Not there yet", *(f"  {text}" for text in absent)] if absent else []
    return "\n".join([*lines, "", f"Run it: galley run {stages.recipe} --scale {scale}{options(seeds, effort)}"])


def work(parts: Sequence[Takes]) -> list[str]:
    """Return the lines of a plan's work, summed at the end."""
    width = max(30, *(len(part.what) for part in parts))
    rows = [(part.what, cpu_time([part]), gpu_time(part.gpu_hours), part.rests_on) for part in parts]
    rows.append(("in all", cpu_time(parts), gpu_time(sum(part.gpu_hours for part in parts)), ""))
    lines = [f"  {what:<{width}}{cpu:>15}{gpu:>12}  {why}".rstrip() for what, cpu, gpu, why in rows]
    return [f"{'Work':<{width + 2}}{'CPU time':>15}{'GPU-hours':>12}", *lines, f"  {ROUGH}"]


@dataclass(frozen=True)
class Row:
    """A recipe's scale on the page of all."""

    recipe: str
    scale: str
    jobs: int
    fetched: tuple[tuple[str, float], ...]
    disk: float
    parts: tuple[Takes, ...]
    lacks: str

    def __str__(self) -> str:
        """Return the row as it is printed."""
        figures = f"{size(sum(n for _, n in self.fetched)):>12}{size(self.disk):>11}{cpu_time(self.parts):>15}"
        return f"{self.recipe:<20}{self.scale:<8}{self.jobs:>5}{figures}{gpu_time(sum(part.gpu_hours for part in self.parts)):>11}".rstrip()


def row(recipe: str, scale: str, *, recipes: Path, registry: dict[str, Source], seeds: int | None, effort: int) -> Row:
    """Return one row; a recipe that trains nothing keeps its one seed."""
    stages = stages_of(recipe)
    plan = read_plan_of(recipe, scale, folder=recipes, seeds=seeds if stages.trains else None, effort=effort)
    fetched = tuple((name, n) for name, n, _ in cost.downloads(plan, stages, registry))
    disk, parts = cost.disk_bytes(plan, stages, registry), tuple(cost.takes(plan, stages, effort=effort))
    lacks = lacking(plan, stages, recipes=recipes)
    return Row(recipe, scale, sum(cost.jobs(plan, stages).values()), fetched, disk, parts, lacks)


def lacking(plan: Plan, stages: Stages, *, recipes: Path) -> str:
    """Return what a plan still lacks, in a line with the ways out; empty when it lacks nothing."""
    own = cost.own_cost(stages.recipe)
    commits, licences = cost.unpinned(plan, stages, recipes=recipes), cost.gated(plan)
    others = [*cost.unregistered(plan, stages, recipes=recipes), *(own.lacks(plan) if own else ())]
    said = [f"{many(commits, 'commit')}: galley pin {stages.recipe}"] if commits else []
    said += [f"{many(licences, 'licence')} to accept on the hub, with HF_TOKEN set"] if licences else []
    said += [f"{many(others, 'other thing')}"] if others else []
    return "; ".join(said)


def overview(names: Sequence[str], scales: Sequence[str], *, recipes: Path, seeds: int | None = None, effort: int = 1) -> str:
    """Return the page of all recipes at these scales; GalleyError when a plan or a registry cannot be read."""
    registry = load_sources(recipes / "sources.yaml")
    rows = [row(name, scale, recipes=recipes, registry=registry, seeds=seeds, effort=effort) for name in names for scale in scales]
    lines = [f"What the recipes would take{asked(seeds, effort)}. Nothing has been run.", "", COLUMNS, *map(str, rows), "", ROUGH]
    for scale in scales:
        each = [dict(one.fetched) for one in rows if one.scale == scale]
        shared = {name: n for fetched in each for name, n in fetched.items()}
        lines.append(f"All together at {scale} scale: {size(sum(shared.values()))} of downloads, since recipes share sources and models.")
    lacks = [f"  {one.recipe}, {one.scale}: {one.lacks}" for one in rows if one.lacks]
    lines += ["", "Not there yet (in full: galley plan RECIPE --scale SCALE)", *lacks] if lacks else []
    scale = scales[0] if len(scales) == 1 else "S"
    return "\n".join([*lines, "", f"Run it: galley run RECIPE --scale {scale}{options(seeds, effort)}"])


def asked(seeds: int | None, effort: int) -> str:
    """Return the seeds and the effort that were asked for, as a title says them."""
    said = [*([f"{seeds} seeds"] if seeds is not None else []), *([f"effort {effort}"] if effort != 1 else [])]
    return f" with {' and '.join(said)}" if said else ""


def options(seeds: int | None, effort: int) -> str:
    """Return the seeds and the effort that were asked for, as a command's options."""
    return f"{f' --seeds {seeds}' if seeds is not None else ''}{f' --effort {effort}' if effort != 1 else ''}"


def many(things: Sequence[str], name: str) -> str:
    """Return a count with its noun."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def cpu_time(parts: Iterable[Takes]) -> str:
    """Return the CPU time of parts as people say it; `over` where some of it is not counted."""
    parts = list(parts)
    total = sum(part.cpu_minutes or 0 for part in parts)
    uncounted = any(part.cpu_minutes is None for part in parts)
    if not total:
        return "not counted" if uncounted else ""
    return f"over {duration(total)}" if uncounted else duration(total)


def duration(minutes: float) -> str:
    """Return minutes as people say them: seconds, minutes up to an hour and a half, then hours."""
    if minutes < 0.95:
        return f"{max(1, round(60 * minutes))} s"
    if minutes < 89.5:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 9.95 * 60 else f"{minutes / 60:,.0f} h"


def gpu_time(hours: float) -> str:
    """Return GPU-hours: whole ones from ten on, then to a tenth; empty for none."""
    if not hours:
        return ""
    return "< 0.1" if hours < 0.05 else f"{hours:.1f}" if hours < 9.95 else f"{hours:,.0f}"
