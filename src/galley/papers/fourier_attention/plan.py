"""What a FourierAttention recipe may say: models, cache methods, needle grid and budgets, checked before any work is done.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from galley.evaluate.long.ruler_texts import TASKS
from galley.evaluate.long.wording import PLAIN, Wording
from galley.models.spec import CorpusPlan
from galley.plan import Plan as Base
from galley.recipe import WHOLE, Name, Strict, Text, TimesEffort, fewer

Scheme = Literal["pyramid", "uniform", "kv_inverse", "layer_inverse"]


class Method(Strict):
    """One cache: its name in the tables and its settings."""

    name: Name
    cache: Literal["full", "sink_window", "snapkv", "pyramidkv", "h2o", "kivi", "palu", "quantized", "fourier", "legt", "noise"]
    mode: Literal["paper", "official", "ours"] = Field(default="ours", description="fourier: which reading of the method")
    orders_times: float = Field(default=1.0, gt=0, description="fourier: times the plan's orders; 0.0 < x; below one order counts as one")
    scheme: Scheme = Field(default="pyramid", description="fourier, legt: ratios over layers and over keys and values")
    choice: Literal["mse", "random", "inverse"] = Field(default="mse", description="fourier, legt: which channels are compressed")
    sides: Literal["kv", "k", "v"] = Field(default="kv", description="fourier, legt: what is compressed")
    audits: list[Literal["off_by_one", "int_period"]] = Field(default_factory=list, description="fourier: the authors' slips to keep")
    coefficients: Literal["kept", "scrambled", "zero"] = Field(
        default="kept", description="fourier: controls, every coefficient but the mean's turned by a random phase, or all of them zero"
    )
    whole_times: float = Field(
        default=1.0, gt=0, description="sink_window, snapkv, pyramidkv, h2o: tokens kept, times FourierAttention's whole ones"
    )
    bytes_of: Name | None = Field(
        default=None, description="sink_window, snapkv, pyramidkv, h2o, kivi, palu: the Fourier method whose bytes it may use"
    )
    nbits: Annotated[Literal[2, 4], WHOLE] = Field(default=4, description="kivi, quantized (HQQ): bits")
    group_heads: int | None = Field(default=None, ge=1, description="palu: key-value heads decomposed together; default: all of a layer")
    rank_fraction: float = Field(default=0.3, gt=0, lt=1, description="palu: share of a group's dims that stays; the paper's 0.3")
    energy: float | None = Field(default=None, gt=0, lt=1, description="palu: share of the squared singular values that stays, instead")
    pairs: Literal["low", "high", "first_dims", "last_dims"] = Field(
        default="low", description="noise: the slow or fast half of the rotary pairs; a control, halves by dim number"
    )
    noise: float = Field(default=1.0, gt=0, description="noise: standard deviations of a channel")


class Words(Strict):
    """How hidden facts are worded; {key} and {value} are filled in."""

    fact: Text = PLAIN.fact
    ask: Text = PLAIN.ask
    stub: Text = PLAIN.stub
    ask_all: Text = PLAIN.ask_all
    stub_all: Text = PLAIN.stub_all

    @property
    def wording(self) -> Wording:
        """Return the wording for the prompt builders."""
        return Wording(**self.model_dump())


class Calibration(Strict):
    """The text on which channels are chosen; it is never scored."""

    prompts: int = Field(gt=0)
    tokens: int = Field(gt=0)


class Needles(Strict):
    """The grid of needle prompts; at least one length, one depth and one repeat."""

    lengths: list[int] = Field(min_length=1)
    depths: list[float] = Field(min_length=1)
    repeats: TimesEffort = Field(ge=1)


class NeedleBench(Needles):
    """NeedleBench's prompts of the same facts, answered by greedy decoding."""

    new_tokens: int = Field(ge=1, description="greedy tokens; OpenCompass: 50")
    methods: list[str] | None = Field(default=None, description="methods that answer; default: all")


class LongBench(Strict):
    """Which LongBench items are read, and how much of their answers."""

    limit: TimesEffort = Field(ge=0, description="items a task")
    protocol: Literal["official", "paper"] = Field(description="official: window less 500 tokens; paper: less the answer")
    max_length: int = Field(ge=32, description="the window, in tokens")
    gold_tokens: int = Field(ge=1, description="tokens of the gold answer whose likelihood is taken")
    new_tokens: int | None = Field(default=None, ge=1, description="cap on the official answer lengths; default: none")
    methods: list[str] | None = Field(default=None, description="methods that read them; default: all")
    generate: list[str] | None = Field(default=None, description="methods that answer too; default: all")
    audit: list[str] = Field(
        default_factory=lambda: ["full"], description="methods that also read long prompts cut at their end or start (an audit)"
    )

    @model_validator(mode="after")
    def _answers_fit(self) -> LongBench:
        fewer(self, "gold_tokens", "max_length")
        fewer(self, "new_tokens", "max_length")
        return self


