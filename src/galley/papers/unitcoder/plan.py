"""What a UnitCoder recipe may say: corpus, pipeline, mutants, model-written tests, debug rounds and training, checked before any work.

Light on purpose (pydantic only): the Snakefile imports it to know the DAG.

Source: ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from galley.plan import Plan as Base
from galley.recipe import HOW_MANY, Strict, TimesEffort, fewer


class LimitsPlan(Strict):
    """Limits of one program in the sandbox."""

    cpu_s: float = Field(gt=0)
    wall_s: float = Field(gt=0)
    memory_mb: int = Field(ge=64)


class HubFiles(Strict):
    """Python files of a code corpus on the hub at a commit, streamed."""

    repo: str
    revision: str | None = Field(default=None, description="the data set's commit, 40 hex digits")
    data_dir: str | None = None
    field: str = "content"
    id_field: str = "hexsha"
    files: int = Field(gt=0, description="files that are read, the first ones")


class Corpus(Strict):
    """The code from which functions are taken."""

    stdlib_files: int = Field(ge=0, description="files of the standard library, spread evenly over it; 0 takes all")
    wheel: bool = Field(default=False, description="the algorithms wheel too, where it can be fetched")
    hub: HubFiles | None = None
    ngram: int = Field(default=10, ge=5, description="words of an n-gram that a function may not share with a benchmark")


class Agents(Strict):
    """Who writes tests, debugs and refines: the named stand-ins, or a language model behind an endpoint or in a local directory."""

    kind: Literal["stand_in", "endpoint", "local"] = "stand_in"
    model: str = Field(default="", description="endpoint: the model's name there; local: a key of models")
    functions: int = Field(default=100, ge=1, description="functions of each package list that language models take through the pipeline")
    url: str = Field(default="", description="endpoint: an OpenAI-compatible base URL; its key is read from the environment")

    @model_validator(mode="after")
    def _complete(self) -> Agents:
        if self.kind != "stand_in" and not self.model:
            raise ValueError(f"agents of kind {self.kind} need `model`")
        if self.kind == "endpoint" and not self.url:
            raise ValueError("agents of kind endpoint need `url`")
        return self


class Pipeline(Strict):
    """The released pipeline's knobs, and how many functions go through it here."""

    functions: TimesEffort = Field(ge=1)
    inputs: int = Field(ge=4, description="inputs a function; half are shown as tests, half judge")
    rounds: int = Field(ge=0)
    proposals: int = Field(ge=1)
    keep: int = Field(ge=1)
    tries: int = Field(ge=0, description="search repairer: edits that it runs before it proposes")
    batch: int = Field(ge=1)

    @model_validator(mode="after")
    def _keeps_what_is_proposed(self) -> Pipeline:
        fewer(self, "keep", "proposals", or_all=True)
        return self


class Mutants(Strict):
    """D1: how many mutants of how many tasks, and how many inputs judge them."""

    benchmarks: list[Literal["corpus", "HumanEval+"]] = Field(min_length=1)
    tasks: TimesEffort = Field(ge=1)
    per_task: int = Field(ge=1)
    inputs: int = Field(ge=10)


class ModelTests(Strict):
    """D2 and D4: model-written solutions and tests."""

    solutions: int = Field(ge=1, le=100)
    asserts: int = Field(ge=1)
    inputs: int = Field(ge=1)
    draws: int = Field(ge=1, description="random choices of k tests a task")


class Debugging(Strict):
    """D3 and D4: real failing programs through the debug rounds."""

    tasks: int = Field(ge=1, le=500)
    inputs: int = Field(ge=1)
    models: list[Literal["codellama", "gpt-3.5-turbo-0613", "starcoder"]] = Field(min_length=1)


class Tuning(Strict):
    """A fine-tuning of equal tokens an arm: of published programs (M1), and of those of the pipeline (N, T)."""

    tokens: int = Field(gt=0, description="answer tokens that each arm is trained on")
    step_tokens: int = Field(default=1000, gt=0, description="answer tokens of a step")
    heldout: int = Field(gt=0, description="held-out programs whose likelihood is measured")
    lr: float = Field(gt=0)
    dtype: Literal["float32", "bfloat16", "autocast"] = "float32"
    max_length: int = Field(gt=0)


class Answers(Strict):
    """Code benchmarks that each trained model, and its base, answer greedily, one program a task (M2, N, T)."""

    benchmarks: list[Literal["bigcodebench", "bigcodebench_all", "humaneval", "mbpp"]] = Field(min_length=1)
    tasks: int | None = Field(default=None, gt=0, description="first tasks of each of them; default: all")
    batch_size: int = Field(default=16, gt=0)


Arm = Literal["UnitCoder", "control_list", "no_tests", "no_debug", "no_refine", "tenth", "shuffled"]


class Plan(Base):
    """One scale of the recipe, resolved; the models are fine-tuned (M1), none at scales that do not train."""

    limits: LimitsPlan
    source_corpus: Corpus
    agents: Agents = Agents()
    pipeline: Pipeline
    mutants: Mutants
    model_tests: ModelTests
    debugging: Debugging
    tuning: Tuning
    answers: Answers | None = None
    post_training: Annotated[list[Arm], HOW_MANY] = Field(
        default_factory=list, description="arms that are trained on the pipeline's programs; none: no such stage"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if self.agents.kind == "local" and self.agents.model not in self.models:
            raise ValueError(f"agents.model is {self.agents.model!r}, which is not in models; known: {', '.join(self.models) or 'none'}")
        if self.post_training and (self.answers is None or self.agents.kind == "stand_in"):
            raise ValueError("post_training needs `answers`, the benchmarks that judge it, and `agents` that are language models")
        return self
