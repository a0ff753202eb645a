"""Samples through the sandbox: one program each, a verdict each, in the order of the samples.

Source: ours. A sample that cannot be run fails with its fault. Where a task's outputs are many, its inputs come in parts, a program
for each, and the sample's verdict is on all of them. Programs of one task follow each other, so that a runner gets a
task's inputs once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tqdm.auto import tqdm

from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Outcome, Program

Judge = Callable[[Sample, list[Outcome]], tuple[str, str]]


@dataclass(frozen=True)
class Result:
    """What became of one sample in one suite of tests; `verdict` is the sandbox's word, and only "pass" is a pass."""

    line: int
    task_id: str
    suite: str
    verdict: str
    reason: str = ""
    cpu_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Return whether the sample passed."""
        return self.verdict == "pass"


def own_verdict(sample: Sample, outcomes: list[Outcome]) -> tuple[str, str]:
    """Return the sandbox's verdict on a sample's one program, and a short reason."""
    (outcome,) = outcomes
    return outcome.verdict, "" if outcome.verdict == "pass" else f"{outcome.exception} {outcome.message}".strip()[:200]


def judge(
    sandbox: Sandbox, samples: Sequence[Sample], *, suite: str, programs: Callable[[Sample], list[Program]], verdict: Judge = own_verdict
) -> list[Result]:
    """Run every sample's programs and return a result each, in the order of `samples`.

    Once one of them broke off or raised, the sample's later ones are left out: `verdict` is asked with the outcomes so far.
    """
    order = sorted((s for s in samples if not s.fault), key=lambda s: (s.task_id, s.line))
    results = {s.line: Result(s.line, s.task_id, suite, "fail", s.fault) for s in samples if s.fault}
    running: deque[Sample] = deque()  # whose programs the sandbox has asked for and not yet answered
    lost: set[int] = set()

    def stream() -> Iterator[Program]:
        for sample in order:
            for program in programs(sample):
                if sample.line in lost:
                    break
                running.append(sample)
                yield program

    def answers() -> Iterator[tuple[Sample, Outcome]]:
        for outcome in sandbox.map(stream()):
            sample = running.popleft()
            if outcome.verdict not in ("pass", "fail"):
                lost.add(sample.line)
            yield sample, outcome

    with tqdm(total=len(order), desc=suite, unit="program", disable=None) as bar:
        for _, group in groupby(answers(), key=lambda answer: answer[0].line):
            (sample, *_), came = zip(*group, strict=True)
            said, reason = verdict(sample, list(came))
            results[sample.line] = Result(sample.line, sample.task_id, suite, said, reason, sum(o.cpu_s for o in came))
            bar.update()
    return [results[s.line] for s in samples]


def by_task(results: Sequence[Result]) -> Iterator[tuple[str, list[bool]]]:
    """Yield each task's samples as passed or not, in the order of their lines."""
    tasks: dict[str, list[bool]] = {}
    for result in results:
        tasks.setdefault(result.task_id, []).append(result.passed)
    yield from tasks.items()
