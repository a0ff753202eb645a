import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import forked_launch
import pandas as pd
import pytest
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.models.scratch import train_tokenizer
from galley.papers.mha2mla import arms, benchmark, experiment, fine_tune
from galley.papers.mha2mla.calibration import calibrate, save_norms
from galley.papers.mha2mla.fine_tune import Tuning
from galley.plan import read_plan_of
from galley.stage import stages_of
from galley.tables.ledger import Ledger
from galley.train import launch
from galley.train.loop import TrainConfig, train
from galley.train.packing import pack

TEXTS = [f"Line {i}: the quick brown fox number {i * i} jumps over {i + 3} lazy dogs near the river.\n" * 12 for i in range(40)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A base model, a corpus and their norms, and a plan of three arms, small enough for seconds."""
    root = tmp_path_factory.mktemp("ground")
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    model = tiny_llama(vocab=len(tokenizer), d_h=16)
    data = pack(TEXTS[:20], tokenizer, seq_len=32, seed=0, max_tokens=4000)
    train(model, data, TrainConfig(steps=60, batch_size=8, seq_len=32, lr=3e-3))  # there must be something to lose
    model.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    (root / "corpus").mkdir()
    for split, part in {"train": TEXTS[:20], "calibration": TEXTS[20:30], "heldout": TEXTS[30:]}.items():
        rows = [json.dumps({"id": f"t/{split}{i}", "text": text, "source": "t"}) for i, text in enumerate(part)]
        (root / "corpus" / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    plan = read_plan_of("mha2mla", "smoke", seeds=1)
    plan = plan.model_copy(
        update={
            "arms": [a for a in plan.arms if a.name in ("2-norm+joint-16", "base_ft-0", "control:swapped_halves-16")],
            "training": plan.training.model_copy(update={"steps": 4, "batch_size": 2, "seq_len": 32, "eval_every": 2}),
            "heldout": plan.heldout.model_copy(update={"windows": 4, "window_tokens": 48, "curve_windows": 2}),
            "calibration": plan.calibration.model_copy(update={"sequences": 4, "seq_len": 32}),
            "shards": 1,
        }
    )
    given = {"base": root / "base", "corpus": root / "corpus", "norms": root / "norms.safetensors"}
    save_norms(calibrate(model, base=given["base"], corpus=given["corpus"], plan=plan), given["norms"])
    return given, plan, root / "out"


@pytest.fixture
def made(monkeypatch):
    """The arms and seeds whose fine-tuning began."""
    names = []
    original = experiment.fine_tune

    def counted(*args, **kwargs):
        names.append(kwargs["folder"].name)
        return original(*args, **kwargs)

    monkeypatch.setattr(experiment, "fine_tune", counted)
    return names


PAPER = Path(__file__).parents[3] / "recipes/mha2mla/paper_values.csv"


def job_of(plan, out):
    return stages_of("mha2mla")["arms"].job(plan, scale="smoke", out=out, model="scratch-600k", shard=0)


def adapted(given, job):
    """The ledger of a job's arms, adapted or found."""
    ledger = Ledger(job, backend="torch", inputs=given)
    experiment.adapt_arms(ledger, job.mine(job.plan.arms), **given)
    return ledger


def only(plan, chosen):
    return plan.model_copy(update={"arms": [arm for arm in plan.arms if chosen(arm)]})


def same(a, b):
    """Whether two lists of frames are equal but for the runs' ids."""
    return all(x.drop(columns="run_id").equals(y.drop(columns="run_id")) for x, y in zip(a, b, strict=True))


def test_finished_arms_are_kept_until_the_method_changes(ground, made):
    given, plan, out = ground
    first = adapted(given, job_of(plan, out))
    del made[:]
    again = adapted(given, job_of(plan, out))
    assert not made
    assert all(a.equals(b) for a, b in zip(first.frames, again.frames, strict=True)) and first.runs == again.runs
    changed = adapted(given, dataclasses.replace(job_of(plan, out), key="another method"))
    assert len(made) == sum(arm.train for arm in plan.arms)
    assert same(first.frames, changed.frames) and all(a["run_id"] != b["run_id"] for a, b in zip(first.runs, changed.runs, strict=True))


def named(folders):
    """The units' names: a folder ends in a digest."""
    return [name.rpartition("-")[0] for name in folders]


def test_an_interrupted_shard_keeps_its_finished_arms_and_its_checkpoints(ground, made, monkeypatch, tmp_path):
    given, plan, out = ground
    whole = adapted(given, job_of(plan, out))
    counted = experiment.fine_tune

    class Killed(Exception):
        pass

    def killed(*args, **kwargs):
        if len(made) == 1:
            (kwargs["folder"] / "train").mkdir(parents=True)  # as its training would leave it
            raise Killed
        return counted(*args, **kwargs)

    del made[:]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(experiment, "fine_tune", killed)
        adapted(given, job_of(plan, tmp_path))
    state = tmp_path / "state" / whole.key
    kept = {path.name: path.stat().st_mtime_ns for path in state.glob("*.json")}
    (begun,) = (path for path in state.iterdir() if path.is_dir())
    assert kept and f"{begun.name}.json" not in kept
    resumed = adapted(given, job_of(plan, tmp_path))
    assert named(made) == [plan.arms[0].name + "-0", *named([begun.name])] and not begun.exists()
    assert {name: (state / name).stat().st_mtime_ns for name in kept} == kept
    assert same(whole.frames, resumed.frames)


def test_more_seeds_keep_the_finished_ones(ground, made):
    given, plan, out = ground
    one = adapted(given, job_of(plan, out))
    del made[:]
    two = adapted(given, job_of(plan.model_copy(update={"seeds": 2}), out))
    assert named(made) == [f"{arm.name}-1" for arm in plan.arms if arm.train]
    assert all(a.equals(b) for a, b in zip(one.frames, two.frames[: len(plan.arms)], strict=True))
    kept = [run | {"plan": one.runs[0]["plan"]} for run in two.runs[: len(plan.arms)]]  # its digest says which seeds the job was asked for
    assert one.runs == kept and one.runs[0]["plan"] != two.runs[0]["plan"]
    assert [run["seed"] for run in two.runs[len(plan.arms) :]] == [1, 1]


def test_a_benchmark_is_of_its_model_and_of_the_sources_that_are_there(ground, made, monkeypatch, tmp_path):
    given, plan, _ = ground
    plan = only(plan, lambda arm: arm.benchmark)
    seen = []

    def marked(arm, folder, *, model, sources, **rest):
        seen.append(model)
        return [{"benchmark": "b", "metric": "m", "score": 1.0, "method": arm.method, "setting": "final"}], {}

    monkeypatch.setattr(benchmark, "_benchmark", marked)
    sources, out = tmp_path / "sources", tmp_path / "out"

    def run():
        del made[:], seen[:]
        arms.run_arms(job_of(plan, out), **given, sources=sources, paper=PAPER, device="cpu")
        return len(made), len(seen)

    assert run() == (1, 1) and seen == [out / "arms/2-norm+joint-16-0"]
    rows = (out / "arms-0.items.parquet").read_bytes()
    assert run() == (0, 0) and (out / "arms-0.items.parquet").read_bytes() == rows
    (seen_model,) = (out / "arms/2-norm+joint-16-0").glob("made_by_*")
    seen_model.unlink()  # as if another plan or other code had made it
    assert run() == (1, 0) and (out / "arms-0.items.parquet").read_bytes() == rows  # the same bytes again
    (sources / "piqa_valid").mkdir(parents=True)
    (sources / "piqa_valid/source.json").write_text('{"status": "ok"}')
    assert run() == (0, 1)
    runs = pd.read_csv(out / "arms-0.runs.csv")
    assert runs["unit"].tolist() == ["2-norm+joint-16-0", "benchmark:2-norm+joint-16-0"] and (runs["stage"] == "arms").all()


def test_rows_of_an_arm(ground):
    given, plan, out = ground
    ledger = adapted(given, job_of(plan, out))
    joint = next(frame for frame in ledger.frames if (frame["method"] == "2-norm+joint").all())
    assert set(joint["setting"]) == {f"d_kv=16,{point}" for point in ("start", "final", "step=0", "step=2", "step=4")}
    assert {"bits_per_byte", "kl_to_original", "recovered_fraction", "bits_lost", "trained_tokens"} <= set(joint["metric"])
    untrained = joint["setting"].isin(["d_kv=16,start", "d_kv=16,step=0"])
    assert joint.loc[~untrained, "trained"].all() and not joint.loc[untrained, "trained"].any()
    assert joint.loc[joint["metric"] == "trained_tokens", "score"].tolist() == [4 * 2 * 32]
    lost = joint[joint["setting"] == "d_kv=16,final"].pivot(index="item_id", columns="metric", values="score").dropna(subset=["bits_lost"])
    base = next(frame for frame in ledger.frames if (frame["method"] == "base_ft").all())
    start = base[(base["setting"] == "start") & (base["metric"] == "kl_to_original")]
    assert (start["score"].abs() < 1e-6).all()  # before training it is the original
    original = base[(base["setting"] == "start") & (base["metric"] == "bits_per_byte")].set_index("item_id")["score"]
    assert (lost["bits_per_byte"] - lost["bits_lost"] - original).abs().max() < 1e-6
    assert all(run["tokens"] == (4 * 2 * 32 if run["method"] != "control:swapped_halves" else 0) for run in ledger.runs)


def test_distillation_before_the_fine_tuning_changes_the_arm(ground):
    given, plan, out = ground
    plan = only(plan, lambda arm: arm.convert and arm.train)
    longer = plan.model_copy(update={"training": plan.training.model_copy(update={"distill_steps": 3})})
    plain, distilled = (adapted(given, job_of(p, out)).frames[0] for p in (plan, longer))
    final = [f[(f["setting"] == "d_kv=16,final") & (f["metric"] == "bits_per_byte")]["score"].to_numpy() for f in (plain, distilled)]
    assert (final[0] != final[1]).any()


def test_arms_tuned_in_two_processes_give_the_same_rows(ground, monkeypatch):
    given, plan, out = ground
    plan = only(plan, lambda arm: arm.convert and arm.train)
    alone = adapted(given, job_of(plan, out))
    model = plan.models["scratch-600k"].model_copy(update={"tokens_per_step": 64})
    wide = plan.model_copy(update={"models": {"scratch-600k": model}})
    halves = wide.model_copy(update={"training": plan.training.model_copy(update={"batch_size": 1})})
    monkeypatch.setattr(experiment, "Tuning", lambda *args: Tuning(*args[:-1], 2))
    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(run=forked_launch.run))  # the launcher itself: tests/train/test_launch.py
    shared = adapted(given, job_of(halves, out))
    a, b = (ledger.frames[0].drop(columns="run_id") for ledger in (alone, shared))
    assert a.drop(columns="score").equals(b.drop(columns="score"))
    assert (a["score"] - b["score"]).abs().max() < 1e-3  # the two halves of a batch are added in another order
    assert shared.runs[0]["tokens"] == alone.runs[0]["tokens"]
    assert sorted(path.suffix for path in shared.state.iterdir()) == [".json", ".parquet"]  # nothing that the launch wrote
    with pytest.raises(GalleyError, match=r"tokens_per_step is 64.*2 processes x batch_size 2 x seq_len 32"):
        adapted(given, job_of(wide, out))


