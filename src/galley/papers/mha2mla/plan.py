"""What a MHA2MLA recipe may say: models, data, arms and budgets, checked before any work is done.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from galley.models.spec import CorpusPlan
from galley.plan import Plan as Base
from galley.recipe import Name, Strict, TimesEffort, fewer

BENCHMARKS = ("piqa_valid", "hellaswag_fixture", "longbench_config", "longbench_multi_news")
HUB_BENCHMARKS = ("hub_mmlu", "hub_arc", "hub_openbookqa", "hub_hellaswag", "hub_winogrande", "hub_longbench")  # whole tasks


Quantiser = Literal["hqq-int4", "hqq-int2", "quanto-int4", "quanto-int2"]  # Table 2's


class Arm(Strict):
    """One way to convert: the method's name in the tables and the conversion's settings."""

    method: Name
    strategy: Literal["high", "low", "uniform", "2-norm", "all", "none"] = Field(description="all: keep every pair; none: NoPE")
    d_kv: int | None = Field(
        default=None, ge=1, description="per KV head, at d_h=64; scaled with the model's own d_h. None: partial RoPE only"
    )
    svd: Literal["joint", "split", "random"] = Field(
        default="joint", description="random: a control, an orthonormal basis that knows nothing of the weights"
    )
    r: int | None = Field(
        default=None, ge=1, description="rotary pairs a head keeps, at d_h=64, scaled alike; default: what rope_fraction says"
    )
    broken: Literal["queries_of_another_head", "swapped_halves"] | None = Field(
        default=None, description="a control: queries at another head's place, or keys that read the values' half of a split latent"
    )
    models: list[str] = Field(default_factory=list, description="the models that have it; default: all of the scale")
    convert: bool = Field(default=True, description="false: the original model, for the base-FT arm")
    train: bool = True
    benchmark: bool = Field(default=False, description="its model also runs the benchmarks")

    @model_validator(mode="after")
    def _has_a_latent(self) -> Arm:
        if self.svd != "joint" and self.d_kv is None:
            raise ValueError(f"svd is {self.svd!r}, and without d_kv there is no latent to make by it; give d_kv, or leave svd out")
        if self.r is not None and self.strategy in ("all", "none"):
            raise ValueError(f"r is {self.r}, but strategy {self.strategy} says how many pairs are kept; leave r out")
        if self.broken == "swapped_halves" and self.svd != "split":
            raise ValueError(f"svd is {self.svd!r}, whose latent has no halves to swap; give svd: split, or leave broken out")
        if (self.broken or self.svd == "random") and not self.method.startswith("control:"):
            raise ValueError(f"method is {self.method!r}, and its conversion is a broken one; call it control:{self.method}")
        return self

    @property
    def name(self) -> str:
        """Return the arm's name in paths, unique in a plan."""
        return f"{self.method}-{self.d_kv or 0}" + (f"-r{self.r}" if self.r else "")

    def setting(self, point: str) -> str:
        """Return the table's setting for a point of the run such as start, step=20 or final."""
        r, d_kv = f"r={self.r}" if self.r else "", f"d_kv={self.d_kv}" if self.d_kv else ""
        return ",".join(part for part in (r, d_kv, point) if part)


class Calibration(Strict):
    """How much training text the 2-norm statistics see."""

    sequences: int = Field(gt=0)
    seq_len: int = Field(gt=0)


class Training(Strict):
    """The fine-tuning budget and the paper's schedule."""

    steps: TimesEffort = Field(gt=0)
    batch_size: int = Field(gt=0)
    seq_len: int = Field(gt=0)
    lr: float = Field(gt=0)
    warmup_fraction: float = Field(ge=0, le=1)
    decay_fraction: float = Field(ge=0, le=1)
    weight_decay: float = Field(ge=0)
    dtype: Literal["float32", "bfloat16", "autocast"]
    trainable: Literal["all", "attention"] = "all"
    models: list[str] = Field(
        default_factory=list, description="the models whose arms are fine-tuned; the others' are scored as converted. Default: all"
    )
    distill_steps: int = Field(default=0, ge=0, description="layer-wise distillation steps before the fine-tuning (ours)")
    eval_every: int = Field(gt=0, description="steps between held-out scores")

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Training:
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError(
                f"warmup_fraction is {self.warmup_fraction} and decay_fraction {self.decay_fraction}; together they take 1 at most"
            )
        return self


class Heldout(Strict):
    """Held-out windows for bits per byte and KL."""

    windows: TimesEffort = Field(gt=0)
    window_tokens: int = Field(gt=1)
    curve_windows: int = Field(gt=0, description="windows scored at each point of the curve")

    @model_validator(mode="after")
    def _curve_is_of_them(self) -> Heldout:
        fewer(self, "curve_windows", "windows", or_all=True)
        return self


class Benchmarks(Strict):
    """Budgets of the benchmark stage; a zero limit skips the benchmark and says so."""

    commonsense_limit: TimesEffort = Field(ge=0)
    longbench_limit: TimesEffort = Field(ge=0)
    longbench_max_length: int = Field(gt=0)
    longbench_max_new_tokens: int | None = Field(
        default=None, gt=0, description="cap on the official answer length; None keeps the official one"
    )
    longbench_caches: list[Quantiser] = Field(default_factory=list, description="quantised caches that LongBench is read through, too")
    needle_lengths: list[Annotated[int, Field(gt=0)]]
    needle_depths: list[Annotated[float, Field(ge=0, le=1)]]
    continuation_windows: TimesEffort = Field(gt=0)
    continuation_prefix: int = Field(gt=0)
    continuation_tokens: int = Field(gt=1)
    quant_residual: int = Field(gt=0, description="tokens kept in full precision by the quantised caches")

    @model_validator(mode="after")
    def _answers_fit(self) -> Benchmarks:
        fewer(self, "longbench_max_new_tokens", "longbench_max_length")
        return self


class Plan(Base):
    """One scale of the recipe, resolved."""

    rope_fraction: float = Field(gt=0, le=0.5, description="r = rope_fraction * d_h pairs keep their rotation; the paper: 1/16")
    arms: list[Arm] = Field(min_length=1)
    corpus: CorpusPlan
    calibration: Calibration
    training: Training
    heldout: Heldout
    benchmarks: Benchmarks

    @model_validator(mode="after")
    def _unique(self) -> Plan:
        names = [arm.name for arm in self.arms]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"arms: {', '.join(sorted(twice))} appear twice; give each arm its own method, d_kv or r")
        return self

    @model_validator(mode="after")
    def _known_models(self) -> Plan:
        for where, names in (("training", self.training.models), *((f"arm {arm.name}", arm.models) for arm in self.arms)):
            for name in names:
                if name not in self.models:
                    raise ValueError(f"{where}: models has {name!r}; this scale's models: {', '.join(self.models)}")
        return self


def arms_of(arms: Sequence[Arm], model: str, *, tuned: Sequence[str]) -> list[Arm]:
    """Return a model's arms as they are run there: fine-tuned where the plan fine-tunes that model (`tuned`; empty: every one)."""
    mine = [arm for arm in arms if not arm.models or model in arm.models]
    if not tuned or model in tuned:
        return mine
    # What should have been repaired and is not has nothing to show on benchmarks, and a base model that is not tuned is the original.
    off = [arm for arm in mine if arm.convert or not arm.train]
    return [arm.model_copy(update={"train": False, "benchmark": arm.benchmark and not arm.train}) for arm in off]


def runs_of(arm: Arm, seeds: int) -> range:
    """Return the seeds that an arm is run with: one where nothing is trained or drawn."""
    return range(seeds if arm.train or arm.svd == "random" else 1)
