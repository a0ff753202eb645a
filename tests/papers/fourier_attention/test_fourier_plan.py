from pathlib import Path

import pytest
import yaml

from galley.artifact import GalleyError
from galley.cost import minutes
from galley.cost_page import describe
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.stages import stage
from galley.plan import read_plan as read
from galley.plan import read_plan_of

RECIPE = Path("recipes/fourier_attention/recipe.yaml")


def read_plan(path, scale, **asked):
    return read(path, scale, model=Plan, **asked)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_scale_is_valid_and_has_a_cost(scale):
    plan = read_plan(RECIPE, scale)
    text = describe(plan, stage, scale=scale, recipes=RECIPE.parents[1])
    assert f"{len(plan.methods)} methods" in text and "fourier_attention_needles" in text
    for length in plan.needles.lengths:
        layout = plan.layout(length)
        assert layout.sinks + layout.local + layout.n_middle == length and 4 * layout.orders < layout.n_middle


def test_the_paper_scale_has_the_paper_s_layout():
    layout = read_plan(RECIPE, "paper").layout(32768)
    assert (layout.sinks + layout.local, layout.orders) == (1024, 512)


def test_effort_adds_needles_and_seeds_are_refused():
    one, three = (read_plan(RECIPE, "laptop", effort=effort) for effort in (1, 3))
    for grid in ("needles", "needlebench"):
        assert getattr(three, grid).repeats == 3 * getattr(one, grid).repeats
    for tasks in ("longbench", "ruler"):
        assert getattr(three, tasks).limit == 3 * getattr(one, tasks).limit
    with pytest.raises(GalleyError, match="effort=4"):
        read_plan_of("fourier_attention", "laptop", seeds=4)


def test_the_queue_is_asked_for_the_prompts_of_a_shard():
    plan = read_plan(RECIPE, "paper")
    assert stage["needles"].units(plan) == 2 * 5 * 11 * 10
    few, many = (minutes(stage["tasks"], plan.model_copy(update={"shards": n}), model="Llama-3.1-8B", least=60) for n in (10, 1))
    assert 5 * 60 < few < many / 9


def changed(tmp_path, change):
    recipe = yaml.safe_load(RECIPE.read_text())
    change(recipe)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["scales"]["smoke"]["needles"].update(lengths=[42]), "longer prompts"),
        (lambda r: r["scales"]["smoke"]["needles"].update(depths=[1.5]), "needles.depths has 1.5"),
        (lambda r: r["defaults"]["methods"].append({"name": "full", "cache": "full"}), "'full' appears twice"),
        (lambda r: r["defaults"]["methods"].append({"name": "x", "cache": "snapkv", "bytes_of": "y"}), "'y', which is no Fourier method"),
        (lambda r: r["defaults"].update(reals_fraction=0.9), "reals_fraction"),
        (lambda r: r["defaults"].update(local_fractoin=0.1), "local_fractoin"),
    ],
)
def test_bad_recipes_are_refused_by_field(tmp_path, change, message):
    with pytest.raises(GalleyError, match=message):
        read_plan(changed(tmp_path, change), "smoke")
