"""The certificate page of a recipe: what held, what did not, what was not checked, and at what cost.

Source: ours, after CODECHECK's certificates.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from markdown_it import MarkdownIt

from galley.artifact import write_text
from galley.tables.render import claims_frame, footer, markdown_table, page
from galley.tables.rows import read_items, read_runs
from galley.tables.verdicts import AGREES

SECTIONS = ("Deviations", "Ambiguities settled")


def write_certificate(
    table_csv: Path, claims_csv: Path, *, items: list[Path], runs: list[Path], readme: Path, recipe: str, scale: str, out: Path
) -> None:
    """Write <out>.md and <out>.html."""
    claims = pd.read_csv(claims_csv, keep_default_na=False)
    table = pd.read_csv(table_csv, keep_default_na=False, na_values=[""])
    text = certificate(
        table, claims, read_runs(runs), readme.read_text(encoding="utf-8"), data=data_used(read_items(items)), recipe=recipe, scale=scale
    )
    write_text(out.with_suffix(".md"), text)
    write_text(out.with_suffix(".html"), page(f"Certificate: {recipe} at {scale} scale", as_html(text)))


def certificate(
    table: pd.DataFrame, claims: pd.DataFrame, runs: pd.DataFrame, readme: str, *, data: pd.DataFrame, recipe: str, scale: str
) -> str:
    """Return the certificate as Markdown."""
    counts = claims["verdict"].value_counts()
    lines = [f"{n} {verdict}" for verdict, n in counts.items()]
    ran, flipped = int(claims["controls_run"].sum()), int(claims["controls_flipped"].sum())
    agreeing = claims[claims["verdict"].isin(AGREES)]
    missing = table[table["status"] == "not_run"].groupby("reason").size()
    absent = claims[claims["verdict"] == "not_run"]
    parts = [
        f"# Certificate: {recipe} at {scale} scale",
        f"{len(claims)} claims: {', '.join(lines)}. {len(agreeing)} agree with the paper as far as this scale can tell. "
        f"Controls: {flipped} of the {ran} that ran flipped their claim.",
        markdown_table(claims_frame(claims)),
        footer(table),
        "## Data",
        markdown_table(data),
        "## Not run",
        "\n".join(
            [f"- {reason}: {n} numbers" for reason, n in missing.items()]
            + [f"- claim {r.claim_id}: {r.reason}" for r in absent.itertuples()]
        )
        or "Nothing was left out.",
    ]
    for title in SECTIONS:
        parts += [f"## {title}", section(readme, title)]
    costs = runs.groupby("stage")[["wall_s", "cpu_s"]].sum().round(0).reset_index()
    costs["peak_rss_mib"] = runs.groupby("stage")["peak_rss_mib"].max().to_numpy()
    parts += [
        "## Cost",
        markdown_table(costs),
        "## Make it again",
        f"    snakemake --cores all results/table_{recipe}.csv --config scale={scale}",
    ]
    return "\n\n".join(parts) + "\n"


def as_html(text: str) -> str:
    """Return the certificate's body as HTML; the page has its own title, and no tag in the text is let through."""
    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text.split("\n", 1)[1])


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


def section(readme: str, title: str) -> str:
    """Return the text of a second-level section of a README."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else f"(the recipe's README has no section {title!r})"
