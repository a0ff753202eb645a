"""What a MHA2MLA recipe may say: models, data, arms and budgets, checked before any work is done.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from galley.models.spec import CorpusPlan
from galley.plan import Plan as Base
from galley.recipe import Name, Strict, TimesEffort, fewer

BENCHMARKS = ("piqa_valid", "hellaswag_fixture", "longbench_config", "longbench_multi_news")
HUB_BENCHMARKS = ("hub_mmlu", "hub_arc", "hub_openbookqa", "hub_hellaswag", "hub_winogrande", "hub_longbench")  # whole tasks


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
    convert: bool = Field(default=True, description="false: the original model, for the base-FT arm")
    train: bool = True
    benchmark: bool = Field(default=False, description="its model also runs the benchmarks")

    @model_validator(mode="after")
    def _has_a_latent(self) -> Arm:
        if self.svd != "joint" and self.d_kv is None:
            raise ValueError(f"svd is {self.svd!r}, and without d_kv there is no latent to make by it; give d_kv, or leave svd out")
        return self

    @property
    def name(self) -> str:
        """Return the arm's name in paths, unique in a plan."""
        return f"{self.method}-{self.d_kv or 0}"

    def setting(self, point: str) -> str:
        """Return the table's setting for a point of the run such as start, step=20 or final."""
        return f"d_kv={self.d_kv},{point}" if self.d_kv else point


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
        names = [(arm.method, arm.d_kv) for arm in self.arms]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"arms: {sorted(map(str, twice))} appear twice; give each arm its own method or d_kv")
        return self
