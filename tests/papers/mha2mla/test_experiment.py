import json
from pathlib import Path

import pytest
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.models.scratch import train_tokenizer
from galley.papers.mha2mla import experiment, fine_tune
from galley.papers.mha2mla.fine_tune import Tuning
from galley.papers.mha2mla.plan import read_plan
from galley.train.loop import TrainConfig, train
from galley.train.packing import pack

TEXTS = [f"Line {i}: the quick brown fox number {i * i} jumps over {i + 3} lazy dogs near the river.\n" * 12 for i in range(40)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A base model, a corpus and a plan of two arms, small enough for seconds."""
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
    plan = read_plan(Path("recipes/mha2mla/recipe.yaml"), "smoke", seeds=1)
    plan = plan.model_copy(
        update={
            "arms": [a for a in plan.arms if a.name in ("2-norm+joint-16", "base_ft-0", "nope-0")],
            "training": plan.training.model_copy(update={"steps": 4, "batch_size": 2, "seq_len": 32, "eval_every": 2}),
            "heldout": plan.heldout.model_copy(update={"windows": 4, "window_tokens": 48, "curve_windows": 2}),
            "calibration": plan.calibration.model_copy(update={"sequences": 4, "seq_len": 32}),
        }
    )
    out = root / "out"
    common = {"base": root / "base", "corpus": root / "corpus", "out": out, "plan": plan, "model_name": "scratch-600k"}
    experiment.calibrate_base(**common)
    return {**common, "scale": "smoke"}, plan.arms


def frames(result):
    items, _ = result
    return [frame.drop(columns="run_id").reset_index(drop=True) for frame in items]


def test_finished_arms_are_kept_until_the_method_changes(ground, monkeypatch):
    common, arms = ground
    first = experiment.adapt_arms(arms, **common)
    made = []
    original = experiment.fine_tune

    def counted(*args, **kwargs):
        made.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(experiment, "fine_tune", counted)
    again = experiment.adapt_arms(arms, **common)
    assert not made
    assert all(a.equals(b) for a, b in zip(first[0], again[0], strict=True)) and first[1] == again[1]
    monkeypatch.setattr(experiment, "code_digest", lambda module: "another method")
    changed = experiment.adapt_arms(arms, **common)
    assert len(made) == sum(arm.train for arm in arms)
    assert all(a.equals(b) for a, b in zip(frames(first), frames(changed), strict=True))


def test_rows_of_an_arm(ground):
    common, arms = ground
    items, runs = experiment.adapt_arms(arms, **common)
    joint = next(frame for frame in items if (frame["method"] == "2-norm+joint").all())
    assert set(joint["setting"]) == {f"d_kv=16,{point}" for point in ("start", "final", "step=0", "step=2", "step=4")}
    assert {"bits_per_byte", "kl_to_original", "recovered_fraction"} <= set(joint["metric"])
    base = next(frame for frame in items if (frame["method"] == "base_ft").all())
    start = base[(base["setting"] == "start") & (base["metric"] == "kl_to_original")]
    assert (start["score"].abs() < 1e-6).all()  # before training it is the original
    assert all(run["tokens"] == (4 * 2 * 32 if run["method"] != "nope" else 0) for run in runs)


def test_distillation_before_the_fine_tuning_changes_the_arm(ground):
    common, arms = ground
    training = common["plan"].training.model_copy(update={"distill_steps": 3})
    plan = common["plan"].model_copy(update={"training": training})
    one = [arm for arm in arms if arm.convert and arm.train]
    plain, distilled = (experiment.adapt_arms(one, **{**common, "plan": p})[0][0] for p in (common["plan"], plan))
    final = [f[(f["setting"] == "d_kv=16,final") & (f["metric"] == "bits_per_byte")]["score"].to_numpy() for f in (plain, distilled)]
    assert (final[0] != final[1]).any()


def test_arms_tuned_in_two_processes_give_the_same_rows(ground, monkeypatch):
    common, arms = ground
    one = [arm for arm in arms if arm.convert and arm.train]
    alone = experiment.adapt_arms(one, **common)
    training = common["plan"].training.model_copy(update={"batch_size": 1})
    model = common["plan"].models["scratch-600k"].model_copy(update={"tokens_per_step": 64})
    plan = common["plan"].model_copy(update={"training": training, "models": {"scratch-600k": model}})
    monkeypatch.setattr(experiment, "Tuning", lambda *args: Tuning(*args[:-1], 2))
    shared = experiment.adapt_arms(one, **{**common, "plan": plan})
    a, b = frames(alone)[0], frames(shared)[0]
    assert a.drop(columns="score").equals(b.drop(columns="score"))
    assert (a["score"] - b["score"]).abs().max() < 1e-3  # the two halves of a batch are added in another order
    assert shared[1][0]["tokens"] == alone[1][0]["tokens"]
    state = next((common["out"] / "state").glob("*/2-norm+joint-16-0/job.json")).parent
    assert sorted(path.name for path in state.iterdir()) == ["items.parquet", "job.json", "run.json"]
    with pytest.raises(GalleyError, match=r"tokens_per_step is 64.*2 processes x batch_size 2 x seq_len 32"):
        bad = plan.model_copy(update={"training": training.model_copy(update={"batch_size": 2})})
        experiment.adapt_arms(one, **{**common, "plan": bad})


def test_text_beyond_memory_is_mapped_from_one_file(ground, monkeypatch):
    common, arms = ground
    monkeypatch.setattr(fine_tune, "MEMORY_TOKENS", 0)
    items, runs = experiment.adapt_arms([arm for arm in arms if arm.train], **{**common, "out": _out(common)})
    assert len(items) == 2 and len(list((_out(common) / "state").glob("packed-32-256.bin"))) == 1
    assert all(run["tokens"] == 256 for run in runs)


def _out(common):
    out = common["out"].parent / "mapped"
    out.mkdir(exist_ok=True)
    if not (out / "norms.safetensors").exists():
        (out / "norms.safetensors").write_bytes((common["out"] / "norms.safetensors").read_bytes())
    return out
