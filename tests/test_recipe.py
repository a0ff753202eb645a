"""Recipes as data: which folders are recipes, what an unfinished one lacks, what seeds and effort may be."""

import shutil
from pathlib import Path

import pytest
import yaml

from galley import recipe as recipes
from galley.artifact import GalleyError
from galley.plan import MOST, read_plan_of
from galley.recipe import known_recipe, missing, recipe_names

ROOT = Path(__file__).parents[1]
NAMES = recipe_names(ROOT / "recipes")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The project's recipes and rules; the papers' code is the installed one."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    monkeypatch.delenv(recipes.SAID, raising=False)
    return tmp_path / "recipes"


def test_a_folder_that_is_no_recipe_is_none_and_says_nothing(tree, capsys):
    (tree / ".ipynb_checkpoints").mkdir()
    (tree / "notes").mkdir()
    (tree / "notes/idea.md").write_text("some day")
    assert recipe_names(tree) == NAMES and {"schema", "accelerate"}.isdisjoint(NAMES)
    assert capsys.readouterr() == ("", "")


UNFINISHED = {
    "mine": (lambda folder: shutil.copytree(folder / "mha2mla", folder / "mine"), ["src/galley/papers/mine/plan.py", "rules/mine.smk"]),
    "empty": (lambda folder: (folder / "empty").mkdir(), ["recipes/empty/recipe.yaml", "src/galley/papers/empty/stages.py"]),
    "begun": (
        lambda folder: ((folder / "begun").mkdir(), (folder / "begun/claims.yaml").write_text("claims: []")),
        ["recipes/begun/recipe.yaml", "recipes/begun/README.md"],
    ),
    "my-copy": (lambda folder: shutil.copytree(folder / "mha2mla", folder / "my-copy"), ["a name of letters, digits and _"]),
    "copy of mha2mla": (lambda folder: shutil.copytree(folder / "mha2mla", folder / "copy of mha2mla"), ["a name of letters"]),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_recipe_is_left_out_with_one_line_and_stops_no_other(name, tree, capsys):
    begin, lacks = UNFINISHED[name]
    begin(tree)
    assert recipe_names(tree) == NAMES
    said = capsys.readouterr().err
    assert said.startswith(f"recipes/{name} is left out: it lacks ") and said.count("\n") == 1 and all(part in said for part in lacks)
    assert recipe_names(tree) == NAMES and capsys.readouterr().err == "", "what was said is not said again, in no process of a run"
    assert read_plan_of("mha2mla", "smoke", folder=tree).seeds >= 1
    with pytest.raises(GalleyError, match=f"recipe is '{name}', which is not finished: it lacks .*docs/add_a_recipe.md") as refused:
        read_plan_of(name, "smoke", folder=tree)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["recipes/mha2mla/README.md", "recipes/mha2mla/paper_values.csv", "rules/mha2mla.smk"])
def test_a_recipe_that_lost_a_file_is_left_out_of_runs_but_its_plan_can_be_read(file, tree, capsys):
    (tree.parent / file).unlink()
    assert "mha2mla" not in recipe_names(tree) and file in capsys.readouterr().err
    assert missing("mha2mla", tree) == [file] and missing("mha2mla", tree, plan_alone=True) == []
    assert read_plan_of("mha2mla", "smoke", folder=tree).arms


def test_outside_a_checkout_the_error_says_where_to_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GalleyError, match=r"there are no recipes in .*: go to the project's folder, the one with Snakefile") as refused:
        read_plan_of("mha2mla", "smoke", folder=Path("recipes"))
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["mha2mal", "", "../recipes/mha2mla", "schema", "mha2mla/", "MHA2MLA"])
def test_an_unknown_recipe_is_told_the_known_ones(name):
    with pytest.raises(GalleyError, match=r"known recipes: .*mha2mla"):
        known_recipe(name, ROOT / "recipes")


def test_the_recipe_s_field_is_its_folder(tree):
    path = tree / "mha2mla/recipe.yaml"
    text = path.read_text()
    line = next(n for n, row in enumerate(text.splitlines(), start=1) if row.startswith("recipe:"))
    path.write_text(text.replace("recipe: mha2mla", "recipe: other"))
    with pytest.raises(GalleyError, match=rf"recipe\.yaml:{line}: recipe is 'other'; it is the name of its folder, 'mha2mla'"):
        read_plan_of("mha2mla", "smoke", folder=tree)


