"""JSON Schemas of what people write by hand, made from the models that check it, for editors to complete and mark.

recipes/schema/: <recipe>.json (a recipe file), claims.json and figures.json (a recipe's claims and figures), metrics.json and
sources.json (the registries). The committed files must equal these; `python -m galley.schema` writes them again.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from galley.artifact import write_json
from galley.data.sources import Source
from galley.recipe import Recipe, Scale, plan_module, recipe_names
from galley.tables.claims import OWN, Claim
from galley.tables.figures import Figures
from galley.tables.metrics import Metrics

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path("recipes/schema")


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each kind of file by the name of its schema file."""
    return {
        **{
            name: {"$schema": DIALECT, "title": f"recipes/{name}/recipe.yaml", **recipe_schema(plan_module(name).Plan)}
            for name in recipe_names(FOLDER.parent)
        },
        "claims": {"$schema": DIALECT, "title": "recipes/<recipe>/claims.yaml", **claims_schema()},
        "figures": {"$schema": DIALECT, "title": "recipes/<recipe>/figures.yaml", **TypeAdapter(Figures).json_schema()},
        "metrics": {"$schema": DIALECT, "title": "recipes/metrics.yaml", **TypeAdapter(Metrics).json_schema()},
        "sources": {"$schema": DIALECT, "title": "recipes/sources.yaml", **TypeAdapter(dict[str, Source]).json_schema()},
    }


def recipe_schema(plan_model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a recipe file: the header, with every overlay a plan of which nothing is required.

    Defaults and a scale's overlay are merged before the plan is checked, so each may say any part of it.
    """
    recipe, plan = Recipe.model_json_schema(), plan_model.model_json_schema()
    parts = dict(plan.pop("$defs"))
    whole = {"Arm", "Method", "Model", "ScratchModel"}  # named or listed things: an overlay that has one has all of it
    overlay = {key: value for key, value in plan.items() if key not in ("required", "title", "description")}
    recipe["$defs"] = {
        "Overlay": overlay,
        **{name: part if name in whole else {k: v for k, v in part.items() if k != "required"} for name, part in parts.items()},
    }
    recipe["properties"]["defaults"] = {"$ref": "#/$defs/Overlay", "description": recipe["properties"]["defaults"]["description"]}
    recipe["properties"]["scales"] = {
        "type": "object",
        "description": recipe["properties"]["scales"]["description"],
        "properties": {scale: {"$ref": "#/$defs/Overlay"} for scale in get_args(Scale)},
        "additionalProperties": False,
    }
    return {key: value for key, value in recipe.items() if key != "title"}


def claims_schema() -> dict[str, Any]:
    """Return the schema of a claims file: groups of claims with defaults, of which a claim itself must say its own keys only.

    Defaults are merged before a claim is checked, and a side takes from `rows` what it does not say.
    """
    claim = Claim.model_json_schema()
    parts = claim.pop("$defs")
    del parts["Rows"]["required"]
    shared = {"$ref": "#/$defs/Rows", "description": "what each side takes, of the claim and of its controls, unless it says otherwise"}
    claim = {**claim, "required": list(OWN), "properties": {**claim["properties"], "rows": shared}}
    keys = {name: value for name, value in claim["properties"].items() if name not in OWN}
    either = {"if": {"required": ["claims"]}, "then": {"$ref": "#/$defs/Group"}, "else": {"$ref": "#/$defs/Claim"}}
    group = {
        "type": "object",
        "description": "claims that share defaults",
        "properties": {"defaults": {"$ref": "#/$defs/Defaults"}, "claims": {"type": "array", "items": either, "minItems": 1}},
        "required": ["claims"],
        "additionalProperties": False,
    }
    defaults = {"type": "object", "description": "what every claim takes unless it says otherwise", "properties": keys}
    parts |= {"Claim": claim, "Defaults": {**defaults, "additionalProperties": False}, "Group": group}
    return {"$ref": "#/$defs/Group", "$defs": parts}


def write_schemas(folder: Path = FOLDER) -> None:
    """Write every schema as <folder>/<name>.json."""
    for name, schema in schemas().items():
        write_json(folder / f"{name}.json", schema)


if __name__ == "__main__":
    write_schemas()
