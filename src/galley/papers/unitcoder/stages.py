"""The stages of the UnitCoder recipe, in the order of the flow: what each reads of the plan, what it takes, whose code it is.

arXiv:2502.11460. The stages after the corpus are independent of each other; each keeps its sandbox's runners to its threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.options import BaseOption, DeviceOption, SourcesOption, UnsafeOption, WorkersOption, file, model_folder
from galley.papers.unitcoder.plan import Plan
from galley.stage import Job, Stages

stage = Stages("unitcoder")
FUNCTION = inputs.json_lines(id=str, code=str, entry_point=str, lists=list)
FUNCTIONS = file("functions.jsonl of `galley unitcoder corpus`", FUNCTION, example="{results}/functions.jsonl")
FunctionsOption = Annotated[Path, typer.Option(help="functions.jsonl of the corpus stage", callback=FUNCTIONS)]
AgentOption = Annotated[
    Path | None, typer.Option(help="directory of the plan's local model, where its agents are one", callback=model_folder())
]
PROGRAM = inputs.json_lines(empty=True, task_id=str, entry_point=str, code=str, passes=list)  # none where codet is absent
PROGRAMS = file("programs.jsonl of `galley unitcoder model-tests`", PROGRAM, example="{results}/programs.jsonl")
ROW = inputs.json_lines(empty=True, id=str, entry_point=str, original=str, code=str, provenance=str)
ROWS = file("passed.jsonl or failed.jsonl of `galley unitcoder pipeline`", ROW, example="{results}/pipeline/passed.jsonl")
RowsOption = Annotated[Path, typer.Option(help="programs of the pipeline stage", callback=ROWS)]
ProgramsOption = Annotated[Path, typer.Option(help="programs.jsonl of the model-tests stage", callback=PROGRAMS)]


@stage("source_corpus", "data_seed", sources=("algorithms_wheel", "humaneval_plus", "mbpp", "bigcodebench"), essential=True)
def corpus(job: Job, sources: SourcesOption) -> None:
    """Filter the functions of the corpus by package, drop copies and benchmark overlaps, count by reason (E5)."""
    from galley.papers.unitcoder.corpus import make_corpus

    make_corpus(job, sources=sources)


@stage("limits", "agents", "pipeline", "data_seed")
def pipeline(job: Job, functions: FunctionsOption, agent: AgentOption = None, workers: WorkersOption = 1) -> None:
    """Run the pipeline on functions with seeded faults and check its exact claims (E1 to E4); a killed run goes on where it was."""
    from galley.papers.unitcoder.synthesis import run_pipeline

    run_pipeline(job, functions=functions, agent=agent, workers=workers)


@stage("limits", "mutants", "pipeline", "data_seed", sources=("humaneval_plus",))
def mutants(job: Job, functions: FunctionsOption, sources: SourcesOption, workers: WorkersOption = 1) -> None:
    """Keep mutants that pass k random tests and judge them by all (D1, D4)."""
    from galley.papers.unitcoder.mutation import run_mutants

    run_mutants(job, functions=functions, sources=sources, workers=workers)


@stage("limits", "model_tests", "data_seed", sources=("humaneval_plus", "codet"))
def model_tests(job: Job, sources: SourcesOption, workers: WorkersOption = 1) -> None:
    """Filter model-written solutions by model-written tests and judge them by HumanEval+ (D2, D4)."""
    from galley.papers.unitcoder.model_tests import run_model_tests

    run_model_tests(job, sources=sources, workers=workers)


@stage("limits", "debugging", "pipeline", "data_seed", sources=("llmdebugger", "mbpp", "mbpp_plus"))
def debugging(job: Job, sources: SourcesOption, workers: WorkersOption = 1) -> None:
    """Take real programs through the debug rounds and judge what passes by hidden tests (D3, D4)."""
    from galley.papers.unitcoder.debugging import run_debugging

    run_debugging(job, sources=sources, workers=workers)


@stage("limits", sources=("unitcoder_demo",))
def demo(job: Job, sources: SourcesOption, workers: WorkersOption = 1) -> None:
    """Count the authors' released demo, and run its programs and tests again (A1 to A3)."""
    from galley.papers.unitcoder.demo import run_demo

    run_demo(job, sources=sources, workers=workers)


@stage(
    "tuning", "answers", "seeds", "data_seed",
    each=("model",), sources=("mbpp",), units=lambda plan: 4 * plan.seeds,
)  # fmt: skip
def tuning(
    job: Job, base: BaseOption, programs: ProgramsOption, sources: SourcesOption, device: DeviceOption = "auto",
    unsafe: UnsafeOption = False,
) -> None:  # fmt: skip
    """Fine-tune on filtered, unfiltered and failing programs with equal tokens and compare likelihoods (M1, M2)."""
    from galley.papers.unitcoder.tuning import run_tuning

    run_tuning(job, base=base, programs=programs, sources=sources, device=device, unsafe=unsafe)


@stage(
    "tuning", "answers", "post_training", "seeds", "data_seed",
    each=("model",), sources=lambda plan: _benchmarks(plan), units=lambda plan: len(plan.post_training) * plan.seeds,
    when=lambda plan: plan.post_training,
)  # fmt: skip
def post_training(
    job: Job, base: BaseOption, functions: FunctionsOption, passed: RowsOption, failed: RowsOption, sources: SourcesOption,
    device: DeviceOption = "auto", unsafe: UnsafeOption = False,
) -> None:  # fmt: skip
    """Fine-tune on the pipeline's programs, whole and with a part of it left out, and answer code benchmarks (N, T)."""
    from galley.papers.unitcoder.post_training import run_post_training

    run_post_training(job, base=base, functions=functions, passed=passed, failed=failed, sources=sources, device=device, unsafe=unsafe)


def _benchmarks(plan: Plan) -> tuple[str, ...]:
    """Return the sources of the benchmarks that trained models answer."""
    return tuple(sorted({name.removesuffix("_all") for name in (plan.answers.benchmarks if plan.answers else ())}))