class Ruler(Strict):
    """RULER's tasks at one length."""

    tasks: list[str] = Field(description="of galley.evaluate.long.ruler_texts.TASKS")
    length: int = Field(ge=64)
    limit: TimesEffort = Field(ge=0, description="samples a task")
    methods: list[str] | None = Field(default=None, description="methods that read them; default: all")
    new_tokens: int = Field(ge=0, description="most greedy tokens; an answer's own length and 4 more are enough; 0: likelihood only")
    generate: list[str] | None = Field(default=None, description="methods that answer too; default: all")

    @model_validator(mode="after")
    def _known(self) -> Ruler:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown:
            raise ValueError(f"tasks has {unknown[0]!r}; allowed: {', '.join(TASKS)}")
        fewer(self, "new_tokens", "length")
        unread = [name for name in self.generate or () if self.methods is not None and name not in self.methods]
        if unread:
            raise ValueError(f"generate has {unread[0]!r}, which is not among methods, {', '.join(self.methods or ())}; add it there")
        return self


@dataclass(frozen=True)
class Layout:
    """How a prompt of one length is cut: whole tokens at both ends, and orders of the middle."""

    sinks: int
    local: int
    orders: int
    n_middle: int


class Plan(Base):
    """One scale of the recipe, resolved."""

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
    words: Words = Words()
    needles: Needles
    needlebench: NeedleBench
    longbench: LongBench
    ruler: Ruler

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        names = [m.name for m in self.methods]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"methods: {twice[0]!r} appears twice; give each method its own name")
        fourier = [m.name for m in self.methods if m.cache == "fourier"]
        for method in self.methods:
            if method.bytes_of is not None and method.bytes_of not in fourier:
                raise ValueError(
                    f"methods: bytes_of of {method.name!r} is {method.bytes_of!r}, which is no Fourier method; known: {', '.join(fourier)}"
                )
        lists = {
            "needlebench.methods": self.needlebench.methods,
            "longbench.methods": self.longbench.methods,
            "longbench.generate": self.longbench.generate,
            "longbench.audit": self.longbench.audit,
            "ruler.methods": self.ruler.methods,
            "ruler.generate": self.ruler.generate,
        }
        for field, chosen in lists.items():
            unknown = [name for name in chosen or () if name not in names]
            if unknown:
                raise ValueError(f"{field} has {unknown[0]!r}, which is no method; known: {', '.join(names)}")
        for length in (*self.needles.lengths, *self.needlebench.lengths, self.ruler.length):
            self.layout(length)
        for field, depths in (("needles", self.needles.depths), ("needlebench", self.needlebench.depths)):
            wrong = [d for d in depths if not 0 <= d <= 1]
            if wrong:
                raise ValueError(f"{field}.depths has {wrong[0]}; depths lie between 0 (start) and 1 (end)")
        self._answers_fit()
        return self

    def _answers_fit(self) -> None:
        """Refuse answers longer than the spectral window of the modes paper and official has room for."""
        lengths = {"needlebench.new_tokens": self.needlebench.new_tokens, "longbench.gold_tokens": self.longbench.gold_tokens,
                   "longbench.new_tokens": self.longbench.new_tokens or 512, "ruler.new_tokens": self.ruler.new_tokens}  # fmt: skip
        for field, tokens in lengths.items():
            if tokens > self.max_new_tokens and any(m.cache == "fourier" and m.mode != "ours" for m in self.methods):
                raise ValueError(
                    f"{field} is {tokens}, but the spectral window has room for max_new_tokens = {self.max_new_tokens}; "
                    f"lower {field} or raise max_new_tokens"
                )

    @property
    def whole_longbench(self) -> bool:
        """Return whether all tasks of LongBench are read: they come from the hub, and so where a model does."""
        return any(model.kind == "hub" for model in self.models.values())

    def cut(self, length: int) -> Layout:
        """Return how a prompt of `length` tokens is cut; its middle may be too short to be compressed, and then stays whole."""
        local = min(self.local or max(self.local_min, round(length * self.local_fraction)), max(1, length - self.sinks))
        n_middle = max(0, length - self.sinks - local)
        return Layout(self.sinks, local, self.orders or max(2, round(self.reals_fraction * n_middle / 2)), n_middle)

    def layout(self, length: int) -> Layout:
        """Return how a prompt of `length` tokens is cut; ValueError when the middle is too short for its orders."""
        layout = self.cut(length)
        if 4 * layout.orders >= layout.n_middle:
            least = self.sinks + layout.local + 4 * layout.orders + 1
            raise ValueError(
                f"a prompt of {length} tokens has a middle of {layout.n_middle}, which {2 * layout.orders} reals a channel hardly "
                f"compress; use longer prompts (from {least} tokens), a smaller local window or fewer orders"
            )
        return layout


def asks_for_votes(plan: Plan) -> bool:
    """Return whether a method needs the attention that every token of a prompt got, which a prefill counts only when asked to."""
    return any(method.cache == "h2o" for method in plan.methods)
