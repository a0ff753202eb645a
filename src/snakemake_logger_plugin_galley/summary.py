"""The end of a run: for every recipe whose claims it made or found up to date, the verdicts by kind, headline rows, the files to open.

Headline rows are the claims that the recipe calls headline, those that were measured before those that arithmetic settles.

Source: ours.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from galley.tables.numbers import number
from snakemake_logger_plugin_galley.words import fit, one_line

ROWS = 6
SELF_CHECKS = ("holds", "broken")  # of our own code: named last
CLAIMS = re.compile(r"(?:^|.*/)results/claims_(\w+)\.csv$")
TARGET = re.compile(r"(?:\./)?results/(?:table_|claims_|certificate_|figures/)(\w+?)(?:\.\w+)?/?$")


def recipes_made(outputs: Iterable[str]) -> set[str]:
    """Return the recipes whose claims are among the outputs of finished jobs."""
    return {found[1] for output in outputs if (found := CLAIMS.match(output.split(" (")[0]))}


def recipes_asked(command: Iterable[str], folder: Path, *, everything: bool) -> set[str]:
    """Return the recipes that a command line asks for: those of its files, or with `everything` all if it names no file."""
    files = [word for word in command if word.removeprefix("./").startswith("results/")]
    if files:
        return {found[1] for word in files if (found := TARGET.match(word))}
    return recipes_made(str(path) for path in folder.glob("results/claims_*.csv")) if everything else set()


def summary(folder: Path, recipes: Iterable[str], columns: int) -> Iterator[str]:
    """Return the lines of the recipes whose claims are there."""
    for recipe in sorted(recipes):
        try:
            with (folder / f"results/claims_{recipe}.csv").open(newline="", encoding="utf-8") as handle:
                claims = list(csv.DictReader(handle))
            yield from _recipe(recipe, claims, folder, columns)
        except (OSError, ValueError, LookupError, TypeError, csv.Error):  # not on this machine, or not a claims file
            continue


def _recipe(recipe: str, claims: list[dict[str, str]], folder: Path, columns: int) -> Iterator[str]:
    counts = Counter(claim["verdict"] for claim in claims)
    scales = "/".join(sorted({claim["scale"] for claim in claims}))
    found = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items(), key=lambda pair: (pair[0] in SELF_CHECKS, -pair[1])))
    yield one_line(f"{recipe} at {scales} scale, {len(claims)} claims: {found}")
    rows = headline(claims)
    cells = [(one_line(c["claim_id"]), one_line(c["verdict"]), estimate(c)) for c in rows]
    widths = [max((len(cell[i]) for cell in cells), default=0) for i in range(3)]
    for claim, cell in zip(rows, cells, strict=True):
        yield fit("  " + "  ".join([*(c.ljust(w) for c, w in zip(cell, widths, strict=True)), one_line(claim["statement"])]), columns)
    files = [f"results/{name}_{recipe}.html" for name in ("certificate", "table") if (folder / f"results/{name}_{recipe}.html").exists()]
    if files:
        yield f"  open {', '.join(files)}"


def headline(claims: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return up to six headline claims that have a verdict on a number, measured ones first, else the first claims that do."""
    judged = [claim for claim in claims if claim["estimate"]]
    chosen = [claim for claim in judged if claim["tier"] == "headline"] or judged
    return sorted(chosen, key=lambda claim: (claim["verdict"] in SELF_CHECKS, claim["kind"] == "structural"))[:ROWS]


def estimate(claim: dict[str, str]) -> str:
    """Return an estimate with its interval, as the table's pages print them."""
    value, *interval = (number(float(claim[name])) for name in ("estimate", "ci_low", "ci_high") if claim[name])
    return f"{value} [{', '.join(interval)}]" if len(interval) == 2 else value
