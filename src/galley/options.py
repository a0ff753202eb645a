"""The command line's options that several commands share; light, so that `galley --help` stays quick.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScaleOption = Annotated[str, typer.Option(help="smoke, laptop or paper")]
SeedsOption = Annotated[int | None, typer.Option(help="training seeds per arm; default: the recipe's")]
EffortOption = Annotated[int, typer.Option(min=1, help="multiplies evidence: items, windows, steps")]
RecipeOption = Annotated[str, typer.Option(help="the recipe whose plan says what to make")]
MirrorOption = Annotated[Path | None, typer.Option(envvar="GALLEY_MIRROR", help="folder with local copies of sources")]
DeviceOption = Annotated[str, typer.Option(help="auto (what the plan's model asks for), cpu or cuda")]
RECIPES = Path("recipes")
