"""A stage's declaration: the job's part of the plan, its keys and digests, its leaves and its command."""

import ast
import importlib
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from galley import stage_commands
from galley.artifact import GalleyError, code_files, galley_imports
from galley.models.spec import Model
from galley.options import BaseOption
from galley.plan import Plan, grown
from galley.recipe import HowMany, Strict, TimesEffort, recipe_names
from galley.stage import Job, Stages, stages_of

RECIPES = recipe_names(Path("recipes"))
STAGES = [(recipe, name) for recipe in RECIPES for name in stages_of(recipe)]


class Training(Strict):
    steps: int = 3
    control_seeds: HowMany = 1


class ToyPlan(Plan):
    training: Training = Training()
    items: int = Field(default=4, gt=0)


def toy():
    stage = Stages("toy")

    @stage("items", "data_seed")
    def collect(job: Job, workers: Annotated[int, typer.Option(help="side by side")] = 1) -> None:
        """Collect items."""

    @stage("training", "seeds", "data_seed", each=("model", "shard"), sources=("mbpp",), units=lambda plan: 2 * plan.seeds)
    def tune(job: Job, base: BaseOption) -> None:
        """Tune."""

    return stage


def plan(**more):
    models = {name: Model(kind="hub", repo=f"x/{name}", params_m=1) for name in ("one", "two")}
    return ToyPlan(models=models, shards=2, **more)


def test_a_job_holds_the_declared_fields_and_its_own_model_alone():
    job = toy()["tune"].job(plan(), scale="smoke", out=Path("out"), model="two", shard=1)
    assert job.plan.training.steps == 3 and job.plan.seeds == 1
    assert list(job.plan.models) == ["two"] and job.spec.repo == "x/two"
    assert job.name == "tune-1" and job.mine("abcde") == "bd"
    with pytest.raises(GalleyError, match=r"plan\.items .*'items'.*@stage"):
        _ = job.plan.items
    assert plan().items == 4  # the whole plan is as it was


@pytest.mark.parametrize(
    ("more", "words"), [({"model": "three"}, "'three'.*one, two"), ({"model": "one", "shard": 2}, "shard is 2.*0 to 1")]
)
def test_a_model_or_shard_that_the_scale_has_not_is_refused(more, words):
    with pytest.raises(GalleyError, match=words):
        toy()["tune"].job(plan(), scale="smoke", out=Path("out"), **more)


def test_more_seeds_or_shards_keep_the_key_but_rerun_the_job():
    stage = toy()["tune"]

    def key(plan):
        return stage.job(plan, scale="smoke", out=Path("out"), model="one", shard=0).key

    one = plan()
    for more in (plan(seeds=3), one.model_copy(update={"shards": 4}), plan(training=Training(control_seeds=2))):
        assert key(more) == key(one)
        assert stage.plan_digest(more, model="one") != stage.plan_digest(one, model="one")
    steps = plan(training=Training(steps=4))
    assert key(steps) != key(one)


def test_jobs_of_two_models_stages_and_scales_share_no_key():
    stages = toy()
    jobs = [stages["tune"].job(plan(), scale=s, out=Path("out"), model=m, shard=0) for m in ("one", "two") for s in ("smoke", "laptop")]
    jobs.append(stages["collect"].job(plan(), scale="smoke", out=Path("out")))
    assert len({job.key for job in jobs}) == len(jobs)


def test_another_model_of_the_plan_does_not_rerun_a_model_s_job():
    stage, both = toy()["tune"], plan()
    alone = both.model_copy(update={"models": {"one": both.models["one"]}})
    assert stage.plan_digest(alone, model="one") == stage.plan_digest(both, model="one")


def test_a_field_that_a_stage_does_not_read_does_not_rerun_it():
    stages = toy()
    assert stages["collect"].plan_digest(plan(seeds=5)) == stages["collect"].plan_digest(plan())
    assert stages["collect"].plan_digest(plan(items=5)) != stages["collect"].plan_digest(plan())


def test_leaves_jobs_and_sources_follow():
    stages = toy()
    assert stages.leaves(plan()) == ["collect", *(f"{m}/tune-{n}" for m in ("one", "two") for n in (0, 1))]
    assert stages.jobs(plan()) == {"toy_collect": 1, "toy_tune": 4} and stages.trains
    assert stages.sources_of(plan()) == ["mbpp"] and stages.sources_of(ToyPlan()) == []


def test_a_command_takes_the_stage_s_options_and_the_plan_s(monkeypatch, tmp_path):
    seen = []
    stages = Stages("mha2mla")

    @stages("arms", "seeds", each=("model", "shard"))
    def tune(job: Job, base: BaseOption) -> None:
        """Tune."""
        seen.append((job.model, job.name, job.plan.seeds, job.scale, base))

    app = typer.Typer()
    app.command("tune")(stage_commands.command(stages["tune"]))
    (tmp_path / "config.json").write_text("{}")
    words = ["--model", "scratch-600k", "--shard", "1", "--scale", "smoke", "--seeds", "5", "--base", str(tmp_path)]
    words += ["--out", str(tmp_path.with_name("out"))]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert seen == [("scratch-600k", "tune-1", 5, "smoke", tmp_path)]