def test_text_beyond_memory_is_mapped_from_one_file(ground, monkeypatch, tmp_path):
    given, plan, _ = ground
    monkeypatch.setattr(fine_tune, "MEMORY_TOKENS", 0)
    ledger = adapted(given, job_of(only(plan, lambda arm: arm.train), tmp_path))
    assert len(ledger.frames) == 2 and len(list(tmp_path.glob("state/*/packed-32-256.bin"))) == 1
    assert all(run["tokens"] == 256 for run in ledger.runs)


def test_a_drawn_basis_is_another_in_each_run_and_its_rows_say_so(ground, tmp_path):
    given, plan, _ = ground
    arm = experiment.Arm(method="control:random_basis", strategy="2-norm", d_kv=16, svd="random", train=False)
    ledger = adapted(given, job_of(plan.model_copy(update={"arms": [arm], "seeds": 2}), tmp_path))
    first, second = (f[f["metric"] == "bits_per_byte"] for f in ledger.frames)
    assert set(first["setting"]) == {"d_kv=16,start"} and first["trained"].all() and second["trained"].all()
    assert (first["score"].to_numpy() != second["score"].to_numpy()).all()


def test_a_model_that_is_not_fine_tuned_has_no_final_rows(ground, tmp_path):
    given, plan, _ = ground
    plan = plan.model_copy(update={"training": plan.training.model_copy(update={"models": ["another"]})})
    arms.run_arms(
        job_of(only(plan, lambda arm: not arm.benchmark or arm.convert), tmp_path), **given, sources=tmp_path, paper=PAPER, device="cpu"
    )
    rows = pd.read_parquet(tmp_path / "arms-0.items.parquet")
    assert (
        set(rows["method"]) == {"2-norm+joint", "control:swapped_halves"}
        and rows["setting"].str.endswith("start").all()
        and not rows["trained"].any()
    )


def test_a_task_s_items_share_its_weight_in_the_printed_mean():
    rows = pd.DataFrame(
        {"benchmark": ["a", "a", "a", "b"], "item_id": ["0", "1", "2", "0"], "score": [1.0, 0, 0, 1], "weight": 1.0, "status": "ok"}
    )
    mean = benchmark.task_average(rows.assign(reason=""), benchmark="avg")
    assert (mean["score"] * mean["weight"]).sum() == pytest.approx((1 / 3 + 1) / 2) and mean["weight"].sum() == pytest.approx(1)
    assert mean["item_id"].is_unique and set(mean["benchmark"]) == {"avg"}
    gap = benchmark.minus_printed(mean.assign(setting="final"), {("final", "avg"): 0.5, ("other", "avg"): 0.1})
    assert len(gap) == 1 and (gap[0]["score"] * gap[0]["weight"]).sum() == pytest.approx(100 * (2 / 3 - 0.5))
    lacking = benchmark.task_average(rows.assign(reason="", status=["ok", "ok", "ok", "not_run"]), benchmark="avg")
    assert lacking["status"].tolist() == ["not_run"] and "without b" in lacking["reason"].iloc[0]
