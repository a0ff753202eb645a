import functools
import json
from pathlib import Path

import jsonschema
import pytest

from galley.declared import read_yaml
from galley.recipe import recipe_names
from galley.schema import schemas, write_schemas

ROOT = Path(__file__).parents[1]
FILES = {
    **{name: f"recipes/{name}/recipe.yaml" for name in recipe_names(ROOT / "recipes")},
    "claims": "recipes/fourier_attention/claims.yaml",
    "figures": "recipes/fourier_attention/figures.yaml",
    "metrics": "recipes/metrics.yaml",
    "sources": "recipes/sources.yaml",
}


made_once = functools.cache(schemas)


def validator(name):
    return jsonschema.Draft202012Validator(made_once()[name])


def document(name):
    return read_yaml(ROOT / FILES[name], what="declaration", home=FILES[name]).data


def test_the_committed_schemas_are_those_of_the_models(tmp_path):
    write_schemas(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "recipes/schema").iterdir()}
    assert made == kept, "recipes/schema is stale: run python -m galley.schema"


@pytest.mark.parametrize("name", FILES)
def test_the_project_s_own_files_satisfy_their_schema(name):
    jsonschema.Draft202012Validator.check_schema(made_once()[name])
    faults = [f"{list(e.absolute_path)}: {e.message}" for e in validator(name).iter_errors(document(name))]
    assert faults == []


BROKEN = [
    ("mha2mla", lambda d: d["defaults"].update(rope_fracton=0.1), "rope_fracton"),
    ("mha2mla", lambda d: d["scales"]["smoke"]["heldout"].update(windos=3), "windos"),
    ("mha2mla", lambda d: d["scales"].update(huge={}), "huge"),
    ("mha2mla", lambda d: d["scales"]["smoke"].update(seeds=0), "0 is less than"),
    ("mha2mla", lambda d: d["defaults"]["arms"][0].update(strategy="best"), "best"),
    ("claims", lambda d: d["defaults"].update(scales=["huge"]), "huge"),
    ("claims", lambda d: d["defaults"].update(statement="All."), "statement"),
    ("claims", lambda d: d["claims"][0]["defaults"].update(kind="guess"), "guess"),
    ("claims", lambda d: d["claims"][0].update(color="red"), "color"),
    ("claims", lambda d: d["claims"][0]["claims"][0].pop("id"), "id"),
    ("claims", lambda d: d["claims"][0]["claims"][0].update(colour="red"), "colour"),
    ("claims", lambda d: d["claims"][0]["claims"][0]["controls"][0].pop("why"), "why"),
    ("figures", lambda d: d["needles"].update(kind="pie"), "pie"),
    ("figures", lambda d: d["needles"]["x"].update(column="seed"), "seed"),
    ("metrics", lambda d: d["pass_rate"].update(kind="share"), "share"),
    ("sources", lambda d: d["piqa_valid"].pop("licence"), "licence"),
    ("sources", lambda d: d["piqa_valid"]["files"]["valid.jsonl"].update(sha256="abc"), "abc"),
]


@pytest.mark.parametrize(("name", "break_it", "word"), BROKEN)
def test_a_mistake_is_seen(name, break_it, word):
    broken = json.loads(json.dumps(document(name)))
    break_it(broken)
    messages = [e.message for e in validator(name).iter_errors(broken)]
    assert any(word in m for m in messages), messages
