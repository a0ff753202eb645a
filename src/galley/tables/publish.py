"""One call from items to everything that a reader sees: table, claims, renderings, figures, certificate.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path

from galley.tables.certificate import write_certificate
from galley.tables.figures import draw_figures
from galley.tables.metrics import load_metrics
from galley.tables.render import render_all
from galley.tables.table import make_table


def publish(recipe: str, *, items: list[Path], runs: list[Path], scale: str, folder: Path, results: Path) -> None:
    """Write results/table_*, claims_*, figures/ and certificate_* for one recipe at one scale."""
    metrics = folder.parent / "metrics.yaml"
    table_csv, claims_csv = results / f"table_{recipe}.csv", results / f"claims_{recipe}.csv"
    make_table(
        items=items,
        runs=runs,
        claims=folder / "claims.yaml",
        paper_values=folder / "paper_values.csv",
        metrics=metrics,
        recipe=recipe,
        scale=scale,
        out=table_csv,
        claims_out=claims_csv,
    )
    render_all(table_csv, claims_csv, results)
    draw_figures(items, figures=folder / "figures.yaml", metrics=load_metrics(metrics), out=results / "figures" / recipe)
    write_certificate(
        table_csv,
        claims_csv,
        items=items,
        runs=runs,
        readme=folder / "README.md",
        recipe=recipe,
        scale=scale,
        out=results / f"certificate_{recipe}",
    )
