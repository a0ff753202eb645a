"""One shard of the experiment: its arms adapted, then benchmarked, in one process.

Importing torch and transformers costs seconds, so an arm's two steps share a process; each is kept when it is finished.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path

from galley.models.device import device_name, resolve_device
from galley.papers.mha2mla.benchmark import benchmark_arms
from galley.papers.mha2mla.experiment import adapt_arms
from galley.papers.mha2mla.plan import arms_of
from galley.stage import Job
from galley.tables.ledger import Ledger


def run_arms(job: Job, *, base: Path, corpus: Path, norms: Path, sources: Path, paper: Path, device: str) -> None:
    """Write arms-<shard>.items.parquet and .runs.csv; GalleyError for a GPU that is not there."""
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    arms = job.mine(arms_of(job.plan.arms, job.model, tuned=job.plan.training.models))
    inputs = {"base": base, "norms": norms, **{split: corpus / f"{split}.jsonl" for split in ("train", "heldout")}}
    ledger = Ledger(job, backend="torch", device=device_name(where), inputs=inputs)
    adapt_arms(ledger, arms, base=base, corpus=corpus, norms=norms, device=where)
    benchmark_arms(ledger, arms, base=base, corpus=corpus, sources=sources, paper=paper, device=where)
    ledger.write()
