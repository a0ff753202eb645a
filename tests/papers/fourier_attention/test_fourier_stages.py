"""The stages from files to rows on next to nothing; a killed one keeps its finished prompts, and so does another number of shards."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.models.scratch import train_tokenizer
from galley.papers.fourier_attention import needles, reader
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.stages import stage
from galley.plan import read_plan_of
from galley.recipe import merge

RECIPE = Path("recipes/fourier_attention")
WORDS = {"fact": "{key} {value}.", "ask": "?", "stub": "{key}", "ask_all": "?", "stub_all": "{key}"}
METHODS = ("full", "fourier", "sink_window")
SMALL = {
    "models": {"tiny": {"kind": "hub", "repo": "none/tiny", "params_m": 0.1}},
    "corpus": {"max_bytes": {}},
    "local_min": 16,
    "calibration": {"prompts": 1, "tokens": 112},
    "words": WORDS,
    "needles": {"lengths": [119], "depths": [0.2, 0.8], "repeats": 1},
    "needlebench": {"lengths": [200], "depths": [0.5], "repeats": 1, "new_tokens": 2},
    "longbench": {"limit": 1, "protocol": "paper", "max_length": 112, "gold_tokens": 4, "new_tokens": 2},
    "ruler": {"tasks": ["niah_single_2"], "length": 120, "limit": 1, "new_tokens": 6},
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A random model, a corpus and no sources."""
    folder = tmp_path_factory.mktemp("given")
    text = "The sea was calm that day. A boat went out. Rain fell on the hills, and nobody came 0123456789? " * 60
    model = tiny_llama(vocab=290, d_h=32)
    model.config.max_position_embeddings = 256
    model.save_pretrained(folder / "base")
    train_tokenizer([text], vocab_size=290).save_pretrained(folder / "base")
    (folder / "corpus").mkdir()
    for split in ("calibration", "heldout"):
        (folder / "corpus" / f"{split}.jsonl").write_text(json.dumps({"text": text, "source": split}) + "\n")
    (folder / "sources").mkdir()
    return {"base": folder / "base", "corpus": folder / "corpus", "sources": folder / "sources"}


def run(name, given, out, *, errors=None, **change):
    defaults = yaml.safe_load((RECIPE / "recipe.yaml").read_text())["defaults"]
    defaults["methods"] = [m for m in defaults["methods"] if m["name"] in METHODS]
    plan = Plan.model_validate(merge(defaults, {**SMALL, **change}))
    shards = range(plan.shards) if "shard" in stage[name].each else [None]
    others = {"paper": RECIPE / "paper_values.csv", "errors": errors, **given, "device": "cpu"}
    for shard in shards:
        job = stage[name].job(plan, scale="smoke", out=out, model="tiny", shard=shard)
        stage[name].run(job, **{option: others[option] for option in stage[name].takes})
    parts = [name if shard is None else f"{name}-{shard}" for shard in shards]
    return (pd.concat(frames, ignore_index=True) for frames in (
        [pd.read_parquet(out / f"{part}.items.parquet") for part in parts], [pd.read_csv(out / f"{part}.runs.csv") for part in parts]
    ))  # fmt: skip


@pytest.fixture(scope="module")
def errors(given, tmp_path_factory):
    """The channels that the first stage calibrates."""
    out = tmp_path_factory.mktemp("inspect")
    items, runs = run("inspect", given, out)
    assert set(items["benchmark"]) >= {"coefficients", "decode", "selection"} and runs["stage"].tolist() == ["inspect"]
    return out / "errors.safetensors"


def stop_at(monkeypatch, module, name, at):
    """Let a function of a module stop the stage when it is called for the `at`-th time; return how often it was called."""
    real, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


@pytest.mark.parametrize(("name", "module", "reads"), [("needles", needles, "score_needles"), ("tasks", reader, "ask")])
def test_an_interrupted_stage_keeps_its_finished_prompts_and_ends_in_the_same_bytes(
    name, module, reads, given, errors, tmp_path, monkeypatch
):
    whole, _ = run(name, given, tmp_path / "whole", errors=errors, ruler=SMALL["ruler"] | {"limit": 2})
    calls = stop_at(monkeypatch, module, reads, 2)
    with pytest.raises(KeyboardInterrupt):
        run(name, given, tmp_path / "killed", errors=errors, ruler=SMALL["ruler"] | {"limit": 2})
    calls.clear()
    again, runs = run(name, given, tmp_path / "killed", errors=errors, ruler=SMALL["ruler"] | {"limit": 2})
    assert len(calls) == 1, "a finished prompt was read again"
    pd.testing.assert_frame_equal(again, whole)
    (one, other) = ((tmp_path / folder / f"{name}-0.items.parquet").read_bytes() for folder in ("whole", "killed"))
    assert one == other and len(runs) == 1


def test_more_shards_read_no_prompt_again_and_other_inputs_read_all(given, errors, tmp_path, monkeypatch):
    calls = stop_at(monkeypatch, needles, "score_needles", 0)
    one, _ = run("needles", given, tmp_path, errors=errors)
    assert len(calls) == 2
    two, runs = run("needles", given, tmp_path, errors=errors, shards=2)
    assert len(calls) == 2 and len(runs) == 2
    keys = ["method", "benchmark", "metric", "item_id", "score"]
    pd.testing.assert_frame_equal(*(frame[keys].sort_values(keys[:4], ignore_index=True) for frame in (one, two)))
    other = tmp_path / "corpus"
    other.mkdir()
    (other / "heldout.jsonl").write_text(json.dumps({"text": "Nobody came to the sea that day, and rain fell 12. " * 99, "source": "x"}))
    run("needles", given | {"corpus": other}, tmp_path, errors=errors)
    assert len(calls) == 4


def test_a_shard_that_is_not_there_is_refused(tmp_path):
    plan = read_plan_of("fourier_attention", "paper")
    with pytest.raises(GalleyError, match="shards 0 to 9"):
        stage["needles"].job(plan, scale="paper", out=tmp_path, model="Llama-3.1-8B", shard=10)
