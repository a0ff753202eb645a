"""What recipes start from, on the command line: sources, the text, base models; no logic here.

Source: ours.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from galley import inputs, usage
from galley.artifact import GalleyError, sha256_tree, sole, write_json
from galley.data.fetched import KEPT
from galley.options import (
    RECIPES,
    RECORD,
    SOURCES,
    MirrorOption,
    MissingOption,
    RecipeOption,
    RecordOption,
    ScaleOption,
    a_recipe,
    corpus_of,
    folder,
    made_by,
    new_file,
    replaced,
)
from galley.plan import read_plan_of
from galley.seen import say

app = typer.Typer(rich_markup_mode=None)
FETCHED = replaced(inputs.holding("source.json", check=inputs.json_with("status", "source")))
FETCHED_RECORD = new_file(inputs.json_with("status", "source", others=KEPT))
CORPUS = replaced(
    inputs.holding("corpus.json", check=inputs.json_with("seed", "splits")),
    names=("corpus.json", "train.jsonl", "calibration.jsonl", "heldout.jsonl"),
)
HUB_S = inputs.holding(".cache/huggingface", check=inputs.folder)  # which its downloads leave, and no manifest
PREPARED = replaced(inputs.any_of(HUB_S, made_by("prepare-model")))
OUT_MODEL = "where the model's directory goes"
TEXT = folder("a fetched source with text, such as results/sources/shakespeare", inputs.plays)


def _record(path: Path | None, folder: Path) -> None:
    """Write what a folder holds, whenever and wherever it was made."""
    if path:
        write_json(path, {"sha256": sha256_tree(folder)})


def a_source(name: str) -> str:
    """Refuse an id that no registry has, before its place is taken."""
    from galley.data.hub_benchmarks import is_hub_benchmark
    from galley.data.sources import load_sources

    known = load_sources(RECIPES / "sources.yaml")
    if name not in known and not is_hub_benchmark(name, recipes=RECIPES):
        near = get_close_matches(name, known, n=1)
        raise GalleyError(
            f"SOURCE is {name!r}{f', perhaps {near[0]!r}' if near else ''}; recipes/sources.yaml has {', '.join(sorted(known))}"
        )
    return name


@app.command(epilog="Example:  galley fetch humaneval --out results/sources/humaneval")
@sole
def fetch(
    source: Annotated[str, typer.Argument(help="an id in recipes/sources.yaml", callback=a_source)],
    out: Annotated[Path, typer.Option(help="folder to fill", callback=FETCHED)],
    mirror: MirrorOption = None,
    optional: Annotated[bool, typer.Option(help="record an absent source instead of failing")] = False,
    record: Annotated[Path | None, typer.Option(help=RECORD, callback=FETCHED_RECORD)] = None,
) -> None:
    """Fetch a source from the first origin that answers, checked against its sha256."""
    from galley.data.fetched import fetch_source

    found = fetch_source(source, out=out, recipes=RECIPES, mirror=mirror, optional=optional, beside=record)
    say(usage.fetched(found, out))


@app.command(
    epilog="Example:  galley prepare-corpus results/smoke/corpus --recipe mha2mla --scale smoke --shakespeare results/sources/shakespeare"
)
@sole
def prepare_corpus(
    out: Annotated[Path, typer.Argument(help="folder to fill", callback=CORPUS)],
    recipe: RecipeOption,
    scale: ScaleOption = "laptop",
    shakespeare: Annotated[
        Path | None, typer.Option(help="folder of the fetched source; default: in results/sources", callback=TEXT)
    ] = None,
    essays: Annotated[Path | None, typer.Option(help="folder of the fetched source; default: in results/sources", callback=TEXT)] = None,
    missing: MissingOption = "stop",
) -> None:
    """Split text into train, calibration and held-out documents; essays are only ever held out."""
    from functools import partial

    from galley.data.corpus import prepare_corpus as run

    plan = read_plan_of(recipe, scale, folder=RECIPES)
    text, mixture = plan.corpus, None
    if text.mixture:
        from galley.data.mixture import from_hub, write_mixture

        sets = from_hub(text.mixture, recipes=RECIPES)
        settings = {"total": text.mixture_bytes, "held_fraction": text.held_fraction, "seed": plan.data_seed}
        mixture = partial(write_mixture, data=sets, weights=text.mixture, **settings)
    texts = {"shakespeare": shakespeare or SOURCES / "shakespeare", "essays": essays or SOURCES / "paul_graham_essays"}
    run(out=out, texts=texts, seed=plan.data_seed, max_bytes=text.max_bytes, missing=missing, mixture=mixture)


@app.command(
    epilog="Example:  galley train-scratch scratch-600k --recipe mha2mla --scale smoke --corpus results/smoke/corpus"
    " --out results/smoke/models/scratch-600k"
)
@sole
def train_scratch(
    model: Annotated[str, typer.Argument(help="a model of the recipe that is trained from scratch")],
    corpus: Annotated[Path, corpus_of("train")],
    out: Annotated[Path, typer.Option(help=OUT_MODEL, callback=replaced(made_by("train-scratch")))],
    recipe: RecipeOption,
    scale: ScaleOption = "smoke",
    record: RecordOption = None,
) -> None:
    """Train a small Llama-style model and its tokenizer on a corpus (resumes where it stopped)."""
    from galley.models.spec import spec_of

    plan = read_plan_of(recipe, scale, folder=RECIPES)
    spec_of(plan.models, model)  # before what takes seconds to import
    from galley.train.base import train_scratch_base

    train_scratch_base(model, corpus=corpus, out=out, models=plan.models, seed=plan.data_seed)
    _record(record, out)


@app.command(epilog="Example:  galley prepare-model gemma-3-270m --out my/gemma-3-270m")
@sole
def prepare_model(
    model: Annotated[str, typer.Argument(help="a model of the recipe, or a GGUF source of recipes/sources.yaml such as gemma-3-270m")],
    out: Annotated[Path, typer.Option(help=OUT_MODEL, callback=PREPARED)],
    recipe: Annotated[
        str | None, typer.Option(help="the recipe whose plan has the model; not needed for a GGUF source", callback=a_recipe)
    ] = None,
    scale: ScaleOption = "laptop",
    mirror: MirrorOption = None,
    record: RecordOption = None,
) -> None:
    """Turn a published model into a Hugging Face directory and prove that it is the same model."""
    from galley.train.base import prepare_base

    models = read_plan_of(recipe, scale, folder=RECIPES).models if recipe else {}
    prepare_base(model, out=out, models=models, sources=RECIPES / "sources.yaml", mirror=mirror)
    _record(record, out)
