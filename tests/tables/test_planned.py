"""A table is made of all that its plan's jobs leave: a shard that is missing, left over or of another plan is named, not left out."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.plan import read_plan_of
from galley.stage import stages_of
from galley.tables.items import scored
from galley.tables.ledger import leave
from galley.tables.planned import check_jobs

ROOT = Path(__file__).parents[2]
STAGES = stages_of("case2code")


@pytest.fixture(scope="module")
def plan():
    """A plan with a job of each kind: alone, by shard, by model and shard."""
    small = read_plan_of("case2code", "laptop", folder=ROOT / "recipes").model_copy(update={"shards": 2})
    assert len(small.models) == 1
    return small


def made(folder, plan):
    """Every job's files, by a plan, as the ledger writes them."""
    found = {}
    for stage in STAGES.values():
        models = list(plan.models) if "model" in stage.each else ["none"]
        for model, shard in itertools.product(models, range(plan.shards) if "shard" in stage.each else [None]):
            job = stage.job(plan, scale="laptop", out=folder / model, model=model, shard=shard)
            leave(job, [scored(job.leaf.replace("/", "-"), "b", "acc", 1.0)], backend="none")
            found[job.leaf] = (job.out / f"{job.name}.items.parquet", job.out / f"{job.name}.runs.csv")
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory, plan):
    return made(tmp_path_factory.mktemp("made"), plan)


def check(plan, files, *, runs=None):
    items, both = [pair[0] for pair in files.values()], [pair[1] for pair in files.values()]
    check_jobs(STAGES.planned(plan), items=items, runs=runs or both, recipe="case2code", scale="laptop")


def test_what_the_plan_s_jobs_leave_is_whole_whatever_the_files_are_called(plan, files, tmp_path):
    check(plan, files)
    elsewhere = {}
    for number, (leaf, pair) in enumerate(files.items()):
        elsewhere[leaf] = tuple(tmp_path / f"{number}{path.suffix}" for path in pair)
        for path, other in zip(pair, elsewhere[leaf], strict=True):
            other.write_bytes(path.read_bytes())
    check(plan, elsewhere)


def test_any_job_that_is_missing_is_named(plan, files):
    assert set(files) == set(STAGES.leaves(plan)) and len(files) == 6
    for leaf in files:
        rest = {name: pair for name, pair in files.items() if name != leaf}
        said = rf"case2code at laptop scale lacks the runs of {leaf}, of 6 jobs of its plan; .* `galley run case2code --scale laptop`"
        with pytest.raises(GalleyError, match=said):
            check(plan, rest)
        with pytest.raises(GalleyError, match=f"lacks the items of {leaf}, of 6 jobs"):
            check(plan, rest, runs=[pair[1] for pair in files.values()])


def test_what_another_plan_left_is_named(plan, files, tmp_path):
    more = made(tmp_path / "more", plan)
    fewer = plan.model_copy(update={"shards": 1})
    with pytest.raises(GalleyError, match=r"its plan has no .*sequences-1, .*left by another plan; do not name its files"):
        check(fewer, more)
    with pytest.raises(GalleyError, match=r"not made by its plan: sequences-0, sequences-1, \S*tune-0 and 1 more \(other seeds, effort"):
        check(plan.model_copy(update={"seeds": plan.seeds + 1}), files)
    one = made(tmp_path / "seeds", plan.model_copy(update={"seeds": plan.seeds + 1}))
    with pytest.raises(GalleyError, match=r"scale: not made by its plan: sequences-1 \(other"):
        check(plan, files | {"sequences-1": one["sequences-1"]})


def test_the_command_refuses_a_table_without_one_shard_and_leaves_nothing(plan, files, tmp_path):
    rest = [pair for name, pair in files.items() if name != "sequences-1"]
    words = ["--items", *(str(pair[0]) for pair in rest), "--runs", *(str(pair[1]) for pair in rest), "--results", str(tmp_path / "out")]
    command = [sys.executable, "-m", "galley.cli", "table", "case2code", "--scale", "laptop", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "sequences-1" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()
