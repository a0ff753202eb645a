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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from galley.artifact import GalleyError, Stopwatch, atomic_dir, atomic_path, code_digest, digest, write_json
from galley.data.corpus import read_split
from galley.evaluate.likelihood import Windows, final_states, heldout_windows, score_windows
from galley.models.device import device_name
from galley.models.loading import load_model, load_tokenizer
from galley.models.spec import spec_of
from galley.papers.mha2mla.calibration import load_norms, pair_norms, pair_scores, save_norms
from galley.papers.mha2mla.convert import convert_mla
from galley.papers.mha2mla.fine_tune import Tuning, clear, fine_tune
from galley.papers.mha2mla.plan import Arm, Plan
from galley.train.distill import distill_attention
from galley.train.packing import pack

LABEL_D_H = 64  # the head size that the recipe's d_kv labels refer to (SmolLM)
CPU = torch.device("cpu")
STATES_LIMIT = 2**28  # elements of the original's hidden states that are kept rather than computed again


def calibrate_base(*, base: Path, corpus: Path, out: Path, plan: Plan, model_name: str, device: torch.device = CPU) -> None:
    """Write norms.safetensors: mean norm of every rotary pair over calibration text."""
    spec_of(plan.models, model_name)
    tokenizer = load_tokenizer(base)
    texts = [doc["text"] for doc in read_split(corpus, "calibration")]
    settings = plan.calibration
    wanted = settings.sequences * settings.seq_len
    data = pack(texts, tokenizer, seq_len=settings.seq_len, seed=plan.data_seed, max_tokens=wanted)[: settings.sequences]
    if len(data) < settings.sequences:
        raise GalleyError(
            f"calibration.sequences is {settings.sequences}, but the calibration split holds only {len(data)} "
            f"sequences of {settings.seq_len} tokens; lower it or raise corpus.max_bytes"
        )
    model = load_model(base, dtype=torch.float32, device=device)
    norms = pair_norms(model, data.split(4), progress=True)
    save_norms(norms, out / "norms.safetensors")


def convert_arm(original: PreTrainedModel, arm: Arm, *, plan: Plan, scores: torch.Tensor) -> PreTrainedModel:
    """Return the arm's model at step 0; the original itself (a copy) for arms that are not converted."""
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not arm.convert:
        copy = type(original)(config).to(original.device, original.dtype)
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
        basis = torch.linalg.qr(torch.randn(down.shape[1], down.shape[0], generator=generator))[0].T.to(down.device)
        seen = down.float() @ basis.T
        with torch.no_grad():
            for up in (attention.k_up, attention.v_up):
                up.weight.copy_((up.weight.float() @ seen).to(up.weight.dtype))
            down.copy_(basis.to(down.dtype))


@dataclass(frozen=True)
class Bench:
    """What every arm of a shard shares: the original, what it scores, and the held-out windows."""

    original: PreTrainedModel
    states: torch.Tensor | None  # the original's last hidden states, when they fit
    base: pd.DataFrame  # the original's own scores
    heldout: Windows
    curve: Windows  # the windows scored at each point of the curve
    pair_scores: torch.Tensor
    tuning: Tuning
    plan: Plan


def adapt_arms(
    arms: list[Arm], *, base: Path, corpus: Path, out: Path, plan: Plan, model_name: str, scale: str, device: torch.device = CPU
) -> tuple[list[pd.DataFrame], list[dict[str, Any]]]:
    """Return items and runs of the arms, over all seeds; finished arms are reused after an interruption.

    The models of the arms that are benchmarked stay in out/arms.
    """
    spec = spec_of(plan.models, model_name)
    tokenizer = load_tokenizer(base)
    original = load_model(base, dtype=getattr(torch, spec.dtype), device=device)
    heldout = heldout_windows(
        read_split(corpus, "heldout"),
        tokenizer,
        n_windows=plan.heldout.windows,
        window_tokens=plan.heldout.window_tokens,
        seed=plan.data_seed,
    )
    curve = heldout.head(plan.heldout.curve_windows)
    fits = heldout.ids.numel() * original.config.hidden_size <= STATES_LIMIT
    states = final_states(original, heldout) if fits else None
    bench = Bench(
        original=original,
        states=states,
        base=score_windows(original, heldout, reference=original, reference_states=states),
        heldout=heldout,
        curve=curve,
        pair_scores=pair_scores(load_norms(out / "norms.safetensors")),
        tuning=Tuning(plan, spec, tokenizer, curve, corpus, out / "state", spec.gpus if device.type == "cuda" else 1),
        plan=plan,
    )
    if any(arm.train for arm in arms):
        bench.tuning.config(seed=0)  # a global batch that cannot be met stops here
    # What an older version of the method left behind must not be taken for this one's.
    code = [code_digest(module) for module in ("galley.papers.mha2mla.experiment", "galley.train.worker")]
    key = digest([code, plan.model_dump(), model_name, bench.pair_scores.tolist(), heldout.ids.tolist(), device.type])
    items, runs = [], []
    for seed in range(plan.seeds):
        data = bench.tuning.data(seed=seed) if any(arm.train for arm in arms) else None
        for arm in arms:
            if seed > 0 and not arm.train:
                continue
            folder = out / "state" / key / f"{arm.name}-{seed}".replace(":", "_")
            keep = out / "arms" / arm.name if arm.benchmark and arm.convert and seed == 0 else None
            frame, facts = _run_arm(arm, bench=bench, data=data, seed=seed, folder=folder, keep=keep)
            run = {"paper": "mha2mla", "scale": scale, "model": model_name, "method": arm.method, "seed": seed}
            run_id = digest([key, run, arm.d_kv])
            items.append(frame.assign(run_id=run_id, backend="torch", device=device_name(device), **run))
            runs.append({"run_id": run_id, "stage": "adapt", "setting": arm.setting("final"), **run, **facts})
    return items, runs


