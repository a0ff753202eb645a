"""Running programs on problems, in the sandbox only, and each program of a problem once however often it is proposed.

arXiv:2510.14620, section 3.3: a program passes when it gives every test's output within 10 s. Finished runs stay in a journal, so
that a killed stage goes on without running them again; problems stream through in chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from galley.artifact import digest
from galley.papers.codeseq.answers import same_output
from galley.papers.codeseq.problems import Pair
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits, Outcome, Program, Stdin
from galley.synthesize.journal import Journal

LIMITS = Limits(cpu_s=10.0, wall_s=20.0, memory_mb=512, output_kb=64)


@dataclass(frozen=True)
class Failure:
    """The first case that a program got wrong: what went in, what should have come out, and what did (or why nothing did)."""

    given: int
    expected: int
    got: str


@dataclass(frozen=True)
class Judged:
    """What became of one program: how many of the cases were right, and the first that was not."""

    verdict: str
    right: int
    cases: int
    failure: Failure | None

    @property
    def passed(self) -> bool:
        """Say whether every case was right."""
        return self.right == self.cases


@dataclass(frozen=True)
class Job:
    """A program and the cases to run it on."""

    code: str
    cases: tuple[Pair, ...]

    @property
    def key(self) -> str:
        """Return what the outcome depends on."""
        return digest([self.code, [i for i, _ in self.cases], LIMITS])


class Judge:
    """A sandbox with a journal of what it has run."""

    def __init__(self, sandbox: Sandbox, journal: Journal) -> None:
        self.sandbox, self.journal = sandbox, journal
        self.isolation = ""

    def judge(self, jobs: Iterable[Job], *, chunk: int = 1024) -> Iterator[Judged]:
        """Yield the verdict on each job in order, a chunk of jobs in memory at a time.

        A job's first case runs alone; only programs that get it right run on the others. So `right` counts cases up to the first
        wrong one at least, and `failure` is the first wrong one in the cases' order.
        """
        jobs = iter(jobs)
        while part := list(islice(jobs, chunk)):
            first = list(self._run(Job(job.code, job.cases[:1]) for job in part))
            rest = self._run(
                Job(job.code, job.cases[1:]) for job, judged in zip(part, first, strict=True) if judged.passed and len(job.cases) > 1
            )
            for job, judged in zip(part, first, strict=True):
                if judged.passed and len(job.cases) > 1:
                    more = next(rest)
                    yield Judged(more.verdict, 1 + more.right, len(job.cases), more.failure)
                else:
                    yield Judged(judged.verdict, judged.right, len(job.cases), judged.failure)

    def _run(self, jobs: Iterable[Job]) -> Iterator[Judged]:
        """Yield the verdict on each job with all of its cases run."""
        for job, result in self.journal.run(((job.key, job) for job in jobs), self._work):
            yield _compare(job, result)

    def _work(self, jobs: Iterable[Job]) -> Iterator[str]:
        programs = (Program(str(n), job.code, Stdin([f"{i}\n" for i, _ in job.cases]), LIMITS) for n, job in enumerate(jobs))
        for outcome in self.sandbox.map(programs):
            self.isolation = outcome.isolation
            yield json.dumps({"verdict": outcome.verdict, "stdouts": list(outcome.stdouts), "why": why(outcome)})


def why(outcome: Outcome) -> str:
    """Return in one line why a program did not end normally."""
    return f"{outcome.exception}: {outcome.message}"[:200] if outcome.exception else outcome.verdict


def _compare(job: Job, result: str) -> Judged:
    """Judge printed outputs; a program that broke off has what it printed before that."""
    row = json.loads(result)
    stdouts: Sequence[str] = row["stdouts"]
    right, failure = 0, None
    for n, (given, expected) in enumerate(job.cases):
        got = stdouts[n] if n < len(stdouts) else None
        if got is not None and same_output(got, expected):
            right += 1
        elif failure is None:
            failure = Failure(given, expected, row["why"] if got is None or not got.strip() else got.strip()[:80])
    return Judged(row["verdict"], right, len(job.cases), failure)
