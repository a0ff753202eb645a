"""What a job leaves, and that its finished units survive: killed at any point it ends in the same rows."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.plan import Plan
from galley.stage import Job, Stages
from galley.tables import ledger as ledger_module
from galley.tables.ledger import Ledger, leave
from galley.tables.machine import made_with
from galley.tables.rows import read_runs


def job_of(out, **more):
    stage = Stages("toy")

    @stage("seeds", "data_seed", each=("shard",))
    def tune(job: Job) -> None:
        """Tune."""

    return stage["tune"].job(Plan(shards=2, **more), scale="smoke", out=out, shard=0)


def row(item="a", score=1.0, **more):
    return {"benchmark": "B", "metric": "accuracy", "item_id": item, "score": score, **more}


def test_a_job_of_one_piece_leaves_its_rows_and_one_run(tmp_path):
    job = job_of(tmp_path)
    leave(job, [row(method="x"), row(method="y", model="m", seed=3)], backend="torch", device="cpu", tokens=7)
    items = pd.read_parquet(tmp_path / "tune-0.items.parquet")
    assert items[["model", "method", "seed"]].values.tolist() == [["m", "y", 3], ["none", "x", 0]]
    (run,) = pd.read_csv(tmp_path / "tune-0.runs.csv", keep_default_na=False).to_dict("records")
    assert (run["paper"], run["stage"], run["unit"], run["tokens"]) == ("toy", "tune", "tune-0", 7)
    assert set(items["run_id"]) == {run["run_id"]} and run["wall_s"] >= 0


def units(ledger, done, *, seeds, stop=None):
    for seed in range(seeds):

        def work(folder: Path, seed=seed):
            done.append(seed)
            if seed == stop:
                os.kill(os.getpid(), signal.SIGKILL)
            folder.mkdir(parents=True)
            (folder / "half").write_text("state")
            return [row(score=seed / 10)], {"tokens": seed}

        ledger.unit(f"arm:x-{seed}", work, method="arm:x", seed=seed)
    ledger.write()


def test_finished_units_outlive_kill_9_and_more_seeds_add_only_themselves(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    units(Ledger(job_of(whole), backend="torch"), [], seeds=4)
    child = os.fork()
    if child == 0:
        units(Ledger(job_of(killed), backend="torch"), [], seeds=3, stop=2)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    done: list[int] = []
    units(Ledger(job_of(killed), backend="torch"), done, seeds=3)
    units(Ledger(job_of(killed, seeds=4), backend="torch"), done, seeds=4)
    assert done == [2, 3]
    name = "tune-0.items.parquet"
    assert (whole / name).read_bytes() == (killed / name).read_bytes()
    runs = pd.read_csv(killed / "tune-0.runs.csv")
    assert runs["unit"].tolist() == [f"arm:x-{n}" for n in range(4)] and runs["tokens"].tolist() == [0, 1, 2, 3]
    assert runs["run_id"].is_unique and not list(killed.rglob("half"))


def test_a_run_says_with_what_it_was_made_and_a_kept_unit_with_what_it_was(tmp_path, monkeypatch):
    def at(commit, seeds):
        monkeypatch.setattr(ledger_module, "made_with", lambda: made_with() | {"commit": commit})
        units(Ledger(job_of(tmp_path, seeds=seeds), backend="torch"), [], seeds=seeds)
        return read_runs([tmp_path / "tune-0.runs.csv"])

    runs = at("1234567890", 2)  # a commit that looks like a number
    assert runs["commit"].tolist() == ["1234567890"] * 2 and set(runs["python"]) == {made_with()["python"]}
    assert at("12e34567890", 3)["commit"].tolist() == ["1234567890", "1234567890", "12e34567890"]


@pytest.mark.parametrize("change", ["data_seed", "inputs", "device", "given"])
def test_what_decides_a_unit_makes_it_again(tmp_path, change):
    data = tmp_path / "data.jsonl"
    data.write_text("one")
    done = []

    def run(*, device="cpu", given=None, **plan):
        ledger = Ledger(job_of(tmp_path, **plan), backend="torch", device=device, inputs={"data": data})
        ledger.unit("arm", lambda folder: (done.append(1), ([row()], {}))[1], method="arm", given=given)
        ledger.write()
        return ledger.runs[0]["run_id"]

    first = run()
    assert run() == first and len(done) == 1
    if change == "inputs":
        data.write_text("two")
    assert run(**{"data_seed": {"data_seed": 1}, "device": {"device": "cuda"}, "given": {"given": ["x"]}, "inputs": {}}[change]) != first
    assert len(done) == 2


def test_a_unit_whose_other_file_is_gone_is_made_again(tmp_path):
    model, done = tmp_path / "model", []

    def work(folder):
        done.append(1)
        model.write_text("weights")
        return [row()], {}

    for _ in range(2):
        Ledger(job_of(tmp_path), backend="torch").unit("arm", work, needs=model)
    assert len(done) == 1
    model.unlink()
    Ledger(job_of(tmp_path), backend="torch").unit("arm", work, needs=model)
    assert len(done) == 2


def test_units_whose_names_read_alike_are_two_and_odd_names_stay_in_the_folder(tmp_path):
    ledger = Ledger(job_of(tmp_path), backend="torch")
    names = ["lr:0.1", "lr/0.1", "..", "", "x" * 300, "a b"]
    for n, name in enumerate(names):
        ledger.unit(name, lambda folder, n=n: ([row(item=f"i{n}", score=n)], {}), method="arm")
    ledger.write()
    items = pd.read_parquet(tmp_path / "tune-0.items.parquet")
    assert sorted(items["score"]) == list(range(len(names))) and items["run_id"].nunique() == len(names)
    assert {path.parent for path in tmp_path.rglob("*.json")} == {ledger.state}


@pytest.mark.parametrize("record", ["", "{", "[1]"])
def test_a_record_that_the_machine_lost_half_way_makes_the_unit_again(tmp_path, record):
    done = []

    def run():
        Ledger(job_of(tmp_path), backend="torch").unit("arm", lambda folder: (done.append(1), ([row()], {}))[1])

    run()
    (facts,) = tmp_path.rglob("*.json")
    facts.write_text(record)
    run()
    assert len(done) == 2


def test_a_folder_that_a_kill_left_behind_a_finished_unit_goes(tmp_path):
    ledger = Ledger(job_of(tmp_path), backend="torch")
    for _ in range(2):
        ledger.unit("arm", lambda folder: ([row()], {}))
        (folder,) = (path.with_suffix("") for path in tmp_path.rglob("*.json"))
        folder.mkdir(exist_ok=True)
    Ledger(job_of(tmp_path), backend="torch").unit("arm", lambda folder: ([row()], {}))
    assert not folder.exists()


def test_a_shard_without_work_says_what_to_do(tmp_path):
    with pytest.raises(GalleyError, match=r"no work.*2 shards; lower `shards` in recipes/toy"):
        Ledger(job_of(tmp_path), backend="torch").write()


@pytest.mark.parametrize("kept", [b"", b"PAR1", b"PAR1 half of it PAR1"])
def test_rows_that_the_machine_lost_half_way_make_the_unit_and_the_piece_again(tmp_path, kept):
    done = []

    def score(piece):
        done.append(piece)
        return [row(item=piece)]

    def run():
        ledger = Ledger(job_of(tmp_path), backend="torch")
        rows = ledger.each("items", ["a", "b"], score, name=str)
        ledger.unit("arm", lambda folder: (done.append("arm"), ([row(item="c")], {}))[1], method="arm")
        ledger.add(rows, {}, name="pieces", method="arm")
        ledger.write()

    run()
    whole = (tmp_path / "tune-0.items.parquet").read_bytes()
    for path in (tmp_path / "state").rglob("*.parquet"):
        path.write_bytes(kept)
    run()
    assert sorted(done) == ["a", "a", "arm", "arm", "b", "b"] and (tmp_path / "tune-0.items.parquet").read_bytes() == whole


def test_what_some_rows_leave_out_has_its_default_and_what_is_none_is_refused(tmp_path):
    def write(*rows, through, where=""):
        out = tmp_path / f"{through}{where}"
        ledger = Ledger(job_of(out), backend="torch")
        if through == "each":
            ledger.add(ledger.each("all", [0], lambda piece: rows, name=str), {}, name="arm", method="arm", seed=3)
        else:
            ledger.unit("arm", lambda folder: (rows, {}), method="arm", seed=3)
        ledger.write()
        return pd.read_parquet(out / "tune-0.items.parquet").set_index("item_id")

    for through in ("each", "unit"):
        found = write(row("a"), row("b", weight=2.0, setting="k=1"), through=through)
        assert found["weight"].tolist() == [1.0, 2.0] and found["setting"].tolist() == ["", "k=1"] and set(found["seed"]) == {3}
        for column, value in {"weight": float("nan"), "score": float("inf"), "method": None, "setting": None}.items():
            with pytest.raises(GalleyError, match=rf"tune-0\.items\.parquet: column '{column}', row [12] "):
                write(row("a"), row("x", **{column: value}), through=through, where=column)


def test_a_job_whose_units_have_no_rows_is_refused(tmp_path):
    ledger = Ledger(job_of(tmp_path), backend="torch")
    ledger.unit("arm", lambda folder: ([], {}), method="arm")
    with pytest.raises(GalleyError, match=r"tune-0\.items\.parquet: there are no rows"):
        ledger.write()
