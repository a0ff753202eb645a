"""The code benchmarks by name: how each is read, which source it needs, how its programs are judged.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.data import code_benchmarks as readers
from galley.data.fetched import present
from galley.evaluate.code.bigcodebench import judge_bigcodebench
from galley.evaluate.code.humaneval import judge_humaneval
from galley.evaluate.code.judge import Result
from galley.evaluate.code.mbpp import judge_mbpp
from galley.evaluate.code.plus import judge_plus
from galley.evaluate.code.references import references
from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox

JudgeSamples = Callable[[Sandbox, Sequence[Sample], Mapping[str, Any], Path], list[Result]]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its tasks from a source's folder, and a result per sample and suite; the last suite is the headline."""

    name: str
    source: str
    size: int
    suites: tuple[str, ...]
    read: Callable[[Path], list[Any]]
    judge: JudgeSamples  # (sandbox, samples, tasks by id, folder for what is kept) -> results


def _judge_plus(sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, Any], kept: Path) -> list[Result]:
    used = {s.task_id for s in samples}
    expected = references([task for task in tasks.values() if task.id in used], sandbox=sandbox, folder=kept)
    return judge_plus(sandbox, samples, tasks, expected=expected)


def _without_folder(judge: Callable[..., list[Result]], **settings: Any) -> JudgeSamples:
    return lambda sandbox, samples, tasks, kept: judge(sandbox, samples, tasks, **settings)


BENCHMARKS = {
    b.name: b
    for b in (
        Benchmark("humaneval", "humaneval", 164, ("tests",), readers.read_humaneval, _without_folder(judge_humaneval)),
        Benchmark("mbpp", "mbpp", 974, ("tests",), readers.read_mbpp, _without_folder(judge_mbpp)),
        Benchmark("humaneval_plus", "humaneval_plus", 164, ("base", "plus"), readers.read_humaneval_plus, _judge_plus),
        Benchmark("mbpp_plus", "mbpp_plus", 378, ("base", "plus"), readers.read_mbpp_plus, _judge_plus),
        Benchmark(
            "bigcodebench", "bigcodebench", 286, ("calibrated",), readers.read_bigcodebench, _without_folder(judge_bigcodebench)
        ),
        Benchmark(
            "bigcodebench_all", "bigcodebench", 1140, ("calibrated",), lambda folder: readers.read_bigcodebench(folder, libraries="all"),
            _without_folder(judge_bigcodebench),
        ),
    )
}  # fmt: skip
CERTIFIED = ("humaneval", "mbpp", "humaneval_plus", "mbpp_plus", "bigcodebench")  # with the standard library alone


def tasks_of(bench: Benchmark, sources: Path) -> list[Any]:
    """Return a benchmark's tasks from a folder of fetched sources; GalleyError when they are not there."""
    folder = Path(sources) / bench.source
    if not present(folder):
        raise GalleyError(f"--sources is {sources}, which has no {bench.source}; fetch it: galley fetch {bench.source} --out {folder}")
    return bench.read(folder)


def benchmark(name: str) -> Benchmark:
    """Return a benchmark; GalleyError lists the names."""
    if name not in BENCHMARKS:
        raise GalleyError(f"benchmark is {name!r}; allowed: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
