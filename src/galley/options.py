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
RecipeArgument = Annotated[str, typer.Argument(help="such as mha2mla")]
MirrorOption = Annotated[Path | None, typer.Option(envvar="GALLEY_MIRROR", help="folder with local copies of sources")]
DeviceOption = Annotated[str, typer.Option(help="auto (what the plan's model asks for), cpu or cuda")]
ModelOption = Annotated[str, typer.Option(help="the model's name in the recipe's plan")]
BaseOption = Annotated[Path, typer.Option(help="directory of that model, as `galley prepare-model` leaves it")]
CorpusOption = Annotated[Path, typer.Option(help="folder of the prepared text: training, calibration and held-out splits")]
SourcesOption = Annotated[Path, typer.Option(help="folder with the fetched sources")]
OutOption = Annotated[Path, typer.Option(help="folder or file that the stage writes")]
ShardOption = Annotated[int, typer.Option(min=0, help="which of the stage's shares of the work to do")]
WorkersOption = Annotated[int, typer.Option(min=1, help="sandbox runners side by side")]
UnsafeOption = Annotated[bool, typer.Option("--unsafe", help="run programs without isolation; said in every row")]
RECIPES = Path("recipes")
