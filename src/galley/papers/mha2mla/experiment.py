"""The adaptation experiment: convert each arm, fine-tune it on the same tokens, score held-out text.

arXiv:2502.14837, sections 2.1, 2.2 and 4.2 (the ablations of Tables 3 and 5), with recovered
fraction and bits per byte in the place of accuracy: at 135M parameters those carry signal.

A row is `trained` where another run would give another score: of a fine-tuned model, or of a basis that was drawn.

Deviations. Every arm of a seed sees the same batches in the same order (paired). A base-FT arm
fine-tunes the unconverted model alike, so that a shift of data is not counted as conversion loss.
d_kv labels are those of d_h = 64 and scale with the model's own d_h, so that the kept fraction of
the cache is the paper's at every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel

from galley.artifact import atomic_dir
from galley.data.corpus import read_split
from galley.evaluate.likelihood import heldout_windows
from galley.models.likelihood import Windows, final_states, item_row, score_windows
from galley.models.loading import load_model, load_tokenizer
from galley.papers.mha2mla import audits
from galley.papers.mha2mla.calibration import load_norms, pair_scores
from galley.papers.mha2mla.convert import convert_mla
from galley.papers.mha2mla.fine_tune import Tuning, fine_tune
from galley.papers.mha2mla.plan import Arm, Plan, runs_of
from galley.tables.ledger import Ledger
from galley.train.distill import distill_attention

LABEL_D_H = 64  # the head size that the recipe's labels d_kv and r refer to (SmolLM)
CPU = torch.device("cpu")
STATES_LIMIT = 2**28  # elements of the original's hidden states that are kept rather than computed again


def convert_arm(original: PreTrainedModel, arm: Arm, *, plan: Plan, scores: torch.Tensor, seed: int = 0) -> PreTrainedModel:
    """Return the arm's model at step 0; the original itself (a copy) for arms that are not converted. `seed` draws what is random."""
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not arm.convert:
        copy = type(original)(config).to(original.device, original.dtype)
        copy.load_state_dict(original.state_dict())
        return copy
    kept = plan.rope_fraction * d_h if arm.r is None else arm.r * d_h / LABEL_D_H
    r = {"all": d_h // 2, "none": 0}.get(arm.strategy, max(1, round(kept)))
    strategy = arm.strategy if arm.strategy not in ("all", "none") else "high"
    d_kv = arm.d_kv * d_h // LABEL_D_H if arm.d_kv else None
    svd = "joint" if arm.svd == "random" else arm.svd
    model = convert_mla(original, strategy=strategy, r=r, d_kv=d_kv, svd=svd, scores=scores)
    if arm.svd == "random":
        model = audits.random_basis(model, seed=seed)
    return getattr(audits, arm.broken)(model) if arm.broken else model


@dataclass(frozen=True)
class Bench:
    """What the arms of a shard share; its parts are made when the first unfinished arm asks for them."""

    base: Path
    norms: Path
    device: torch.device
    heldout: Windows
    tuning: Tuning
    plan: Plan

    @cached_property
    def original(self) -> PreTrainedModel:
        """Return the unconverted model."""
        return load_model(self.base, dtype=getattr(torch, self.tuning.spec.dtype), device=self.device)

    @cached_property
    def states(self) -> torch.Tensor | None:
        """Return the original's last hidden states on the held-out windows, when they fit."""
        fits = self.heldout.ids.numel() * self.original.config.hidden_size <= STATES_LIMIT
        return final_states(self.original, self.heldout) if fits else None

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Return the original's own scores."""
        return self.score(self.original)

    def score(self, model: PreTrainedModel) -> pd.DataFrame:
        """Return a model's scores on the held-out windows, beside the original."""
        return score_windows(model, self.heldout, reference=self.original, reference_states=self.states)


def adapt_arms(ledger: Ledger, arms: Sequence[Arm], *, base: Path, corpus: Path, norms: Path, device: torch.device = CPU) -> None:
    """Add every arm and seed to the ledger; the models of the arms that are benchmarked stay where `model_of` says."""
    plan, spec = ledger.job.plan, ledger.job.spec
    tokenizer = load_tokenizer(base)
    heldout = heldout_windows(
        read_split(corpus, "heldout"),
        tokenizer,
        n_windows=plan.heldout.windows,
        window_tokens=plan.heldout.window_tokens,
        seed=plan.data_seed,
    )
    curve = heldout.head(plan.heldout.curve_windows)
    tuning = Tuning(plan, spec, tokenizer, curve, corpus, ledger.state, spec.gpus if device.type == "cuda" else 1)
    if any(arm.train for arm in arms):
        tuning.config(seed=0)  # a global batch that cannot be met stops here
    bench = Bench(base, norms, device, heldout, tuning, plan)
    data = lru_cache(maxsize=1)(tuning.data)
    for seed, arm in ((seed, arm) for seed in range(plan.seeds) for arm in arms if seed in runs_of(arm, plan.seeds)):
        # What another plan or other code left in its place lacks this file.
        keep = model_of(arm, seed, ledger.job.out) / f"made_by_{ledger.key}" if arm.benchmark and (arm.convert or arm.train) else None
        work = partial(_run_arm, arm, seed, bench=bench, data=data, keep=keep)
        ledger.unit(f"{arm.name}-{seed}", work, method=arm.method, setting=arm.setting("final"), seed=seed, needs=keep)


def model_of(arm: Arm, seed: int, out: Path) -> Path:
    """Return the folder in which an arm's converted or fine-tuned model stays."""
    return out / "arms" / f"{arm.name}-{seed}"


def _run_arm(
    arm: Arm, seed: int, folder: Path, *, bench: Bench, data: Callable[..., torch.Tensor], keep: Path | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows of one arm and seed and its trained tokens; `folder` keeps what an interrupted training goes on from."""
    settings, original, tuning = bench.plan.training, bench.original, bench.tuning
    steps = tuning.steps if arm.train else 0
    scores = pair_scores(load_norms(bench.norms))
    model = convert_arm(original, arm, plan=bench.plan, scores=scores, seed=seed) if arm.convert or arm.train else original
    start = bench.score(model) if arm.convert else bench.scores
    middle: dict[int, pd.DataFrame] = {}
    if steps:
        text = data(seed=seed)
        if settings.distill_steps and arm.convert:
            distill_attention(
                model, original, text, steps=settings.distill_steps, batch_size=settings.batch_size, lr=settings.lr, seed=seed
            )
        # Where the GPUs are needed for the training, the original waits in the machine's memory.
        device = original.device
        if tuning.processes > 1:
            original.to("cpu")
        model, middle = fine_tune(model, text, tuning=tuning, seed=seed, folder=folder)
        original.to(device)
    final = bench.score(model) if steps else start
    # The curve's ends are the full scores on the curve's own windows: nothing is scored twice.
    names = set(tuning.curve.names)
    curve = {0: _only(start, names), **middle, steps: _only(final, names)} if steps else {}
    # A conversion that is not fine-tuned has no end: `final` would read as one.
    points = {"start": start, **({"final": final} if steps or not arm.convert else {})}
    frames = [frame.assign(setting=arm.setting(point)) for point, frame in points.items()]
    frames += [frame.assign(setting=arm.setting(f"step={step}")) for step, frame in curve.items()]
    if arm.convert:
        frames += [_lost(frame, bench.scores).assign(setting=arm.setting(point)) for point, frame in points.items()]
        frames += _recovered({0: start, steps: final}, base=bench.scores, settings=[arm.setting("start"), arm.setting("final")])
        frames += _recovered(curve, base=_only(bench.scores, names), settings=[arm.setting(f"step={step}") for step in curve])
    if steps:
        frames.append(_single("training", "trained_tokens", steps * tuning.step_tokens, arm.setting("final")))
    if keep is not None:
        with atomic_dir(keep.parent) as part:
            model.to(original.dtype).save_pretrained(part)
            tuning.tokenizer.save_pretrained(part)
            (part / keep.name).touch()
    rows = pd.concat(frames, ignore_index=True)
    untrained = rows["setting"].isin([arm.setting("start"), arm.setting("step=0")])
    rows["trained"] = (~untrained & bool(steps)) | (arm.svd == "random")
    return rows, {"tokens": steps * tuning.step_tokens}


def _only(frame: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Return the bits-per-byte rows of the named windows."""
    return frame[frame["item_id"].isin(names) & (frame["metric"] == "bits_per_byte")]


def _lost(frame: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Return how many bits per byte more than the original's each window takes."""
    ours, theirs = (rows[rows["metric"] == "bits_per_byte"].set_index("item_id") for rows in (frame, base))
    return ours.assign(score=ours["score"] - theirs["score"], metric="bits_lost").reset_index()


def _recovered(points: dict[int, pd.DataFrame], *, base: pd.DataFrame, settings: list[str]) -> list[pd.DataFrame]:
    """Return the recovered fraction (start - point) / (start - base) of each point, on the same windows.

    No rows where the conversion lost nothing (a gap below 1e-3 bits a byte): the ratio would be noise.
    """
    if 0 not in points or _value(points[0]) - _value(base) < 1e-3:
        return []
    start, gap = _value(points[0]), _value(points[0]) - _value(base)
    reached = [(start - _value(point)) / gap for point in points.values()]
    return [_single("heldout", "recovered_fraction", value, setting) for value, setting in zip(reached, settings, strict=False)]


def _value(frame: pd.DataFrame) -> float:
    rows = frame[(frame["metric"] == "bits_per_byte") & (frame["status"] == "ok")]
    return float((rows["score"] * rows["weight"]).sum() / rows["weight"].sum())


def _single(benchmark: str, metric: str, value: float, setting: str) -> pd.DataFrame:
    return pd.DataFrame([{**item_row(benchmark, metric, "", "all", value, 1.0), "setting": setting}])
