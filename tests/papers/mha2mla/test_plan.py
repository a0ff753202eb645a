import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from galley.artifact import GalleyError
from galley.papers.mha2mla.cost import training_tokens
from galley.papers.mha2mla.plan import Arm, Plan, arms_of, runs_of
from galley.papers.mha2mla.stages import stage
from galley.plan import read_plan as read

RECIPE = Path(__file__).parents[3] / "recipes/mha2mla/recipe.yaml"
SCALES = ("smoke", "laptop", "paper")


def read_plan(path, scale, **asked):
    return read(path, scale, model=Plan, **asked)


def edited(tmp_path, change):
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    change(recipe)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_resolves_and_has_the_arms(scale):
    plan = read_plan(RECIPE, scale)
    assert {a.name for a in plan.arms} >= {a.name for a in read_plan(RECIPE, "smoke").arms}
    assert len({a.name for a in plan.arms}) == len(plan.arms)
    assert {a.method for a in plan.arms} >= {"original", "base_ft", "high", "low", "uniform", "2-norm", "2-norm+joint", "2-norm+split"}


@pytest.mark.parametrize("scale", SCALES)
def test_shards_hold_every_arm_once(scale):
    plan = read_plan(RECIPE, scale)
    for model in plan.models:
        mine = arms_of(plan.arms, model, tuned=plan.training.models)
        dealt = [stage["arms"].job(plan, scale=scale, out=Path(), model=model, shard=n).mine(mine) for n in range(plan.shards)]
        assert sorted(a.name for arms in dealt for a in arms) == sorted(a.name for a in mine)
        sizes = [len(arms) for arms in dealt]
        assert min(sizes) > 0 and max(sizes) - min(sizes) <= 1


def test_fine_tuning_may_be_of_some_models_alone_and_arms_too():
    plan = read_plan(RECIPE, "laptop")
    tuned, converted = (arms_of(plan.arms, model, tuned=plan.training.models) for model in ("scratch-2m", "smollm2-135m-instruct"))
    assert tuned == plan.arms and not any(arm.train for arm in converted)
    assert {arm.name for arm in plan.arms} - {arm.name for arm in converted} == {"base_ft-0"}, "untuned it is the original"
    assert [arm.name for arm in converted if arm.benchmark] == ["original-0"], "what is not repaired has nothing to show"
    paper = read_plan(RECIPE, "paper")
    names = {model: {arm.name for arm in arms_of(paper.arms, model, tuned=[])} for model in paper.models}
    assert "high-0-r2" in names["SmolLM-135M"] and "high-0-r2" not in names["Llama2-7B"] and "2-norm+split-16" in names["SmolLM-1B7"]


def test_every_scale_trains_three_runs_on_enough_tokens_and_scores_enough_windows():
    for scale in SCALES:
        plan = read_plan(RECIPE, scale)
        for name in plan.training.models or plan.models:
            assert training_tokens(plan, plan.models[name]) >= 100_000
        assert plan.seeds >= 3 and plan.heldout.windows >= 30 and plan.benchmarks.continuation_windows >= 8


def test_drawn_and_trained_arms_have_a_run_a_seed():
    trained, drawn, still = (Arm(method=f"control:{n}", strategy="high", d_kv=16, svd=s, train=t) for n, s, t in
                             (("a", "joint", True), ("b", "random", False), ("c", "joint", False)))  # fmt: skip
    assert [list(runs_of(arm, 3)) for arm in (trained, drawn, still)] == [[0, 1, 2], [0, 1, 2], [0]]


@pytest.mark.parametrize("scale", ["smoke", "laptop"])
def test_windows_fit_the_model_s_context(scale):
    plan = read_plan(RECIPE, scale)
    (model,) = (model for model in plan.models.values() if model.scratch)
    b = plan.benchmarks
    longest = [plan.heldout.window_tokens, b.continuation_prefix + b.continuation_tokens, b.longbench_max_length, *b.needle_lengths]
    assert max(longest) <= model.scratch.context


def test_the_paper_s_setting_is_the_paper_s():
    plan = read_plan(RECIPE, "paper")
    llama = plan.models["Llama2-7B"]
    assert plan.rope_fraction == 1 / 16
    assert (llama.seq_len, llama.steps, llama.tokens_per_step) == (4096, 12000, 256 * 4096)
    assert (plan.training.batch_size, plan.training.seq_len, plan.training.steps, plan.training.lr) == (8, 2048, 18000, 1e-4)
    assert plan.calibration.sequences == 1024