@pytest.mark.parametrize("asked", [{"seeds": -3}, {"seeds": 0}, {"seeds": MOST + 1}, {"effort": 0}, {"effort": -1}, {"effort": 10**9},
                                   {"seeds": True}, {"seeds": "3"}, {"seeds": "yes"}, {"effort": 2.0}, {"effort": None}])  # fmt: skip
def test_seeds_and_effort_have_an_end(asked):
    (name, number), *_ = asked.items()
    with pytest.raises(GalleyError, match=f"{name} is {number!r}; it takes a whole number from 1 to {MOST}"):
        read_plan_of("mha2mla", "smoke", folder=ROOT / "recipes", **asked)
    assert read_plan_of("mha2mla", "smoke", folder=ROOT / "recipes", seeds=MOST, effort=MOST).seeds == MOST


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rope_fraction: 0.0625", "rope_fraction: .nan", r"rope_fraction: .*finite"),
        ("rope_fraction: 0.0625", "rope_fraction: .inf", r"rope_fraction: "),
        ("rope_fraction: 0.0625", "rope_fraction: 0.0625\n  shards: 1000000000", r"shards: .*1000"),
        ("rope_fraction: 0.0625", 'rope_fraction: "0.0625"', r"rope_fraction: .*got '0.0625'"),
        ("rope_fraction: 0.0625", "rope_fraction: 0.0625\n  shards: true", r"shards: .*got True"),
        ("rope_fraction: 0.0625", "rope_fraction: 0.0625\n  shards: 1:30", r"defaults.shards is 1:30"),
        ("rope_fraction: 0.0625", "rope_fraction: 0.0625\n  shards: 0132", r"defaults.shards is 0132"),
        ("paper: arXiv:2502.14837", "paper: ' '", r"paper: is blank; write a text"),
        ("paper: arXiv:2502.14837", "paper:", r"paper: .*got None"),
        ("paper: arXiv:2502.14837", 'paper: "\\e]0;x\\a"', r"paper is .*control character U.001B"),
        ("recipe: mha2mla", 'recipe: "mha2mla\\x9b"', r"recipe is .*control character U.009B"),
    ],
)
def test_no_number_of_a_plan_is_infinite_or_without_bound(old, new, words, tree):
    path = tree / "mha2mla/recipe.yaml"
    text = path.read_text()
    assert old in text
    text = "\n".join(row for row in text.splitlines() if not row.strip().startswith("shards:")) + "\n"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(GalleyError, match=rf"recipe\.yaml:\d+: {words}"):
        read_plan_of("mha2mla", "smoke", folder=tree)


PARTS = [
    ("codeseq", "synthesis", {"gtg_problems": 5000}, "gtg_problems is 5000, a part of problems, of which there are 90"),
    ("codeseq", "functions", {"limit": 60, "held_out": 60}, "held_out is 60, a part of limit, of which there are 60"),
    ("case2code", "inputs", {"min_hidden": 24}, "min_hidden is 24, a part of cases, of which there are 24"),
    ("mha2mla", "heldout", {"curve_windows": 33}, "curve_windows is 33, a part of windows, of which there are 32"),
    ("mha2mla", "benchmarks", {"longbench_max_new_tokens": 240}, "longbench_max_new_tokens is 240, a part of longbench_max_length"),
    ("unitcoder", "pipeline", {"keep": 4}, "keep is 4, a part of proposals, of which there are 3"),
    ("fourier_attention", "longbench", {"gold_tokens": 100000}, "gold_tokens is 100000, a part of max_length"),
    ("fourier_attention", "ruler", {"methods": ["full"], "generate": ["fourier"]}, "generate has 'fourier', which is not among methods"),
    ("codeseq", "models", {"a b": {"kind": "hub", "repo": "a/b", "params_m": 1.0}}, r"models\.a b: .*match pattern"),
    ("codeseq", "models", {"..": {"kind": "hub", "repo": "a/b", "params_m": 1.0}}, r"models\.\.\.: .*match pattern"),
]


@pytest.mark.parametrize(("name", "field", "change", "words"), PARTS)
def test_a_part_is_no_larger_than_its_whole_and_a_model_s_name_is_a_folder_s(name, field, change, words, tree):
    path = tree / name / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    scale = "laptop" if field == "functions" else "smoke"
    recipe["scales"][scale].setdefault(field, {}).update(change)
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(GalleyError, match=words) as refused:
        read_plan_of(name, scale, folder=tree)
    assert "\n" not in str(refused.value)
