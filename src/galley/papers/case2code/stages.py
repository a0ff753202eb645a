"""The stages of the Case2Code recipe, in the order of the flow: what each reads of the plan, what it takes, whose code it is.

arXiv:2407.12504. The trainings are dealt to shards, each of which keeps what it finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from galley import inputs
from galley.options import BaseOption, DeviceOption, SourcesOption, UnsafeOption, WorkersOption, file
from galley.stage import Job, Stages

stage = Stages("case2code")
SAMPLE = inputs.json_lines(id=str, name=str, code=str, package=str, writer=str, group=str, cases=list)
CASES = file("cases.jsonl of `galley case2code synthesize`", SAMPLE, example="{results}/cases.jsonl")
CasesOption = Annotated[Path, typer.Option(help="cases.jsonl of the synthesize stage", callback=CASES)]


@stage(
    "functions", "inputs", "heldout", "data_seed",
    sources=lambda plan: (*plan.functions.wheels, "case2code_test", "humaneval", "mbpp", "bigcodebench"), essential=True,
)  # fmt: skip
def synthesize(
    job: Job, sources: SourcesOption = Path("results/sources"), workers: WorkersOption = 1, unsafe: UnsafeOption = False
) -> None:
    """Turn functions into cases: filter, write inputs, run twice, select, split, export (what ran is kept)."""
    from galley.papers.case2code.build import build

    build(job, sources=sources, workers=workers, unsafe=unsafe)


@stage("inputs", "heldout", "data_seed", sources=("case2code_test",))
def check(
    job: Job, cases: CasesOption, sources: SourcesOption = Path("results/sources"), workers: WorkersOption = 1, unsafe: UnsafeOption = False
) -> None:
    """Check what is exact and score the official test's own programs and baselines (E1 to E4)."""
    from galley.papers.case2code.check import check_paper

    check_paper(job, cases=cases, sources=sources, workers=workers, unsafe=unsafe)


@stage(
    "sequences", "seeds", "data_seed",
    each=("shard",), units=lambda plan: len(plan.sequence_runs()), when=lambda plan: plan.sequences is not None,
)  # fmt: skip
def sequences(job: Job) -> None:
    """Train one shard's character models from scratch and score induction on held-out programs (D2 to D4)."""
    from galley.papers.case2code.sequences import run_sequences

    run_sequences(job)


@stage(
    "tuning", "zero_shot", "inputs", "heldout", "seeds", "data_seed",
    each=("model", "shard"), units=lambda plan: len(plan.tuning_runs()),
    sources=lambda plan: ("case2code_test", "humaneval", "mbpp", *(plan.tuning.benchmarks if plan.tuning else ())),
)  # fmt: skip
def tune(
    job: Job, base: BaseOption, cases: CasesOption, sources: SourcesOption = Path("results/sources"), unsafe: UnsafeOption = False,
    device: DeviceOption = "auto",
) -> None:  # fmt: skip
    """Fine-tune one shard's arms of a real model and score the induction gap before and after (D1, D4 to D6, N, T)."""
    from galley.papers.case2code.tune import run_tune

    run_tune(job, base=base, cases=cases, sources=sources, unsafe=unsafe, device=device)
