"""What a Case2Code recipe may say: functions, inputs, training and budgets, checked before any work is done.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from galley.plan import Plan as Base
from galley.recipe import HOW_MANY, MOST, WHOLE, HowMany, Name, Strict, TimesEffort, fewer

Cases = Literal["own", "shuffled", "none", "mixed", "mixed_shuffled", "text", "text_mixed", "text_shuffled"]
Runs = Annotated[int, Field(ge=1, le=MOST)]


class HubCorpus(Strict):
    """A code corpus on the hub at a commit, streamed."""

    repo: Name
    revision: Name | None = Field(default=None, description="the data set's commit, 40 hex digits")
    data_dir: Name | None = None
    field: Name = "content"
    id_field: Name | None = None


class Functions(Strict):
    """Where functions come from, in this order."""

    wheels: list[Name] = Field(default_factory=list, description="source ids of wheels that are read, not installed")
    packages: list[Name] = Field(default_factory=list, description="installed packages, read and not imported")
    stdlib: bool = True
    hub: HubCorpus | None = None
    limit: int | None = Field(default=None, gt=0, description="functions after the filters")
    ngram: Annotated[Literal[10, 13], WHOLE] = Field(
        default=10, description="words that a function may not share in a row with a benchmark"
    )


class Inputs(Strict):
    """How inputs are written and how many cases a function gets."""

    writer: Literal["mutation", "endpoint"] = "mutation"
    cases: int = Field(ge=7, description="inputs proposed for a function")
    min_hidden: int = Field(ge=1)
    checked: int = Field(default=2000, gt=1, description="samples of each split that the exact claims run again")
    base_url: Name | None = Field(default=None, description="endpoint: an OpenAI-compatible address; its key comes from the environment")
    model: Name | None = Field(default=None, description="endpoint: the model's name there")

    @model_validator(mode="after")
    def _shows_some(self) -> Inputs:
        fewer(self, "min_hidden", "cases")
        return self


class Sequences(Strict):
    """The character model on integer programs (D2 to D4)."""

    held_out: int = Field(gt=1)
    shown: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=2, description="numbers of shown values, in training and in D3; the last is the most"
    )
    steps: TimesEffort = Field(gt=0)
    answer_tokens: int = Field(gt=0)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    runs: HowMany = Field(ge=1, le=MOST, description="training runs that each arm gets at least, however few `seeds` are")


class Tuning(Strict):
    """Fine-tuning on the own corpus; every arm sees equally many answer tokens.

    own, shuffled, none: functions with their own cases, with another's, without (fine-tuning). mixed: half with, half without
    (instruction tuning). text: functions as plain text; text_mixed: with their cases before half of them (continued pre-training).
    mixed_shuffled and text_shuffled are the same with another function's cases: controls.
    """

    steps: TimesEffort = Field(gt=0)
    answer_tokens: int = Field(gt=0)
    lr: float = Field(gt=0)
    batch_size: int = Field(gt=0)
    max_tokens: int = Field(gt=0)
    dtype: Literal["float32", "bfloat16", "autocast"]
    arms: Annotated[list[Cases], HOW_MANY] = Field(min_length=1)
    runs: Annotated[dict[Cases, Runs], HOW_MANY] = Field(
        default_factory=dict, description="training runs that an arm gets at least, where that is more than `seeds`"
    )
    heldout_items: TimesEffort = Field(gt=1)
    benchmark_items: int = Field(gt=1, description="canonical solutions of each of HumanEval and MBPP (D6)")
    benchmarks: list[Literal["humaneval_plus", "mbpp_plus"]] = Field(
        default_factory=list, description="code benchmarks that the untrained model and every arm answer: base and plus tests"
    )
    benchmark_tasks: int | None = Field(default=None, gt=0, description="first tasks of each of them; default: all")

    @model_validator(mode="after")
    def _known(self) -> Tuning:
        unknown = sorted(set(self.runs) - set(self.arms))
        if unknown:
            raise ValueError(f"runs names {unknown[0]!r}, which is none of arms ({', '.join(self.arms)}); add it there or leave it out")
        return self


class ZeroShot(Strict):
    """The official test without training (D1)."""

    tasks: TimesEffort = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    after: bool = Field(default=False, description="also after each arm's training (N1)")


class Plan(Base):
    """One scale of the recipe, resolved."""

    functions: Functions
    inputs: Inputs
    heldout: float = Field(gt=0, lt=1, description="share of the groups that is held out")
    sequences: Sequences | None = None
    tuning: Tuning | None = None
    zero_shot: ZeroShot | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if self.models and (self.tuning is None or self.zero_shot is None):
            raise ValueError("models are given, but tuning or zero_shot is not; give both, or no models")
        if self.inputs.writer == "endpoint" and not (self.inputs.base_url and self.inputs.model):
            raise ValueError("inputs.writer is endpoint, which needs inputs.base_url and inputs.model")
        return self

    def sequence_runs(self) -> list[tuple[str, int]]:
        """Return the (arm, seed) pairs of the character model."""
        if self.sequences is None:
            return []
        return [(arm, seed) for arm in ("matched", "shuffled", "one_case") for seed in range(max(self.seeds, self.sequences.runs))]

    def tuning_runs(self) -> list[tuple[Cases, int]]:
        """Return the (cases, seed) pairs of the fine-tuning."""
        if self.tuning is None:
            return []
        counts = {arm: max(self.seeds, self.tuning.runs.get(arm, 1)) for arm in self.tuning.arms}
        return [(arm, seed) for arm, count in counts.items() for seed in range(count)]
