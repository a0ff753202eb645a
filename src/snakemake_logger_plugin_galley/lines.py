"""The console's lines: a job's start and end, a failure with the end of its log, the footer.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from galley.progress import State
from snakemake_logger_plugin_galley.jobs import Job, Left, Run, job_left, state_of, time_left
from snakemake_logger_plugin_galley.words import about, clean, clock, one_line

TAIL = 60  # lines of a failed job's log; the whole of it is in the log, and in Snakemake's
MOST = 6  # running jobs in the footer
READ = 2**17  # bytes at the end of a log


def start(job: Job) -> str:
    """Return the line of a job that starts."""
    return f"start   {job.name}"


def end(job: Job, seconds: float, run: Run) -> str:
    """Return the line of a job that has ended well."""
    return f"done    {job.name}  {clock(seconds)}  ({len(run.done)} of {run.total})"


def plan(run: Run) -> str:
    """Return what the run is about to do: its jobs, the long ones by their rules."""
    rules = ", ".join(f"{n} {rule}" for rule, n in sorted(run.planned.items(), key=lambda item: (-item[1], item[0])))
    return f"{run.total} jobs: {one_line(rules)}"


def stopped(job: Job, seconds: float) -> str:
    """Return the line of a job that ended because the run was cancelled."""
    return f"stopped {job.name}  {clock(seconds)}"


def failure(error: Mapping[str, Any], job: Job | None, *, when: float, logs: bool) -> Iterator[str]:
    """Return what there is to know of a failed job: what it was, its log and command, and with `logs` the end of the log."""
    name = job.name if job else one_line(str(error.get("rule_name")))
    yield f"FAILED  {name}" + (f"  {clock(when - job.started)}" if job else "") + f"  (job {error.get('jobid')})"
    facts = {"message": error.get("rule_msg"), "output": ", ".join(error.get("output") or ()), "log": ", ".join(error.get("log") or ())}
    facts |= {"conda-env": error.get("conda_env"), "shell": error.get("shellcmd"), **(error.get("aux") or {})}
    for fact, value in facts.items():
        if value:
            yield f"    {one_line(fact)}: {one_line(str(value))}"
    for log in (error.get("log") or ()) if logs else ():
        yield from tail(Path(log))


def tail(log: Path) -> Iterator[str]:
    """Return the last lines of a log, each bar that was drawn over and over only as it last was."""
    try:
        with log.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - READ))
            text = handle.read().decode(errors="replace")
    except OSError as problem:
        yield f"    {clean(str(log))}: {problem.strerror}"
        return
    lines = [clean(line.rstrip("\r").rpartition("\r")[2]) for line in text.rstrip().split("\n")]
    if not text.strip():
        yield f"    {clean(str(log))} is empty"
        return
    cut = len(lines) > TAIL or size > READ
    yield f"    ---- {f'the last {min(TAIL, len(lines))} lines of ' if cut else ''}{clean(str(log))}"
    yield from (f"    {line}" for line in lines[-TAIL:])
    yield "    ----"


def footer(run: Run, now: float, *, began: float, rows: int) -> list[str]:
    """Return the running jobs with their progress, and how far the whole run is."""
    states = {job.id: state_of(job) for job in run.running.values()}
    shown = sorted(run.running.values(), key=lambda job: job.started)[: max(1, min(MOST, rows - 4))]
    lines = [running(job, run.expected(job), states[job.id], now) for job in shown]
    if len(shown) < len(run.running):
        lines.append(f"  ... and {len(run.running) - len(shown)} more")
    left = time_left(run, now, state=lambda job: states[job.id])
    return [*lines, whole(run, left, now - began)]


def running(job: Job, expected: float | None, state: State | None, now: float) -> str:
    """Return the footer's line of a running job."""
    elapsed, left = now - job.started, job_left(expected, now - job.started, state)
    parts = [f"  {job.name}", clock(elapsed)]
    if state is not None:
        share = f" ({100 * state.done // state.total} %)" if state.total else ""
        parts.append(f"{one_line(str(state.what))} {state.done}{f'/{state.total}' if state.total else ''}{share}")
    if left is not None:
        parts.append(f"about {about(left)} left" if left > 0 else "longer than expected")
    return "  ".join(parts)


def whole(run: Run, left: Left, elapsed: float) -> str:
    """Return the footer's last line: the whole run."""
    parts = [f"{len(run.done)} of {run.total} jobs done", f"{len(run.running)} running"]
    parts += [f"{len(run.failed)} FAILED"] * bool(run.failed) + [clock(elapsed)]
    if left.seconds > 0:
        parts.append(f"{'at least' if left.untimed else 'about'} {about(left.seconds)} left")
    parts += [f"{left.untimed} never timed"] * bool(left.untimed)
    return ", ".join(parts)
