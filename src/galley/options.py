"""The command line's options: what each takes is said once, checked before any work, and told in the help; light, so that help stays quick.

An option is typer's, with a callback that knows what it `takes` (the way out of an error) and its `kind`. A wrong value is a
GalleyError that names the option and the value.

Source: ours.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from galley import inputs, outputs
from galley.artifact import GalleyError
from galley.recipe import DEVICES, MISSING, MOST, SCALES, known_recipe, recipe_names

RECIPES, SOURCES = Path("recipes"), Path("results/sources")
READ = ("file", "folder", "either", "model")  # kinds of what is read
WRITTEN = ("new file", "folder made anew", "new folder")  # kinds of places to write; the last keeps what it holds
MODEL_TAKES = "a Hugging Face directory, such as `galley prepare-model` leaves"


def told(param: Any, context: Any = None) -> str:
    """Return what a user calls a parameter: its flag, an argument's name in capitals, the variable of the environment that set it."""
    source = context and context.get_parameter_source(param.name)
    if source is not None and source.name == "ENVIRONMENT":
        return str(param.envvar)
    return param.opts[0] if param.opts[0].startswith("-") else param.name.upper()


def refused(param: Any, value: Any, *, context: Any = None, wrong: str = "") -> GalleyError:
    """Return the error for a value that a parameter does not take."""
    takes = getattr(param.callback, "takes", "another value; see --help")
    said = f", which {wrong}" if wrong else ""
    return GalleyError(f"{told(param, context)} is {shown(value)}{said}; it takes {takes}")


def shown(value: Any) -> str:
    """Return a value as a user wrote it: numbers and paths plain, words in quotes, and what would break the line as Python writes it."""
    text = str(value)
    plain = not isinstance(value, str) or text.lstrip("-").replace(".", "", 1).isdigit()
    return text if plain and text.isprintable() else repr(text)


