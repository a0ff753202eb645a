from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.data.corpus import read_split
from galley.models.spec import spec_of
from galley.plan import read_plan_of
from galley.train.base import prepare_base, train_scratch_base

SOURCES = Path("recipes/sources.yaml")


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    plan = read_plan_of("mha2mla", "laptop")
    with pytest.raises(GalleyError, match="smollm2-135m-instruct"):
        spec_of(plan.models, "gpt")
    with pytest.raises(GalleyError, match=r"this scale's models: smollm2.*registered GGUF sources: .*gemma-3-270m"):
        prepare_base("gpt", out=tmp_path / "m", models=plan.models, sources=SOURCES, mirror=None)
    assert not (tmp_path / "m").exists()


def test_each_kind_has_its_own_stage(tmp_path):
    with pytest.raises(GalleyError, match="galley train-scratch"):
        prepare_base("scratch-600k", out=tmp_path / "m", models=read_plan_of("mha2mla", "smoke").models, sources=SOURCES, mirror=None)
    with pytest.raises(GalleyError, match="only kind scratch"):
        laptop = read_plan_of("mha2mla", "laptop").models
        train_scratch_base("smollm2-135m-instruct", corpus=tmp_path, out=tmp_path / "m", models=laptop, seed=0)


def test_a_branch_of_a_hub_model_is_refused(tmp_path):
    models = {"m": read_plan_of("mha2mla", "paper").models["SmolLM-135M"].model_copy(update={"revision": "main"})}
    with pytest.raises(GalleyError, match="40 hex digits"):
        prepare_base("m", out=tmp_path / "m", models=models, sources=SOURCES, mirror=None)


def test_a_missing_split_says_how_to_make_it(tmp_path):
    with pytest.raises(GalleyError, match="galley prepare-corpus"):
        read_split(tmp_path, "train")
    (tmp_path / "train.jsonl").write_text('{"id": "a", "text": "b", "source": "c"}\n')
    assert read_split(tmp_path, "train") == [{"id": "a", "text": "b", "source": "c"}]
