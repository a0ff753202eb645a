"""The jobs of a run as the console knows them, and how long they will still take.

Source: ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from galley.progress import State, read_state
from snakemake_logger_plugin_galley.recorded import Times, scale_of
from snakemake_logger_plugin_galley.words import job_name

NO_WORK = ("all",)  # rules that only gather


@dataclass(frozen=True)
class Job:
    """A job that has started."""

    id: int
    rule: str
    wildcards: Mapping[str, object]
    log: str
    output: tuple[str, ...]
    started: float

    @property
    def name(self) -> str:
        """Its rule and wildcards."""
        return job_name(self.rule, self.wildcards)


@dataclass
class Run:
    """Which jobs wait, run, are done or have failed; times are those of the records."""

    times: Times = field(default_factory=Times)
    planned: Counter[str] = field(default_factory=Counter)
    running: dict[int, Job] = field(default_factory=dict)
    done: dict[int, Job] = field(default_factory=dict)
    failed: dict[int, Job] = field(default_factory=dict)
    seen: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))  # rule, job, log
    scale: str | None = None

    @property
    def total(self) -> int:
        """The number of jobs that the run was planned with, or that have shown up since."""
        return max(self.planned.total(), sum(map(len, self.seen.values())))

    def start(self, job: Job) -> None:
        """Note that a job has started, perhaps for another try."""
        self.failed.pop(job.id, None)
        self.running[job.id] = job
        self.seen[job.rule][job.id] = job.log
        self.scale = scale_of(job.log) or self.scale

    def finish(self, job_id: int, when: float) -> tuple[Job, float] | None:
        """Note that a job has ended well; return it with its seconds."""
        job = self.running.pop(job_id, None)
        if job is None:
            return None
        self.done[job_id] = job
        self.times.add(job.rule, job.log, when - job.started)
        return job, when - job.started

    def fail(self, job_id: int) -> Job | None:
        """Note that a job has failed; return it if it ran."""
        job = self.running.pop(job_id, None)
        if job is not None:
            self.failed[job_id] = job
        return job

    def waiting(self) -> dict[str, int]:
        """Return how many jobs of each rule have not started."""
        left = {rule: n - len(self.seen.get(rule, ())) for rule, n in self.planned.items() if rule not in NO_WORK}
        return {rule: n for rule, n in left.items() if n > 0}

    def expected(self, job: Job) -> float | None:
        """Return the seconds that a job takes by earlier ones."""
        return self.times.job(job.rule, job.log)


@dataclass(frozen=True)
class Left:
    """The time left of what has been timed before, and the number of jobs that have not."""

    seconds: float
    untimed: int


def job_left(expected: float | None, elapsed: float, state: State | None) -> float | None:
    """Return the seconds left of a running job: by an earlier one, but not less than its loop says; the loop alone is not all of it."""
    by_loop = None if state is None else state.left
    known = [t for t in (None if expected is None else expected - elapsed, by_loop) if t is not None]
    return max(0.0, *known) if known else None


def time_left(run: Run, now: float, *, state: Callable[[Job], State | None] | None = None) -> Left:
    """Return the time left of a run as if its waiting jobs shared what now runs side by side; what waits for what is left out of it."""
    state = state or state_of
    running = [job_left(run.expected(job), now - job.started, state(job)) for job in run.running.values()]
    known, untimed = [t for t in running if t is not None], sum(t is None for t in running)
    work = sum(known)
    for rule, count in run.waiting().items():
        mean = run.times.mean(rule, run.scale, but=run.seen.get(rule, {}).values())
        if mean is None:
            untimed += count
        else:
            work += mean * count
    return Left(max([work / max(1, len(running)), *known]), untimed)


def state_of(job: Job) -> State | None:
    """Return what a running job's loop says; clocks of two machines may differ by a few seconds."""
    return read_state(Path(job.log), since=job.started - 5) if job.log else None