@pytest.mark.parametrize(("recipe", "name"), STAGES)
def test_a_recipe_s_stage_reads_fields_that_its_plan_has_and_says_what_it_does(recipe, name):
    stage = stages_of(recipe)[name]
    known = set(importlib.import_module(f"galley.papers.{recipe}.plan").Plan.model_fields)
    assert set(stage.reads) <= known, set(stage.reads) - known
    assert {"out", "scale", "seeds", "effort", "model", "shard"}.isdisjoint(stage.takes), "these come by themselves"
    assert (stage.run.__doc__ or "").strip().endswith((".", ").")), "the docstring is the command's help"


@pytest.mark.parametrize(("recipe", "name"), STAGES)
def test_a_stage_s_digest_is_of_all_code_that_it_names(recipe, name):
    """What is started by its name (python -m galley.train.worker) or imported late must be in the digest as well."""
    stage = stages_of(recipe)[name]
    stub = ast.parse(textwrap.dedent(inspect.getsource(stage.run)))
    files = {file: module for start in galley_imports(stub) for module, file in code_files(start).items()}
    named = {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("galley.") and " " not in node.value
    }
    modules = {text for text in named if importlib.util.find_spec(text.rsplit(".", 1)[0]) and importlib.util.find_spec(text)}
    assert modules <= set(files.values()), modules - set(files.values())


def test_a_change_of_what_a_stage_runs_changes_its_digest(monkeypatch):
    """MHA2MLA's inspect measures norms: a change there has to run it again."""
    from galley import artifact

    stage = stages_of("mha2mla")["inspect"]
    stub = ast.parse(textwrap.dedent(inspect.getsource(stage.run)))
    files = {module for start in galley_imports(stub) for module in code_files(start)}
    assert "galley.papers.mha2mla.calibration" in files
    before, parsed = stage.code_digest(), artifact._parsed

    def changed(path, when):
        found, imports = parsed(path, when)
        return (found + "x" if path.name == "calibration.py" else found), imports

    monkeypatch.setattr(artifact, "_parsed", changed)
    assert stage.code_digest() != before


STAGES_FILE = '''
from galley.stats import wilson
from galley.stage import Job, Stages
stage = Stages("toy")
LIMIT = 3
UNUSED = 1
@stage("items")
def collect(job: Job, device: str = "auto") -> None:
    """Collect."""
    wilson(LIMIT, 4)
'''


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("LIMIT = 3", "LIMIT = 4", True),
        ('"auto"', '"cuda"', True),
        ("stats import wilson", "artifact import digest as wilson", True),
        ("UNUSED = 1", "UNUSED = 2", False),
        ("Collect.", "Gather.", False),
        ('@stage("items")', '@stage("items", "data_seed")', False),
    ],
)
def test_a_stage_s_digest_is_of_its_lines_and_what_its_file_says_by_their_names(tmp_path, monkeypatch, old, new, changes):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for n, text in enumerate((STAGES_FILE, STAGES_FILE.replace(old, new))):
        (tmp_path / f"toy_stages_{n}.py").write_text(text)
        found.append(importlib.import_module(f"toy_stages_{n}").stage["collect"].code_digest())
        sys.modules.pop(f"toy_stages_{n}")
    assert (found[0] != found[1]) == changes


def test_a_declaration_that_cannot_be_is_refused_where_it_stands():
    stage = toy()
    with pytest.raises(ValueError, match="name of another stage"):
        stage("items")(stage["tune"].run)
    with pytest.raises(ValueError, match="'seeds', which comes by itself"):

        @stage("items")
        def other(job: Job, seeds: int) -> None:
            """Other."""

    @stage("itemz")
    def wrong(job: Job) -> None:
        """Wrong."""

    with pytest.raises(GalleyError, match=r"stage wrong of toy reads plan\.itemz; the plan has data_seed, items"):
        stage["wrong"].job(plan(), scale="smoke", out=Path("out"))


def test_marks_are_seen_on_optional_numbers_and_effort_reaches_lists_and_mappings():
    class Part(Strict):
        steps: TimesEffort | None = None

    class Whole(ToyPlan):
        one: Part = Part(steps=2)
        many: list[Part] = Field(default=[Part(steps=3), Part()])
        named: dict[str, Part] = Field(default={"a": Part(steps=5)})

    more = grown(Whole(), 4)
    assert (more.one.steps, [part.steps for part in more.many], more.named["a"].steps) == (8, [12, None], 20)