def _run_arm(
    arm: Arm, *, bench: Bench, data: torch.Tensor | None, seed: int, folder: Path, keep: Path | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run one arm and seed, or return what an earlier run of it left."""
    done = folder / "run.json"
    if done.exists() and (keep is None or _maker(keep) == folder.parent.name):
        return pd.read_parquet(folder / "items.parquet"), json.loads(done.read_text())
    watch = Stopwatch()
    settings, original = bench.plan.training, bench.original
    steps = bench.tuning.steps if arm.train else 0
    model = convert_arm(original, arm, plan=bench.plan, scores=bench.pair_scores) if arm.convert or arm.train else original
    score = partial(score_windows, windows=bench.heldout, reference=original, reference_states=bench.states)
    start = bench.base if not arm.convert else score(model)
    middle: dict[int, pd.DataFrame] = {}
    if settings.distill_steps and arm.convert and arm.train and data is not None:
        distill_attention(model, original, data, steps=settings.distill_steps, batch_size=settings.batch_size, lr=settings.lr, seed=seed)

    if data is not None and steps:
        # Where the GPUs are needed for the training, the original waits in the machine's memory.
        device = original.device
        if bench.tuning.processes > 1:
            original.to("cpu")
        model, middle = fine_tune(model, data, tuning=bench.tuning, seed=seed, folder=folder)
        original.to(device)
    final = score(model) if steps else start
    # The curve's ends are the full scores on the curve's own windows: nothing is scored twice.
    names = set(bench.curve.names)
    curve = {0: _only(start, names), **middle, steps: _only(final, names)} if steps else {}
    frames = [start.assign(setting=arm.setting("start")), final.assign(setting=arm.setting("final"))]
    frames += [frame.assign(setting=arm.setting(f"step={step}")) for step, frame in curve.items()]
    if arm.convert:
        frames += _recovered({0: start, steps: final}, base=bench.base, settings=[arm.setting("start"), arm.setting("final")])
        base = _only(bench.base, names)
        frames += _recovered(curve, base=base, settings=[arm.setting(f"step={step}") for step in curve])
    frame = pd.concat(frames, ignore_index=True)
    if keep is not None:
        with atomic_dir(keep) as part:
            model.to(original.dtype).save_pretrained(part)
            bench.tuning.tokenizer.save_pretrained(part)
            write_json(part / "manifest.json", {"stage": "adapt", "method": arm.method, "state": folder.parent.name})
    tokens = steps * bench.tuning.step_tokens
    facts = {**watch.read(), "threads": torch.get_num_threads(), "device": device_name(original.device), "tokens": tokens}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "items.parquet") as path:
        frame.to_parquet(path)
    write_json(done, facts)
    clear(folder)
    return frame, facts


def _maker(model: Path) -> str | None:
    """Return the key of the run that left a model there."""
    manifest = model / "manifest.json"
    return json.loads(manifest.read_text())["state"] if manifest.exists() else None


def _only(frame: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Return the bits-per-byte rows of the named windows."""
    return frame[frame["item_id"].isin(names) & (frame["metric"] == "bits_per_byte")]


def _recovered(points: dict[int, pd.DataFrame], *, base: pd.DataFrame, settings: list[str]) -> list[pd.DataFrame]:
    """Return the recovered fraction (start - point) / (start - base) of each point, on the same windows.

    No rows where the conversion lost nothing (a gap below 1e-3 bits a byte): the ratio would be noise.
    """
    if 0 not in points or _value(points[0]) - _value(base) < 1e-3:
        return []
    start, gap = _value(points[0]), _value(points[0]) - _value(base)
    return [_fraction((start - _value(f)) / gap, setting) for f, setting in zip(points.values(), settings, strict=False)]


def _value(frame: pd.DataFrame) -> float:
    rows = frame[(frame["metric"] == "bits_per_byte") & (frame["status"] == "ok")]
    return float((rows["score"] * rows["weight"]).sum() / rows["weight"].sum())


def _fraction(value: float, setting: str) -> pd.DataFrame:
    return pd.DataFrame(
        [{"benchmark": "heldout", "metric": "recovered_fraction", "unit": "fraction", "item_id": "all", "score": value,
          "weight": 1.0, "status": "ok", "reason": "", "setting": setting}]
    )  # fmt: skip
