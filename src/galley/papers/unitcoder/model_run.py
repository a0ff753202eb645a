"""The pipeline with language models in its three places: the paper's own flow, over functions of the corpus as they are.

arXiv:2502.11460, section 2: one model writes tests, one debugs, one refines; here one backend serves all three, an OpenAI-compatible
endpoint whose replies are kept on disk, or a local model. There is no oracle: yield by round and counts are what it reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.papers.unitcoder.agents import Item, ModelDebugger, ModelRefiner, ModelWriter
from galley.papers.unitcoder.export import write_files
from galley.papers.unitcoder.pipeline import Row, Settings, faults, synthesize
from galley.papers.unitcoder.plan import Plan
from galley.synthesize.executor import Executor
from galley.synthesize.stream import read_rows, stream
from galley.tables.items import Rows, count, fraction


def language_model(plan: Plan, *, model: Path | None, cache: Path) -> Any:
    """Return the backend that the plan's agents name; None for stand-ins, GalleyError where a local model's directory is not given."""
    agents = plan.agents
    if agents.kind == "stand_in":
        return None
    if agents.kind == "endpoint":
        from galley.llm import EndpointBackend

        return EndpointBackend(agents.url, agents.model, cache=cache)
    if model is None:
        raise GalleyError(f"agents.model is {agents.model!r}, a local model; give its directory with --model")
    from galley.llm import HFBackend

    return HFBackend.load(model, cache=cache)


def run_models(
    items: Iterable[Item], *, backend: Any, out: Path, state: Path, run: Executor, settings: Settings, batch: int, total: int
) -> Rows:
    """Write the files of a run with language models, streaming; a killed run goes on where it was. Return its report."""
    agents = {
        "writer": ModelWriter(backend, name=backend.name, seed=settings.seed),
        "debugger": ModelDebugger(backend, name=backend.name, seed=settings.seed),
        "refiner": ModelRefiner(backend, name=backend.name, seed=settings.seed),
    }

    def work(chunk: list[Item]) -> list[Row]:
        return synthesize(chunk, run=run, settings=settings, **agents)  # type: ignore[arg-type]

    rows = state / "rows.jsonl"
    n = stream(items, rows=rows, batch=batch, work=work, run=run, total=total, what=backend.name)
    counts = write_files(rows, out)
    name = f"models:{backend.name}"
    report: Rows = [count(name, "pipeline", f"{kind}_rows", number) for kind, number in counts.items()]
    report.append(count(name, "pipeline", "broken_invariants", len(faults(read_rows(rows), n_input=n, settings=settings))))
    for number in range(settings.rounds + 1):
        report += [
            fraction(name, "pipeline", "yield", row["status"] == "passed" and len(row["rounds"]) <= number, setting=f"round={number}",
                     item_id=row["id"])
            for row in read_rows(rows) if row["status"] != "error"
        ]  # fmt: skip
    return report