def test_effort_multiplies_evidence_and_seeds_replace():
    plan, more = read_plan(RECIPE, "laptop"), read_plan(RECIPE, "laptop", effort=3, seeds=4)
    assert more.heldout.windows == 3 * plan.heldout.windows
    assert more.training.steps == 3 * plan.training.steps
    assert more.benchmarks.commonsense_limit == 3 * plan.benchmarks.commonsense_limit
    assert more.benchmarks.continuation_windows == 3 * plan.benchmarks.continuation_windows
    assert more.seeds == 4 and more.arms == plan.arms and more.models == plan.models


def test_a_setting_names_the_width_and_the_point():
    assert Arm(method="m", strategy="high", d_kv=16).setting("final") == "d_kv=16,final"
    assert Arm(method="m", strategy="high").setting("step=20") == "step=20"
    assert Arm(method="m", strategy="high", d_kv=16, r=2).setting("final") == "r=2,d_kv=16,final"


BROKEN = {
    "an unknown key": (lambda r: r["defaults"]["training"].update(learning_rate=1), "learning_rate"),
    "a wrong strategy": (lambda r: r["defaults"]["arms"][2].update(strategy="best"), "strategy"),
    "no seeds": (lambda r: r["scales"]["smoke"].update(seeds=0), "seeds"),
    "too much rotation": (lambda r: r["defaults"].update(rope_fraction=0.6), "rope_fraction"),
    "an arm twice": (lambda r: r["defaults"]["arms"].append(dict(r["defaults"]["arms"][0])), "appear twice"),
    "a scratch model without its shape": (lambda r: next(iter(r["scales"]["smoke"]["models"].values())).pop("scratch"), "scratch"),
    "a latent of no width": (lambda r: r["defaults"]["arms"][2].update(d_kv=0), "d_kv"),
    "a random basis of no latent": (lambda r: r["defaults"]["arms"][2].update(d_kv=None, svd="random"), "without d_kv there is no latent"),
    "a random basis that is no control": (
        lambda r: r["defaults"]["arms"][2].update(svd="random"),
        "method is '2-norm\\+joint', and its conversion is a broken one; call it control:2-norm",
    ),
    "halves of a whole": (
        lambda r: r["defaults"]["arms"][2].update(method="control:x", broken="swapped_halves"),
        "svd is 'joint', whose latent has no halves to swap",
    ),
    "pairs of an arm that keeps none": (lambda r: r["defaults"]["arms"][11].update(r=2), "r is 2, but strategy none says"),
    "an arm of an unknown model": (
        lambda r: r["defaults"]["arms"][2].update(models=["gpt"]),
        r"arm 2-norm\+joint-16: models has 'gpt'; this scale's models: scratch-600k",
    ),
    "a fine-tuning of an unknown model": (lambda r: r["defaults"]["training"].update(models=["gpt"]), "training: models has 'gpt'"),
    "no arms": (lambda r: r["defaults"].update(arms=[]), "arms"),
    "a schedule longer than the training": (
        lambda r: r["defaults"]["training"].update(warmup_fraction=0.6, decay_fraction=0.6),
        "warmup_fraction is 0.6 and decay_fraction 0.6; together they take 1",
    ),
    "heads that do not divide the width": (
        lambda r: next(iter(r["scales"]["smoke"]["models"].values()))["scratch"].update(n_heads=5),
        "d_model is 128; it must be an even multiple of n_heads, 5",
    ),
    "a needle beyond the text": (lambda r: r["scales"]["smoke"]["benchmarks"].update(needle_depths=[1.5]), "needle_depths"),
    "a missing part": (lambda r: r["scales"]["smoke"].pop("heldout"), "heldout"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recipe_is_refused_by_field(name, tmp_path):
    change, word = BROKEN[name]
    with pytest.raises(GalleyError, match=word):
        read_plan(edited(tmp_path, change), "smoke")


def test_an_error_names_file_and_line(tmp_path):
    path = tmp_path / "recipe.yaml"
    shutil.copyfile(RECIPE, path)
    text = path.read_text().replace("    weight_decay: 0.01\n", "    weight_decay: 0.01\n    wieght_decay: 0.01\n", 1)
    path.write_text(text)
    line = text.splitlines().index("    wieght_decay: 0.01") + 1
    with pytest.raises(GalleyError, match=rf"recipe\.yaml:{line}: .*wieght_decay"):
        read_plan(path, "smoke")


def test_an_unknown_scale_is_refused_with_the_known_ones():
    with pytest.raises(GalleyError, match="smoke, laptop, paper"):
        read_plan(RECIPE, "huge")


def test_a_plan_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        read_plan(RECIPE, "smoke").seeds = 9
    assert Plan.model_config["frozen"]


def test_reading_a_plan_imports_nothing_heavy():
    program = (
        "import sys; from pathlib import Path; from galley.plan import read_plan_of\n"
        f"read_plan_of('mha2mla', 'paper', folder=Path({str(RECIPE.parents[1])!r}))\n"
        "sys.exit(' '.join({'torch', 'transformers', 'pandas'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
