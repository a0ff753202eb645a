"""What a plan takes, whatever the recipe: work grows with seeds and effort, and each figure is a part of a sum."""

import math
from pathlib import Path

import pytest

from galley import cost
from galley.plan import read_plan_of
from galley.recipe import SCALES, recipe_names
from galley.stage import stages_of

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = recipe_names(FOLDER)
TUNED_ALIKE = ("unitcoder",)  # its fine-tuning has a fixed number of tokens


def takes(recipe, scale, *, seeds=None, effort=1):
    plan = read_plan_of(recipe, scale, folder=FOLDER, seeds=seeds, effort=effort)
    return {part.what: part for part in cost.takes(plan, stages_of(recipe), effort=effort)}


def total(parts):
    return sum(p.cpu_minutes or 0 for p in parts.values()), sum(p.gpu_hours for p in parts.values())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("scale", SCALES)
def test_work_is_of_cores_or_of_gpus_and_all_of_it_is_named(recipe, scale):
    plan, parts = read_plan_of(recipe, scale, folder=FOLDER), takes(recipe, scale)
    gpus = {name for name, model in plan.models.items() if model.gpus}
    for name, model in plan.models.items():
        (part,) = [part for what, part in parts.items() if what.startswith(f"{name}, ") and "from scratch" not in what] or [
            parts.get("fine-tuning")
        ]
        assert (part.gpu_hours > 0 and part.cpu_minutes == 0) if model.gpus else part.cpu_minutes > 0, name
    cpu, gpu = total(parts)
    assert cpu > 0 and (gpu > 0) == bool(gpus) and all(math.isfinite(n) for n in (cpu, gpu))
    assert all(part.rests_on for part in parts.values() if part.gpu_hours or part.cpu_minutes is None), "an estimate of GPUs says whence"


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("scale", SCALES)
def test_effort_and_seeds_are_in_the_figures(recipe, scale):
    (cpu, gpu), (cpu2, gpu2) = total(takes(recipe, scale)), total(takes(recipe, scale, effort=2))
    assert cpu2 > cpu if not gpu else cpu2 >= cpu
    if gpu and recipe not in TUNED_ALIKE:
        assert gpu < gpu2 <= 2 * gpu + 1e-9  # LongBench has no more items than it has
    trained = read_plan_of(recipe, scale, folder=FOLDER).models or recipe != "unitcoder"
    if stages_of(recipe).trains and trained:
        more = total(takes(recipe, scale, seeds=7))
        assert sum(more) > sum(total(takes(recipe, scale, seeds=6)))


@pytest.mark.parametrize(
    ("recipe", "measured"),
    [("mha2mla", 24.7), ("fourier_attention", 28.4), ("unitcoder", 33.9), ("case2code", 21.3), ("codeseq", 17.3)],
)
def test_the_laptop_figures_are_those_of_the_reference_runs_within_a_factor_of_one_and_a_half(recipe, measured):
    """`measured` is the sum of cpu_s in recipes/<recipe>/reference/laptop/certificate_<recipe>.md, in minutes."""
    text = (FOLDER / recipe / f"reference/laptop/certificate_{recipe}.md").read_text()
    rows = text.split("| stage | wall_s | cpu_s |")[1].split("\n\n")[0].splitlines()[2:]
    assert sum(float(row.split("|")[3]) for row in rows) / 60 == pytest.approx(measured, abs=0.1)
    assert measured / 1.5 < total(takes(recipe, "laptop"))[0] < 1.5 * measured


def test_a_model_that_is_trained_here_and_the_start_of_jobs_are_counted():
    parts = takes("fourier_attention", "smoke")
    trained = parts["scratch-copier, from scratch"].cpu_minutes
    assert trained * 60 == pytest.approx(6 * 0.1e6 * 60 * 8 * 256 / cost.CORE_FLOPS)
    assert parts["starting the jobs"].cpu_minutes * 60 == pytest.approx(6 * cost.START_S)  # a text, a model, four stages


def test_what_is_missing_names_the_way_out():
    plan, stages = read_plan_of("fourier_attention", "paper", folder=FOLDER), stages_of("fourier_attention")
    bare = plan.model_copy(update={"models": {n: m.model_copy(update={"revision": None}) for n, m in plan.models.items()}})
    assert all(one in cost.unpinned(bare, stages, recipes=FOLDER) for one in [f"models.{n}: {m.repo}" for n, m in plan.models.items()])
    lacks = cost.missing(bare, stages, recipes=FOLDER)
    assert sum("run `galley pin fourier_attention`" in text for text in lacks) == len(plan.models)
    assert sum("HF_TOKEN" in text for text in lacks) == len(cost.gated(plan)) == 2
