"""The stages of the CodeSeq recipe, in the order of the flow: what each reads of the plan, what it takes, whose code it is.

arXiv:2510.14620. The trainings are dealt to shards, each of which keeps what it finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.options import BaseOption, DeviceOption, UnsafeOption, WorkersOption, fetched_sources, folder
from galley.papers.codeseq.plan import Plan
from galley.stage import Job, Stages

stage = Stages("codeseq")
OeisOption = Annotated[
    Path | None, typer.Option(help="folder with the fetched sources, where the plan reads OEIS", callback=fetched_sources())
]
PROBLEM = {"id": str, "record": str, "description": str, "examples": list, "tests": list, "hidden": list, "shift": int, "writer": str}
FILES = inputs.each(  # a file may hold nothing: its source was absent
    inputs.holding("functions.jsonl", check=inputs.json_lines(empty=True, id=str, source=str, terms=list)),
    inputs.holding("sft.jsonl", "sft_plain.jsonl", check=inputs.json_lines(empty=True, prompt=str, answer=str)),
    inputs.holding("gtg.jsonl", check=inputs.json_lines(empty=True, **PROBLEM)),
)
MADE = folder("what `galley codeseq synthesize` made", FILES, example="{results}", open=True)
BenchmarksOption = Annotated[
    Path | None, typer.Option(help="folder with the fetched sources, where the plan has code benchmarks", callback=fetched_sources())
]
SynthesisOption = Annotated[Path, typer.Option(help="folder of what the synthesize stage made", callback=MADE)]


def _oeis(plan: Plan) -> tuple[str, ...]:
    """Sequences, their functions, and the benchmarks to keep out of the data."""
    return () if plan.synthesis.sequences == "generated" else ("oeis_records", "oeissequences", "humaneval", "mbpp")


@stage("synthesis", "functions", "data_seed", sources=_oeis, essential=True)
def synthesize(job: Job, sources: OeisOption = None, workers: WorkersOption = 1, unsafe: UnsafeOption = False) -> None:
    """Turn sequences into verified problems, solutions with reflections, RL data and the GTG test (what ran is kept)."""
    from galley.papers.codeseq.synthesize import run_synthesize

    run_synthesize(job, sources=sources, workers=workers, unsafe=unsafe)


@stage("induction", "reflection", "seeds", "data_seed", each=("shard",), when=lambda plan: plan.induction or plan.reflection)
def induce(job: Job) -> None:
    """Train one shard's character models from scratch and score induction and retries (finished trainings are kept)."""
    from galley.papers.codeseq.induce import run_induce

    run_induce(job)


def _benchmarks(plan: Plan) -> tuple[str, ...]:
    return tuple(plan.tuning.benchmarks) if plan.tuning else ()


@stage("functions", "tuning", "seeds", "data_seed", each=("model", "shard"), sources=_benchmarks, units=lambda plan: 1 + 5 * plan.seeds)
def tune(
    job: Job, base: BaseOption, synthesis: SynthesisOption, sources: BenchmarksOption = None, workers: WorkersOption = 1,
    unsafe: UnsafeOption = False, device: DeviceOption = "auto",
) -> None:  # fmt: skip
    """Tune one shard's arms of a real model on sequence functions and on solutions, and score what was held out."""
    from galley.papers.codeseq.tune import run_tune

    run_tune(job, base=base, synthesis=synthesis, sources=sources, workers=workers, unsafe=unsafe, device=device)
