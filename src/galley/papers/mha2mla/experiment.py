"""The adaptation experiment: convert each arm, fine-tune it on the same tokens, score held-out text.

arXiv:2502.14837, sections 2.1, 2.2 and 4.2 (the ablations of Tables 3 and 5), with recovered
fraction and bits per byte in the place of accuracy: at 135M parameters those carry signal.

Deviations. Every arm of a seed sees the same batches in the same order (paired). A base-FT arm
fine-tunes the unconverted model alike, so that a shift of data is not counted as conversion loss.
d_kv labels are those of d_h = 64 and scale with the model's own d_h, so that the kept fraction of
the cache is the paper's at every scale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from galley.artifact import GalleyError, Stopwatch, digest, write_json
from galley.evaluate.likelihood import Windows, heldout_windows, score_windows
from galley.models.loading import load_model, load_tokenizer
from galley.papers.mha2mla.base import spec_of
from galley.papers.mha2mla.calibration import load_norms, pair_norms, pair_scores, save_norms
from galley.papers.mha2mla.convert import convert_mla
from galley.papers.mha2mla.plan import Arm, Model, Plan
from galley.tables.rows import write_items, write_runs
from galley.train.loop import TrainConfig, train
from galley.train.packing import pack

LABEL_D_H = 64  # the head size that the recipe's d_kv labels refer to (SmolLM)


def read_split(corpus: Path, split: str) -> list[dict[str, str]]:
    """Return a corpus split's documents."""
    path = corpus / f"{split}.jsonl"
    if not path.exists():
        raise GalleyError(f"no {split} split at {path}; run `galley prepare-corpus {corpus}`")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def calibrate_base(*, base: Path, corpus: Path, out: Path, plan: Plan, model_name: str) -> None:
    """Write norms.safetensors: mean norm of every rotary pair over calibration text."""
    spec_of(plan, model_name)
    tokenizer = load_tokenizer(base)
    texts = [doc["text"] for doc in read_split(corpus, "calibration")]
    settings = plan.calibration
    data = pack(texts, tokenizer, seq_len=settings.seq_len, seed=plan.data_seed)[: settings.sequences]
    if len(data) < settings.sequences:
        raise GalleyError(
            f"calibration.sequences is {settings.sequences}, but the calibration split holds only {len(data)} "
            f"sequences of {settings.seq_len} tokens; lower it or raise corpus.max_bytes"
        )
    model = load_model(base, dtype=torch.float32)
    norms = pair_norms(model, data.split(4), progress=True)
    save_norms(norms, out / "norms.safetensors")


