import pandas as pd
import pytest

from galley.papers.codeseq import induce
from galley.papers.codeseq.stages import stage
from galley.plan import read_plan_of
from galley.tables.items import scored

ORDER = ["method", "setting", "seed", "benchmark", "item_id"]


def run(out, *, seeds=1, shards=2, **induction):
    """Run every shard; return all rows in one order, and the runs."""
    plan = read_plan_of("codeseq", "smoke", seeds=seeds)
    plan = plan.model_copy(update={"shards": shards, "induction": plan.induction.model_copy(update=induction)})
    for shard in range(shards):
        induce.run_induce(stage["induce"].job(plan, scale="smoke", out=out, shard=shard))
    rows = pd.concat([pd.read_parquet(out / f"induce-{n}.items.parquet") for n in range(shards)])
    runs = pd.concat([pd.read_csv(out / f"induce-{n}.runs.csv") for n in range(shards)])
    return rows.sort_values(ORDER, ignore_index=True), runs


@pytest.fixture
def trained(monkeypatch):
    """The trainings that were begun, by a stand-in that trains nothing; the one at the place `stop` is interrupted."""

    class Trained(list):
        stop = None

    begun = Trained()

    def train(task, state, *, plan):
        begun.append((task.experiment, task.arm, task.seed))
        if len(begun) == begun.stop:
            raise KeyboardInterrupt
        score = plan.induction.steps + task.seed / 3
        return [scored(task.arm, task.experiment, "pass_rate", score, item_id=f"p{n}") for n in range(3)], {"tokens": 7}

    monkeypatch.setattr(induce, "train_task", train)
    return begun


def test_an_interrupted_shard_keeps_the_trainings_that_it_finished(tmp_path, trained):
    whole, runs = run(tmp_path / "whole")
    assert sorted(trained) == [("induction", "control:shuffled", 0), ("induction", "matched", 0), ("reflection", "with_cases", 0),
                               ("reflection", "without_cases", 0)]  # fmt: skip
    assert set(runs["stage"]) == {"induce"} and set(runs["tokens"]) == {7} and runs["run_id"].nunique() == 4
    assert set(runs["unit"]) == {"-".join(map(str, task)) for task in trained} and set(whole["model"]) == {"char-350k"}
    trained.clear()
    trained.stop = 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    trained.stop = None
    again, _ = run(tmp_path / "stopped")
    assert len(trained) == 5 and len(set(trained)) == 4  # only the interrupted one was begun twice
    pd.testing.assert_frame_equal(again, whole)


def test_more_seeds_and_other_shards_run_only_the_trainings_that_are_missing(tmp_path, trained):
    one, _ = run(tmp_path)
    trained.clear()
    three, _ = run(tmp_path, seeds=3)
    assert sorted(trained) == [(*arm, seed) for arm in (("induction", "matched"), ("reflection", "with_cases")) for seed in (1, 2)]
    pd.testing.assert_frame_equal(three[three["seed"] == 0].reset_index(drop=True), one)
    trained.clear()
    joined, _ = run(tmp_path, seeds=3, shards=1)
    pd.testing.assert_frame_equal(joined, three)
    assert not trained
    run(tmp_path, steps=3)
    assert len(trained) == 4  # other settings are other trainings
