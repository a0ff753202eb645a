"""The certificate page of a recipe: what held, what did not, what was not checked, with what it was made, and at what cost.

Source: ours, after CODECHECK's certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from galley.artifact import write_text
from galley.seen import visible
from galley.tables.escape import markdown_text
from galley.tables.machine import FACTS, made_with
from galley.tables.numbers import number
from galley.tables.quote import reader, section
from galley.tables.render import (
    OURS,
    Absent,
    claim_parts,
    claims_frame,
    counted,
    flips,
    footer,
    markdown_table,
    out_of_reach,
    page,
    read_table,
    seeds,
)
from galley.tables.rows import read_items, read_runs

SECTIONS = ("Deviations", "Ambiguities settled")


def write_certificate(
    table_csv: Path,
    claims_csv: Path,
    *,
    items: list[Path],
    runs: list[Path],
    readme: Path,
    recipe: str,
    scale: str,
    out: Path,
    absent: Absent = (),
) -> None:
    """Write <out>.md and <out>.html; `absent` are the sources out of reach, each with the reason."""
    text = certificate(
        read_table(table_csv),
        read_table(claims_csv),
        read_runs(runs),
        readme.read_text(encoding="utf-8"),
        data=data_used(read_items(items)),
        recipe=recipe,
        scale=scale,
        absent=absent,
        here=made_with(),
    )
    write_text(out.with_suffix(".md"), text)
    write_text(out.with_suffix(".html"), page(f"Certificate: {recipe} at {scale} scale", as_html(text)))


def certificate(
    table: pd.DataFrame,
    claims: pd.DataFrame,
    runs: pd.DataFrame,
    readme: str,
    *,
    data: pd.DataFrame,
    recipe: str,
    scale: str,
    absent: Absent = (),
    here: Mapping[str, str],
) -> str:
    """Return the certificate as Markdown; `here` is what judges the runs, as `made_with` has it."""
    missing = table[table["status"] == "not_run"].groupby("reason").size()
    left_out = claims[claims["verdict"] == "not_run"]
    parts = [
        f"# Certificate: {markdown_text(f'{recipe} at {scale} scale')}",
        "\n".join(f"- {markdown_text(line)}" for line in counted(claims)),
        markdown_text(flips(claims)),
        *(part for title, some in claim_parts(claims) for part in (f"## {title}", markdown_table(claims_frame(some), ours=OURS))),
        markdown_text(footer(table)),
        *out_of_reach(absent),
        "## Data",
        markdown_table(data),
        *seeds_used(table),
        "## Not run",
        "\n".join(
            [f"- {markdown_text(reason)}: {n} numbers" for reason, n in missing.items()]
            + [f"- claim {markdown_text(r.claim_id)}: {markdown_text(r.reason)}" for r in left_out.itertuples()]
        )
        or "Nothing was left out.",
    ]
    for title in SECTIONS:
        parts += [f"## {title}", section(readme, title)]
    parts += [
        "## Made with",
        "\n".join(f"- {markdown_text(line)}" for line in made(runs, here)),
        "## Cost",
        markdown_table(costs(runs)),
        "## Make it again",
        f"    {visible(f'snakemake --cores all results/table_{recipe}.csv --config scale={scale}')}",
    ]
    return "\n\n".join(parts) + "\n"


def as_html(text: str) -> str:
    """Return the certificate's body as HTML; the page has its own title."""
    return reader().render(text.split("\n", 1)[1])


def made(runs: pd.DataFrame, here: Mapping[str, str]) -> list[str]:
    """Return a line for each different commit, set of versions and machine that runs were made with, with their stages."""
    known = runs.reindex(columns=["stage", *FACTS]).fillna("").astype(str)
    stages: dict[tuple[str, ...], list[str]] = {}
    for stage, *facts in [*known.itertuples(index=False), ("table", *(here[name] for name in FACTS))]:
        mine = stages.setdefault(tuple(facts), [])
        mine += [stage] * (stage not in mine)
    return [f"{', '.join(names)}: {_facts(dict(zip(FACTS, facts, strict=True)))}" for facts, names in stages.items()]


def _facts(facts: Mapping[str, str]) -> str:
    if not any(facts.values()):
        return "not recorded"
    commit = f"commit {facts['commit']}" if facts["commit"] else "no git checkout"
    packages = ", ".join(f"{name} {facts[name]}" for name in ("python", "torch", "transformers", "snakemake") if facts[name])
    size = f"{facts['cores']} cores, {facts['memory_gib']} GiB"
    return f"galley {facts['galley']}, {commit}; {packages}; {facts['cpu']}, {size}, {facts['gpu'] or 'no GPU'}; {facts['os']}"


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return seconds and the highest memory by stage."""
    by_stage = runs.groupby("stage")
    summed = by_stage[["wall_s", "cpu_s"]].sum().round(0).assign(peak_rss_mib=by_stage["peak_rss_mib"].max())
    return summed.map(number).reset_index()


def seeds_used(table: pd.DataFrame) -> list[str]:
    """Return the section of how many seeds the numbers of each method rest on, as Markdown; nothing where all have as many."""
    by_count = seeds(table)
    lines = [f"- {count}: {markdown_text(', '.join(methods))}" for count, methods in by_count]
    return ["## Seeds", "\n".join(lines)] if len(lines) > 1 else []


def data_used(items: pd.DataFrame) -> pd.DataFrame:
    """Return one row per benchmark that ran: its items, and for windows of text how many came from which source.

    A window's item id is that of its document, which begins with the source's name.
    """
    ran = items[(items["status"] == "ok") & (items["item_id"] != "all")].drop_duplicates(["benchmark", "item_id"])
    rows = []
    for benchmark, mine in ran.groupby("benchmark"):
        sources = mine["item_id"][mine["item_id"].str.contains("/")].str.split("/").str[0].value_counts().sort_index()
        rows.append({"benchmark": benchmark, "items": len(mine), "text from": ", ".join(f"{name} ({n})" for name, n in sources.items())})
    return pd.DataFrame(rows, columns=["benchmark", "items", "text from"])