def checked(kind: str, takes: str, wrong: Callable[[Any], str | None], example: str = "", *, open: bool = False) -> Callable[..., Any]:
    """Return a callback for a value of which `wrong` says what is wrong, as in "X is VALUE, which ..."; None where nothing is.

    `open`: a folder that is read, and to which the command itself may add.
    """

    def callback(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        many = isinstance(value, list | tuple)
        for one in value if many else [value]:
            fault = None if one is None else wrong(one)
            if fault is not None:
                raise refused(param, one, context=context, wrong=fault)
        if kind in (*READ, *WRITTEN) and not open:
            _apart(context, param, value)
        return value

    callback.kind, callback.takes, callback.example = kind, takes, example  # type: ignore[attr-defined]
    return callback


def _apart(context: typer.Context, param: Any, value: Any) -> None:
    """Refuse a place to write that is, lies in or holds what the same command reads, or writes elsewhere.

    A folder that files are added to may hold what is read.
    """
    seen = context.meta.setdefault(f"{__name__}.paths", [])
    given = [one for one in (value if isinstance(value, list | tuple) else [value]) if one is not None]
    mine = [(param, Path(one)) for one in given if param.callback.kind in WRITTEN or Path(one).exists()]
    for one, other in itertools.product(mine, seen):
        for (made, place), (against, path) in ((one, other), (other, one)):
            kind, how = made.callback.kind, outputs.overlap(place, path)
            held = how == "holds" and kind == "new folder" and against.callback.kind in READ
            if kind in WRITTEN and how and not held:
                raise GalleyError(f"{told(made, context)} is {place}, which {how} {told(against, context)} ({path}); name another place")
    seen += mine


def path(kind: str, takes: str, *checks: inputs.Check, example: str = "", open: bool = False) -> Callable[..., Any]:
    """Return a callback for a path that must pass checks; `kind` is file, folder, either, new file, new folder or folder made anew.

    `example` is what a stage's help shows, of {results} (results/<scale>/<recipe>), {recipe} and {out}.
    """

    def wrong(value: Path) -> str | None:
        found = inputs.first_wrong([value], checks)
        return found and found[1]

    return checked(kind, takes, wrong, example, open=open)


def folder(takes: str, check: inputs.Check = inputs.folder, *, example: str = "", open: bool = False) -> Callable[..., Any]:
    """Return a callback for a folder that is there; `open`: in which the command may write."""
    return path("folder", takes, check, example=example, open=open)


def file(takes: str, check: inputs.Check = inputs.file, *, example: str = "") -> Callable[..., Any]:
    """Return a callback for a file that is there and has bytes."""
    return path("file", takes, check, example=example)


def there(takes: str = "what an earlier stage left") -> Callable[..., Any]:
    """Return a callback for a file or a folder that is there."""
    return path("either", takes, inputs.either)


def new_file(*marks: inputs.Check) -> Callable[..., Any]:
    """Return a callback for a file to write; one that is there must pass a mark of those that the command writes."""
    takes = "a new file, or one that this command wrote: give a new name, or remove what is there first"
    return path("new file", takes, outputs.new_file(inputs.each(*marks)))


def new_csv(*columns: str, only: bool = False) -> Callable[..., Any]:
    """Return a callback for a csv to write, known by these columns; `only`: it has no others."""
    return new_file(inputs.csv_table(*columns, only=only))


def new_folder() -> Callable[..., Any]:
    """Return a callback for a folder to add files to."""
    return path("new folder", "a new folder, or one to add to, where files may be written", outputs.added_to)


def replaced(mark: inputs.Check | None = None, *, names: Sequence[str] = ()) -> Callable[..., Any]:
    """Return a callback for a folder that a command makes anew: absent, empty, or one that it made before, known by its mark."""
    takes = "a new or an empty folder" + (", or one that this command made before" if mark else "")
    return path("folder made anew", takes, outputs.made_anew(mark, names=names))


def one_of(*values: str) -> Callable[..., Any]:
    """Return a callback for a word out of a few."""
    return checked("word", f"{', '.join(values[:-1])} or {values[-1]}", lambda value: None if value in values else "")


def some_of(*values: str) -> Callable[..., Any]:
    """Return a callback for words out of a few, by commas."""

    def wrong(value: str) -> str | None:
        unknown = [word for word in value.split(",") if word not in values]
        return f"has {unknown[0]!r}" if unknown else None

    return checked("words", f"one or several of {', '.join(values)}, by commas", wrong)


def number(low: float, high: float, *, help: str, above: bool = False) -> Any:
    """Return an option for a number from `low` (with `above`: beyond it) to `high`; no NaN, which typer's own range lets pass."""
    whole = isinstance(low, int) and isinstance(high, int)
    takes = f"a {'whole ' if whole else ''}number {f'above {low:g}' if above else f'from {low}'} to {high}"

    def wrong(value: float) -> str | None:
        return None if math.isfinite(value) and (low < value if above else low <= value) and value <= high else "is outside"

    return typer.Option(min=low, max=high, help=help, callback=checked("number", takes, wrong))


def corpus_of(*splits: str) -> Any:
    """Return an option for the folder of a prepared corpus, of which a command reads these splits."""
    files = [f"{split}.jsonl" for split in splits]
    callback = folder(
        f"a folder that `galley prepare-corpus` made, with {' and '.join(files)}",
        inputs.holding(*files, check=inputs.json_lines(text=str, source=str)),
    )
    return typer.Option(help=f"folder of the prepared text, of which it reads {' and '.join(files)}", callback=callback)


def model_folder() -> Callable[..., Any]:
    """Return a callback for a model's directory; its weights are looked at where they are loaded."""
    return folder(MODEL_TAKES, inputs.model)


def made_by(stage: str) -> inputs.Check:
    """Return a check of a model's directory that a command made, by its manifest."""
    return inputs.holding("manifest.json", check=inputs.json_with(stage=stage))


def model_folder_or_name() -> Callable[..., Any]:
    """Return a callback for a model that is a directory here, or one of the hub."""

    def wrong(value: str) -> str | None:
        if os.path.lexists(value) or value.count("/") != 1 or value.startswith((".", "/", "~")):
            found = inputs.first_wrong([Path(value)], [inputs.model])
            return found and found[1]
        return None

    return checked("model", f"{MODEL_TAKES}, or a model of the hub as owner/name", wrong)


def a_recipe(value: str | None) -> str | None:
    """Refuse what is no recipe here."""
    if value is not None:
        known_recipe(value, RECIPES)
    return value


def a_recipe_or_all(value: str) -> str:
    """Refuse what is no recipe here; `all` stands for every one, where there are some."""
    if value != "all" or not recipe_names(RECIPES):
        known_recipe(value, RECIPES)
    return value


def fetched_sources() -> Callable[..., Any]:
    """Return a callback for a folder of fetched sources; whether one is absent, its own record says."""
    return folder("a folder of fetched sources, as `galley fetch NAME --out FOLDER/NAME` and snakemake fill it", inputs.sources)


MIRROR = folder("a folder with local copies of sources, or none")
EFFORT = number(1, MOST, help="multiplies evidence: items, windows, steps")
ScaleOption = Annotated[str, typer.Option(help="smoke, laptop or paper", callback=one_of(*SCALES))]
SeedsOption = Annotated[int | None, number(1, MOST, help="training seeds per arm; default: the recipe's")]
EffortOption = Annotated[int, EFFORT]
RecipeOption = Annotated[str, typer.Option(help="the recipe whose plan says what to make", callback=a_recipe)]
RecipeArgument = Annotated[str, typer.Argument(help="a recipe, such as mha2mla", callback=a_recipe)]
RecipeOrAllArgument = Annotated[str, typer.Argument(help="such as mha2mla; all is a page of every recipe", callback=a_recipe_or_all)]
MirrorOption = Annotated[
    Path | None,
    typer.Option(envvar="GALLEY_MIRROR", help="folder with local copies of sources", callback=MIRROR),
]
RECORD = "also write a digest of what the folder holds to this file"
RecordOption = Annotated[Path | None, typer.Option(help=RECORD, callback=new_file(inputs.json_with("sha256", others=())))]
MissingOption = Annotated[
    str,
    typer.Option(help="stop where a source is out of reach, or accept to go on without it: another experiment", callback=one_of(*MISSING)),
]
DeviceOption = Annotated[str, typer.Option(help="auto (what the plan's model asks for), cpu or cuda", callback=one_of(*DEVICES))]
ModelOption = Annotated[str, typer.Option(help="the model's name in the recipe's plan")]
BaseOption = Annotated[Path, typer.Option(help="directory of that model, as `galley prepare-model` leaves it", callback=model_folder())]
SourcesOption = Annotated[Path, typer.Option(help="folder with the fetched sources", callback=fetched_sources())]
OutFolderOption = Annotated[Path, typer.Option(help="folder that the stage adds its files to", callback=new_folder())]
ShardOption = Annotated[int, number(0, 9999, help="which of the stage's shares of the work to do")]
WorkersOption = Annotated[int, number(1, 1024, help="sandbox runners side by side")]
UnsafeOption = Annotated[bool, typer.Option("--unsafe", help="run programs without isolation; said in every row")]
