"""One call from items to everything that a reader sees: table, claims, renderings, figures, certificate; all of it or nothing.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from galley.artifact import GalleyError, part_of
from galley.inputs import no_text
from galley.recipe import known_recipe
from galley.tables.certificate import write_certificate
from galley.tables.figures import draw_figures
from galley.tables.metrics import load_metrics
from galley.tables.render import render_all
from galley.tables.table import make_table


def publish(
    recipe: str,
    *,
    items: list[Path],
    runs: list[Path],
    scale: str,
    folder: Path,
    results: Path,
    absent: Sequence[tuple[str, str]] = (),
) -> None:
    """Write results/table_*, claims_*, figures/ and certificate_* for one recipe at one scale.

    `absent` are the sources out of reach, each with what would supply it. All is made beside its place and moved there at the end, so
    that a fault, in whatever file, leaves what an earlier run published.
    """
    if not folder.is_dir():
        known_recipe(recipe, folder.parent)
    metrics, readme = folder.parent / "metrics.yaml", _readme(folder / "README.md")
    with part_of(results / f"table_{recipe}") as made:
        table_csv, claims_csv = made / f"table_{recipe}.csv", made / f"claims_{recipe}.csv"
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
        draw_figures(items, figures=folder / "figures.yaml", metrics=load_metrics(metrics), out=made / "figures" / recipe)
        render_all(table_csv, claims_csv, made, absent=absent)
        write_certificate(
            table_csv,
            claims_csv,
            items=items,
            runs=runs,
            readme=readme,
            recipe=recipe,
            scale=scale,
            out=made / f"certificate_{recipe}",
            absent=absent,
        )
        _move(made, results, recipe)


def _readme(path: Path) -> Path:
    """Return the recipe's README, which the certificate quotes; GalleyError where it cannot be read."""
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GalleyError(f"{path}: {no_text(error)}; save it as UTF-8") from None
    except OSError as error:
        raise GalleyError(f"{path}: the recipe's README cannot be read ({error.strerror}); the certificate quotes it: write one") from None
    return path


def _move(made: Path, results: Path, recipe: str) -> None:
    """Move what was made to its place: figures first, the table, which says that all is there, at the end."""
    places = {path: results / path.name for path in made.iterdir() if path.is_file() and not path.name.startswith(".")}
    blocked = next((place for place in places.values() if place.is_dir()), None)
    if blocked is not None:
        raise GalleyError(f"{blocked} is a folder, where a file is to be written; move it away")
    figures = results / "figures" / recipe
    figures.parent.mkdir(exist_ok=True)
    if figures.exists():
        figures.replace(made / ".former")
    (made / "figures" / recipe).replace(figures)
    for path, place in sorted(places.items(), key=lambda pair: (pair[0].suffix == ".csv", pair[0].name)):
        path.replace(place)