def convert_arm(original: PreTrainedModel, arm: Arm, *, plan: Plan, scores: torch.Tensor) -> PreTrainedModel:
    """Return the arm's model at step 0; the original itself (a copy) for arms that are not converted."""
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not arm.convert:
        copy = type(original)(config).to(original.dtype)
        copy.load_state_dict(original.state_dict())
        return copy
    r = {"all": d_h // 2, "none": 0}.get(arm.strategy, max(1, round(plan.rope_fraction * d_h)))
    strategy = arm.strategy if arm.strategy not in ("all", "none") else "high"
    d_kv = arm.d_kv * d_h // LABEL_D_H if arm.d_kv else None
    svd = "joint" if arm.svd == "random" else arm.svd
    model = convert_mla(original, strategy=strategy, r=r, d_kv=d_kv, svd=svd, scores=scores)
    if arm.svd == "random":
        _randomise_basis(model)
    return model


def _randomise_basis(model: PreTrainedModel) -> None:
    """Replace every latent basis by a random orthonormal one: the control that an SVD must beat."""
    generator = torch.Generator().manual_seed(0)
    for layer in model.model.layers:
        attention = layer.self_attn
        down = attention.kv_down.weight
        # W ~ up @ down; with a random orthonormal V the best up is W V^T, of which up @ down @ V^T is the seen part.
        basis = torch.linalg.qr(torch.randn(down.shape[1], down.shape[0], generator=generator))[0].T
        seen = down.float() @ basis.T
        with torch.no_grad():
            for up in (attention.k_up, attention.v_up):
                up.weight.copy_((up.weight.float() @ seen).to(up.weight.dtype))
            down.copy_(basis.to(down.dtype))


def adapt_shard(*, base: Path, corpus: Path, out: Path, plan: Plan, model_name: str, scale: str, shard: int) -> None:
    """Write adapt-<shard>.items.parquet and .runs.csv; finished arms are reused after an interruption."""
    if shard >= plan.shards:
        raise GalleyError(f"shard is {shard}; this scale has shards 0 to {plan.shards - 1}")
    spec = spec_of(plan, model_name)
    tokenizer = load_tokenizer(base)
    original = load_model(base, dtype=getattr(torch, spec.dtype))
    scores = pair_scores(load_norms(out / "norms.safetensors"))
    heldout = heldout_windows(
        read_split(corpus, "heldout"),
        tokenizer,
        n_windows=plan.heldout.windows,
        window_tokens=plan.heldout.window_tokens,
        seed=plan.data_seed,
    )
    train_texts = [doc["text"] for doc in read_split(corpus, "train")]
    key = digest([plan.model_dump(), model_name, scores.tolist(), heldout.ids.tolist()])
    state = out / "state" / key
    started = score_windows(original, heldout)
    items, runs = [], []
    for seed in range(plan.seeds):
        seq_len = spec.seq_len or plan.training.seq_len
        data = pack(train_texts, tokenizer, seq_len=seq_len, seed=seed)
        for arm in plan.shard(shard):
            if seed > 0 and not arm.train:
                continue
            folder = state / f"{arm.method}-{arm.d_kv or 0}-{seed}".replace(":", "_")
            frames = _run_arm(arm, original=original, original_score=started, data=data, heldout=heldout, plan=plan,
                              spec=spec, scores=scores, seed=seed, folder=folder, tokenizer=tokenizer,
                              keep=out / "arms" / f"{arm.method}-{arm.d_kv or 0}" / f"seed{seed}")  # fmt: skip
            run = {"paper": "mha2mla", "scale": scale, "model": model_name, "method": arm.method, "seed": seed}
            run_id = digest([key, run, arm.d_kv])
            items.append(frames[0].assign(run_id=run_id, backend="torch", device="cpu", **run))
            runs.append({"run_id": run_id, "stage": "adapt", "setting": arm.setting("final"), **run, **frames[1]})
    write_items(pd.concat(items, ignore_index=True), out / f"adapt-{shard}.items.parquet")
    write_runs(pd.DataFrame(runs), out / f"adapt-{shard}.runs.csv")


def _run_arm(
    arm: Arm,
    *,
    original: PreTrainedModel,
    original_score: pd.DataFrame,
    data: torch.Tensor,
    heldout: Windows,
    plan: Plan,
    spec: Model,
    scores: torch.Tensor,
    seed: int,
    folder: Path,
    tokenizer: Any,
    keep: Path,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run one arm and seed, or return what an earlier run of it left."""
    done = folder / "run.json"
    if done.exists():
        return pd.read_parquet(folder / "items.parquet"), json.loads(done.read_text())
    watch = Stopwatch()
    model = convert_arm(original, arm, plan=plan, scores=scores)
    curve = heldout.head(plan.heldout.curve_windows)
    start = score_windows(model, heldout)
    nll = {"start": _value(start), "base": _value(original_score)}
    frames = [start.assign(setting=arm.setting("start"))]
    settings = plan.training
    steps = (spec.steps or settings.steps) if arm.train else 0
    points: list[tuple[int, float]] = []

    def at_step(step: int, current: PreTrainedModel) -> None:
        frame = score_windows(current, curve)
        points.append((step, _value(frame)))
        frames.append(frame.assign(setting=arm.setting(f"step={step}")))

    if steps:
        config = TrainConfig(
            steps=steps,
            batch_size=settings.batch_size,
            seq_len=data.shape[1],
            lr=settings.lr,
            warmup_steps=round(settings.warmup_fraction * steps),
            decay_steps=round(settings.decay_fraction * steps),
            weight_decay=settings.weight_decay,
            dtype=settings.dtype,
            trainable=settings.trainable,
            seed=seed,
        )
        at_step(0, model)
        train(
            model,
            data,
            config,
            state=folder / "train",
            on_step=at_step,
            at_steps=range(settings.eval_every, steps, settings.eval_every),
        )
        at_step(steps, model)
    final = score_windows(model, heldout, reference=original)
    frames.append(final.assign(setting=arm.setting("final")))
    if arm.convert and nll["start"] - nll["base"] > 1e-3:
        gap = nll["start"] - nll["base"]
        recovered = (nll["start"] - _value(final)) / gap
        frames.append(_fraction(recovered, arm.setting("final")))
        # The curve's own windows give its own gap, so that every point is a ratio of like with like.
        if points:
            base_curve = _value(original_score[original_score["item_id"].isin(curve.names)])
            for step, value in points:
                frames.append(_fraction((points[0][1] - value) / (points[0][1] - base_curve), arm.setting(f"step={step}")))
    if arm.benchmark:
        keep.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(keep)
        tokenizer.save_pretrained(keep)
    frame = pd.concat(frames, ignore_index=True)
    facts = {
        **watch.read(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "tokens": steps * settings.batch_size * data.shape[1],
    }
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "items.parquet")
    write_json(done, facts)
    return frame, facts


def _value(frame: pd.DataFrame) -> float:
    rows = frame[(frame["metric"] == "bits_per_byte") & (frame["status"] == "ok")]
    return float((rows["score"] * rows["weight"]).sum() / rows["weight"].sum())


def _fraction(value: float, setting: str) -> pd.DataFrame:
    return pd.DataFrame(
        [{"benchmark": "heldout", "metric": "recovered_fraction", "unit": "fraction", "item_id": "all", "score": value,
          "weight": 1.0, "status": "ok", "reason": "", "setting": setting}]
    )  # fmt: skip
