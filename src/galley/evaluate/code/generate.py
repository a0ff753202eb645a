"""From a benchmark and a backend to a samples file, with a record of how it was decoded.

Source: ours. Samples are evalplus's format with the sample's number. What was drawn is kept beside the file, so that a job that was
stopped, or whose endpoint failed for some samples, goes on where it was when it is run again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError, manifest, write_json
from galley.evaluate.code.benchmarks import benchmark, tasks_of
from galley.evaluate.code.prompting import Style, styles_of
from galley.evaluate.code.samples import write_samples
from galley.llm.backend import Backend, checked


def style_of(name: str, tasks: list[Any], wanted: str | None) -> Style:
    """Return a benchmark's style by name, or its first; GalleyError lists the styles."""
    styles = styles_of(name.removesuffix("_all"), tasks)
    if wanted is not None and wanted not in styles:
        raise GalleyError(f"style is {wanted!r}; {name} has {', '.join(styles)}")
    return styles[wanted] if wanted else next(iter(styles.values()))


def ready(name: str, *, sources: Path, style: str | None) -> None:
    """Refuse a benchmark that is not there, or a style that it has not, before a model is loaded."""
    style_of(name, tasks_of(benchmark(name), sources), style)


def generate_samples(
    name: str, backend: Backend, *, sources: Path, out: Path, style: str | None = None, n: int = 1, temperature: float = 0.0,
    top_p: float = 0.95, max_tokens: int | None = None, seed: int = 0, limit: int | None = None,
) -> None:  # fmt: skip
    """Write `n` samples a task to `out`, and to <out>.json how they were made; GalleyError, after writing, when some failed."""
    bench = benchmark(name)
    tasks = tasks_of(bench, sources)
    how = style_of(name, tasks, style)
    room = max_tokens or how.max_tokens
    sampling = checked(n, temperature, top_p, room, how.stop, seed)
    tasks = tasks[:limit]
    drawn = backend.generate(
        [how.prompt(t) for t in tasks], n=n, temperature=temperature, top_p=top_p, max_tokens=room, stop=how.stop, seed=seed
    )
    rows, failed = [], []
    for task, completions in zip(tasks, drawn, strict=True):
        for number, completion in enumerate(completions):
            if completion.finish == "failed":
                failed.append((task.id, completion.reason))
            else:
                rows.append({"task_id": task.id, "sample": number, **how.sample(task, completion.text), "finish": completion.finish})
    write_samples(out, rows)
    config = {"benchmark": name, "style": how.name, "n": n, "limit": limit, "model": backend.name, "sampling": asdict(sampling),
              "failed": [{"task_id": task, "reason": reason} for task, reason in failed]}  # fmt: skip
    write_json(
        out.with_name(out.name + ".json"),
        manifest(stage="code-generate", config=config, inputs={bench.source: sources / bench.source}, seed=seed),
    )
    if failed:
        raise GalleyError(
            f"{len(failed)} of {len(tasks) * n} samples failed, such as {failed[0][0]}: {failed[0][1]}; {out} has the others, "
            "and the same command tries the failed ones again"
        )
