"""JSON Schemas of what people write by hand, made from the models that check it, for editors to complete and mark.

recipes/schema/: <recipe>.json (a recipe file), claims.json (a claims file), metrics.json and sources.json (the registries). The
committed files must equal these; `python -m galley.schema` writes them again.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from galley.artifact import write_json
from galley.data.sources import Source
from galley.recipe import Recipe, Scale, plan_module, recipe_names
from galley.tables.claims import Claim
from galley.tables.metrics import Metric

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path("recipes/schema")


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each kind of file by the name of its schema file."""
    return {
        **{
            name: {"$schema": DIALECT, "title": f"recipes/{name}/recipe.yaml", **recipe_schema(plan_module(name).Plan)}
            for name in recipe_names(FOLDER.parent)
        },
        "claims": {"$schema": DIALECT, "title": "recipes/<recipe>/claims.yaml", **TypeAdapter(list[Claim]).json_schema()},
        "metrics": {"$schema": DIALECT, "title": "recipes/metrics.yaml", **TypeAdapter(dict[str, Metric]).json_schema()},
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


def write_schemas(folder: Path = FOLDER) -> None:
    """Write every schema as <folder>/<name>.json."""
    for name, schema in schemas().items():
        write_json(folder / f"{name}.json", schema)


if __name__ == "__main__":
    write_schemas()
