"""What a FourierAttention recipe may say: models, cache methods, needle grid and budgets, checked before any work is done.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from galley.artifact import GalleyError
from galley.models.spec import CorpusPlan, Model, with_revisions
from galley.recipe import Strict, load_plan

TRAINS = False  # one seed, whatever is asked of others
Scheme = Literal["pyramid", "uniform", "kv_inverse", "layer_inverse"]


class Method(Strict):
    """One cache: its name in the tables and its settings."""

    name: str
    cache: Literal["full", "sink_window", "snapkv", "pyramidkv", "fourier", "quantized", "noise"]
    mode: Literal["paper", "official", "ours"] = Field(default="ours", description="fourier: which reading of the method")
    orders_times: float = Field(default=1.0, gt=0, description="fourier: times the plan's orders; 0.0 < x; below one order counts as one")
    scheme: Scheme = Field(default="pyramid", description="fourier: ratios over layers and over keys and values")
    choice: Literal["mse", "random", "inverse"] = Field(default="mse", description="fourier: which channels are compressed")
    sides: Literal["kv", "k", "v"] = Field(default="kv", description="fourier: what is compressed")
    audits: list[Literal["off_by_one", "int_period"]] = Field(default_factory=list, description="fourier: the authors' slips to keep")
    bytes_of: str | None = Field(default=None, description="sink_window, snapkv, pyramidkv: the method whose bytes it may use")
    nbits: Literal[2, 4] = Field(default=4, description="quantized: bits (HQQ)")
    pairs: Literal["low", "high"] = Field(default="low", description="noise: the slow or the fast half of the rotary pairs")
    noise: float = Field(default=1.0, gt=0, description="noise: standard deviations of a channel")


class Calibration(Strict):
    """The text on which channels are chosen; it is never scored."""

    prompts: int = Field(gt=0)
    tokens: int = Field(gt=0)


class Needles(Strict):
    """The grid of needle prompts; at least one length, one depth and one repeat."""

    lengths: list[int] = Field(min_length=1)
    depths: list[float] = Field(min_length=1)
    repeats: int = Field(ge=1)


@dataclass(frozen=True)
class Layout:
    """How a prompt of one length is cut: whole tokens at both ends, and orders of the middle."""

    sinks: int
    local: int
    orders: int
    n_middle: int


class Plan(Strict):
    """One scale of the recipe, resolved."""

    models: dict[str, Model]
    corpus: CorpusPlan
    methods: list[Method]
    sinks: int = Field(ge=0)
    local: int | None = Field(default=None, description="whole tokens at the end; default: local_fraction of the prompt")
    local_fraction: float = Field(gt=0, lt=1, description="the paper's 1,020 of 32k are 1/32")
    local_min: int = Field(ge=1)
    orders: int | None = Field(default=None, description="k; default: reals_fraction of the middle")
    reals_fraction: float = Field(gt=0, lt=0.5, description="2k over the middle's tokens; the paper's 1,024 of 31.7k are 0.032")
    max_new_tokens: int = Field(ge=1, description="room in the spectral window of the modes paper and official")
    calibration: Calibration
    needles: Needles
    seeds: int = Field(ge=1)
    shards: int = Field(ge=1, description="jobs over which the needle prompts are spread")
    data_seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        names = [m.name for m in self.methods]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"methods: {twice[0]!r} appears twice; give each method its own name")
        for method in self.methods:
            if method.bytes_of is not None and method.bytes_of not in names:
                raise ValueError(
                    f"methods: bytes_of of {method.name!r} is {method.bytes_of!r}, which is no method; known: {', '.join(names)}"
                )
        for length in self.needles.lengths:
            self.layout(length)
        wrong = [d for d in self.needles.depths if not 0 <= d <= 1]
        if wrong:
            raise ValueError(f"needles.depths has {wrong[0]}; depths lie between 0 (start) and 1 (end)")
        return self

    def stages(self) -> list[str]:
        """Return what the recipe's stages leave: items and runs of these names."""
        parts = ["checks", *(f"needles-{n}" for n in range(self.shards))]
        return [f"{model}/{part}" for model in self.models for part in parts]

    def layout(self, length: int) -> Layout:
        """Return how a prompt of `length` tokens is cut; ValueError when the middle is too short for its orders."""
        local = self.local or max(self.local_min, round(length * self.local_fraction))
        n_middle = length - self.sinks - local
        orders = self.orders or max(2, round(self.reals_fraction * n_middle / 2))
        if 4 * orders >= n_middle:
            raise ValueError(
                f"a prompt of {length} tokens has a middle of {n_middle}, which {2 * orders} reals a channel hardly compress; "
                f"use longer needles.lengths (from {self.sinks + local + 4 * orders + 1} tokens), a smaller local window or fewer orders"
            )
        return Layout(self.sinks, local, orders, n_middle)


def read_plan(recipe: Path, scale: str, *, seeds: int | None = None, effort: int = 1) -> Plan:
    """Read and check the plan of one scale; `effort` multiplies the needles of each cell. Nothing here is trained: seeds stay 1."""
    plan = load_plan(recipe, scale=scale, model=Plan)
    plan = plan.model_copy(update={"models": with_revisions(plan.models, recipe.parent.parent)})
    if seeds not in (None, 1):
        raise GalleyError(f"seeds is {seeds}; fourier_attention trains nothing, so it takes 1; add needles with effort={seeds}")
    if effort > 1:
        needles = plan.needles.model_copy(update={"repeats": plan.needles.repeats * effort})
        plan = plan.model_copy(update={"needles": needles})
    return plan
