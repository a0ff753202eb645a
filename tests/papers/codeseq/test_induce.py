import pandas as pd
import pytest

from galley.papers.codeseq import induce
from galley.papers.codeseq.stages import stage
from galley.plan import read_plan_of
from galley.synthesize.sequence_families import all_programs, split_programs
from galley.tables.items import scored

ARMS = [("induction", "matched"), ("induction", "control:shuffled"), ("induction", "control:in_family"), ("reflection", "with_cases"),
        ("reflection", "without_cases")]  # fmt: skip
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
    assert sorted(trained) == sorted((*arm, 0) for arm in ARMS)
    assert set(runs["stage"]) == {"induce"} and set(runs["tokens"]) == {7} and runs["run_id"].nunique() == 5
    assert set(runs["unit"]) == {"-".join(map(str, task)) for task in trained} and set(whole["model"]) == {"char-350k"}
    trained.clear()
    trained.stop = 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    trained.stop = None
    again, _ = run(tmp_path / "stopped")
    assert len(trained) == 6 and len(set(trained)) == 5  # only the interrupted one was begun twice
    pd.testing.assert_frame_equal(again, whole)


def test_more_seeds_and_other_shards_run_only_the_trainings_that_are_missing(tmp_path, trained):
    one, _ = run(tmp_path)
    trained.clear()
    three, _ = run(tmp_path, seeds=3)
    assert sorted(trained) == sorted((*arm, seed) for arm in ARMS for seed in (1, 2))
    pd.testing.assert_frame_equal(three[three["seed"] == 0].reset_index(drop=True), one)
    trained.clear()
    joined, _ = run(tmp_path, seeds=3, shards=1)
    pd.testing.assert_frame_equal(joined, three)
    assert not trained
    run(tmp_path, steps=3)
    assert len(trained) == 5  # other settings are other trainings


def test_controls_learn_the_values_of_others_and_one_of_them_only_of_its_family():
    programs = split_programs(all_programs(), held_out=60, family="triangular", seed=0).train
    own = {p.expression: p for p in programs}
    assert induce.learnt_programs("matched", programs, seed=0) == list(programs)
    for arm, within in (("control:shuffled", False), ("control:in_family", True)):
        learnt = induce.learnt_programs(arm, programs, seed=0)
        assert sorted(p.expression for p in learnt) == sorted(own)
        assert sorted(p.values for p in learnt) == sorted(p.values for p in programs)
        moved = [p for p in learnt if p.values != own[p.expression].values]
        assert len(moved) > 0.95 * len(programs)  # some of a family have equal values
        families = {p.values: p.family for p in programs}
        assert all(families[p.values] == p.family for p in learnt) == within


def test_rows_of_a_training_say_that_another_run_would_give_others(tmp_path):
    plan = read_plan_of("codeseq", "smoke", seeds=1)
    plan = plan.model_copy(update={"induction": plan.induction.model_copy(update={"steps": 1, "answer_tokens": 20, "held_out": 4})})
    rows, _ = induce.train_task(induce.Task("induction", "control:in_family", 0), tmp_path, plan=plan)
    assert rows and all(row["trained"] for row in rows)
