"""What a CodeSeq recipe may say: where sequences come from, who writes and solves, what is trained; checked before any work is done.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from galley.plan import Plan as Base
from galley.recipe import Name, Strict, TimesEffort, fewer

Family = Literal["linear", "quadratic", "geometric", "periodic", "triangular"]


class Endpoint(Strict):
    """An OpenAI-compatible endpoint; its key comes from the environment variable that `key_env` names."""

    url: Name
    model: Name
    key_env: Name = "OPENAI_API_KEY"
    requests_per_minute: float | None = Field(default=None, gt=0)
    workers: int = Field(default=4, ge=1, description="requests at a time")


class Synthesis(Strict):
    """The pipeline from sequences to verified problems and their solutions."""

    sequences: Literal["generated", "oeis"] = Field(description="generated: programs of five families; oeis: records and functions")
    problems: TimesEffort = Field(gt=0, description="records that are tried, in seeded order")
    generated: int = Field(default=0, ge=0, description="generated sequences tried beside the OEIS's, which a search seldom solves")
    gtg_problems: int = Field(gt=0, description="held out for the GTG test, by groups of like sequences; the paper's: 200")
    writer: Literal["template", "endpoint"] = "template"
    solver: Literal["search", "endpoint"] = "search"
    guide: bool = Field(default=False, description="validation by a second model call; needs the endpoint")
    rounds: int = Field(default=4, ge=0, description="corrections after the first solution")
    rollouts: int = Field(default=32, ge=2, description="samples per solvability estimate, and per GTG problem")
    solvability_cut: float = Field(default=0.46, gt=0, le=1, description="problems above it are no RL data")
    endpoint: Endpoint | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Synthesis:
        users = [name for name in ("writer", "solver") if getattr(self, name) == "endpoint"] + (["guide"] if self.guide else [])
        if users and self.endpoint is None:
            raise ValueError(
                f"{users[0]} needs an endpoint; give synthesis.endpoint with url and model, or set {users[0]} to its local choice"
            )
        fewer(self, "gtg_problems", "problems", of=self.problems + self.generated)
        return self


class CharTraining(Strict):
    """One training of the character model from scratch, and what is held out for it."""

    steps: TimesEffort = Field(gt=0)
    answer_tokens: int = Field(gt=0, description="of a step, exactly")
    lr: float = Field(gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    n_heads: int = Field(default=2, gt=0)
    held_out: int = Field(default=60, gt=0, description="parameter combinations")
    family: Family | None = Field(default=None, description="D1: held out whole")
    shown: int = Field(default=7, ge=1, le=7, description="values that a prompt shows")
    largest: int = Field(default=40, ge=2, description="D2: the largest factor of its programs")


class Functions(Strict):
    """The functions that a real model is tuned on: which are taken, and what is shown of their terms."""

    limit: int = Field(gt=0, description="functions that are run, in seeded order")
    first: int = Field(default=1, description="the first index that is called")
    terms: int = Field(default=20, gt=0)
    shown: int = Field(default=10, gt=0, description="terms in the prompt; the others are hidden")
    call_cpu_s: float = Field(default=0.2, gt=0)
    builtins_only: bool = True
    longest: int = Field(default=160, gt=0, description="characters of a function")
    held_out: int = Field(gt=0, description="functions that are scored, by groups of like sequences")

    @model_validator(mode="after")
    def _consistent(self) -> Functions:
        fewer(self, "held_out", "limit")
        if self.shown + 5 > self.terms:
            raise ValueError(f"shown is {self.shown} of {self.terms} terms; at least 5 must stay hidden")
        return self


class Tuning(Strict):
    """Fine-tuning of a real model on answers only."""

    steps: TimesEffort = Field(gt=0)
    answer_tokens: int = Field(gt=0, description="of a step, exactly")
    lr: float = Field(gt=0)
    batch_size: int = Field(default=8, gt=0, description="rows in memory at a time")
    max_tokens: int = Field(default=256, gt=0, description="longer examples are left out")
    solution_steps: int = Field(default=8, gt=0, description="steps of the arms that learn solutions")
    dtype: Literal["float32", "bfloat16", "autocast"] = "float32"
    gtg: bool = Field(default=False, description="whether the models take the GTG test")
    benchmarks: list[Literal["humaneval", "mbpp"]] = Field(
        default_factory=list, description="code benchmarks that the models answer, greedily"
    )
    elsewhere: list[str] = Field(default_factory=list, description="benchmarks of the paper that this stage cannot score: rows say so")
    max_new_tokens: int = Field(default=80, gt=0)


class Plan(Base):
    """One scale of the recipe, resolved."""

    synthesis: Synthesis
    induction: CharTraining | None = Field(default=None, description="D1; null leaves it out")
    reflection: CharTraining | None = Field(default=None, description="D2; null leaves it out")
    functions: Functions | None = None
    tuning: Tuning | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if self.models and (self.functions is None or self.tuning is None):
            raise ValueError("models are tuned on functions: give functions and tuning, or no models")
        return self
