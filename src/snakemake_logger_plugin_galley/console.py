"""The console: Snakemake's records in, the screen's lines out.

Until a workflow starts, and in dry runs, everything is shown as Snakemake shows it; so is what is said meanwhile that is no
job's start or end. A fault of the console's own falls back to Snakemake's output: it must never cost a run.

Source: ours.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from logging import INFO, LogRecord
from pathlib import Path
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from galley.interruption import STOPPING
from galley.progress import state_file
from snakemake_logger_plugin_galley import lines
from snakemake_logger_plugin_galley.jobs import Job, Run
from snakemake_logger_plugin_galley.recorded import SCALES, read_times
from snakemake_logger_plugin_galley.screen import Screen
from snakemake_logger_plugin_galley.summary import recipes_asked, recipes_made, summary
from snakemake_logger_plugin_galley.words import clean, one_line

REDRAW = 1.0  # seconds
# What Snakemake says of every run; unknown messages are shown.
CHATTER = ("Building DAG of jobs", "Using shell:", "Conda environments: ignored", "Singularity containers: ignored", "Select jobs to",
           "Elapsed time:", "Group jobs: inactive")  # fmt: skip
# What it says of each job that was stopped and of the run; that it waits for the jobs is not so where they are ended.
OF_THE_SIGNAL = ("RuleException", "WorkflowError", "Will exit after finishing currently running jobs")
SILENT = (LogEvent.JOB_STARTED, LogEvent.PROGRESS, LogEvent.RESOURCES_INFO, LogEvent.RULEGRAPH, LogEvent.GROUP_INFO)


class HarmlessFormatter(DefaultFormatter):
    """Snakemake's own words without what would drive the terminal: a recipe's names and its errors are among them."""

    def format(self, record: LogRecord) -> str:
        """Return a record's text; Snakemake's handler takes None, as a word too, for nothing to show."""
        return clean(str(super().format(record)))


class Console:
    """One run's console; `settings` are Snakemake's output settings."""

    def __init__(self, settings: Any, folder: Path = Path()) -> None:
        self.settings, self.folder = settings, folder
        quiet = settings.quiet or ()
        self.plain = ColorizingTextHandler(nocolor=settings.nocolor, stream=sys.stdout if settings.stdout else sys.stderr)
        self.plain.setFormatter(HarmlessFormatter(quiet, settings.show_failed_logs))
        self.plain.addFilter(
            DefaultFilter(quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds)  # type: ignore[arg-type]
        )
        self.screen = Screen(self.plain.stream, colour=not self.plain.nocolor)
        self.run, self.began, self.started, self.ended = Run(), time.time(), False, threading.Event()
        self.command: list[str] = []
        self.nothing = self.cancelled = self.quiet = False
        self.ticker = threading.Thread(target=self._redraw, name="console", daemon=True)

    def handle(self, record: LogRecord) -> None:
        """Show a record."""
        if not self.started:
            self.started = getattr(record, "event", None) == LogEvent.WORKFLOW_STARTED and not self.settings.dryrun
        if not self.started or self.ended.is_set():
            self.plain.handle(record)
            return
        try:
            self._show(record)
        except Exception as fault:
            self.ended.set()
            self.screen.write([f"The console failed ({clean(repr(fault))}); Snakemake's own output follows."])
            self.plain.handle(record)

    def close(self) -> None:
        """Take the footer away and sum up."""
        if self.ended.is_set() or not self.started:
            return
        self.ended.set()
        if self.ticker.is_alive():
            self.ticker.join()  # or it might draw below the last word
        with contextlib.suppress(Exception):  # Snakemake ignores faults here, and the run is over
            self.screen.write([] if self._is_quiet(LogEvent.PROGRESS) else self._end())

    def _show(self, record: LogRecord) -> None:
        event, shown = getattr(record, "event", None), bool(self.plain.filter(record))
        self.cancelled |= STOPPING.is_set()
        if event == LogEvent.WORKFLOW_STARTED:
            self._begin(record)
        elif event == LogEvent.RUN_INFO:
            self.run.planned = Counter({rule: n for rule, n in record.stats.items() if rule != "total"})  # type: ignore[attr-defined]
            self._say([lines.plan(self.run)], shown)
        elif event == LogEvent.JOB_INFO:
            job = job_of(record)
            self.run.start(job)
            self._say([lines.start(job)], shown and (self.screen.live or self.settings.printshellcmds))
        elif event == LogEvent.SHELLCMD:
            self._say([f"        {one_line(str(getattr(record, 'shellcmd', None) or record.msg))}"], shown)
        elif event == LogEvent.JOB_FINISHED:
            self._finished(record, shown)
        elif event == LogEvent.JOB_ERROR:
            self._failed(record, shown)
        elif event not in SILENT or self.settings.verbose:
            self._other(record, shown)

    def _begin(self, record: LogRecord) -> None:
        self.began = record.created
        self.command = _words(str(getattr(record, "cmd", "")))
        self.run.times = read_times(self.folder)
        named = re.search(r"\bscale=(\w+)", " ".join(self.command))
        self.run.scale = named[1] if named and named[1] in SCALES else None
        self.quiet = self._is_quiet(LogEvent.PROGRESS)
        if self.screen.live and not self.quiet:
            self.ticker.start()

    def _finished(self, record: LogRecord, shown: bool) -> None:
        ended = self.run.finish(record.job_id, record.created)  # type: ignore[attr-defined]
        if ended is not None:
            _forget(ended[0])
            line = lines.end(*ended, self.run)
            self._say([self.screen.paint(line[:4], "good") + line[4:]], shown)

    def _failed(self, record: LogRecord, shown: bool) -> None:
        job = self.run.fail(record.jobid)  # type: ignore[attr-defined]
        _forget(job)
        if self.cancelled and job is not None:
            self.run.failed.pop(job.id)
            self._say([lines.stopped(job, record.created - job.started)], shown)
            return
        told = list(lines.failure(record.__dict__, job, when=record.created, logs=self.settings.show_failed_logs))
        self._say([self.screen.paint(told[0], "bad"), *told[1:]], shown)

    def _other(self, record: LogRecord, shown: bool) -> None:
        text = self.plain.format(record).strip("\n")
        self.nothing |= text.startswith("Nothing to be done")
        self.cancelled |= text.startswith("Terminating processes on user request")
        chatter = record.levelno <= INFO and text.startswith(CHATTER) and not self.settings.verbose
        killed = self.cancelled and text.startswith(OF_THE_SIGNAL)
        if text and text != "None" and not chatter and not killed:
            self._say([self.plain.decorate(record, text)], shown)

    def _say(self, said: Iterable[str], shown: bool) -> None:
        self.screen.write(said if shown else [], self._footer())

    def _footer(self) -> list[str]:
        if not self.screen.live or self.quiet or not self.run.running:
            return []
        return lines.footer(self.run, time.time(), began=self.began, rows=self.screen.rows)

    def _redraw(self) -> None:
        while not self.ended.wait(REDRAW):
            with contextlib.suppress(Exception):  # a job that ends meanwhile; the next second draws it
                footer = self._footer()
                self.screen.write([], footer)

    def _is_quiet(self, event: LogEvent) -> bool:
        record = LogRecord("", INFO, "", 0, "", None, None)
        record.event = event
        return not self.plain.filter(record)

    def _end(self) -> list[str]:
        run = self.run
        recipes = recipes_made(output for job in run.done.values() for output in job.output)
        whole = self.nothing or (run.total > 0 and len(run.done) == run.total)
        if whole:
            recipes |= recipes_asked(self.command, self.folder, everything=self.nothing or "all" in run.planned)
        said = list(summary(self.folder, recipes, self.screen.columns))
        said += [self.screen.paint(f"FAILED  {job.name}", "bad") + f"  {one_line(job.log)}" for job in run.failed.values()]
        if run.total:
            said.append(f"{len(run.done)} of {run.total} jobs done in {lines.clock(time.time() - self.began)}")
        return said


def job_of(record: LogRecord) -> Job:
    """Return the job that a JOB_INFO record tells of."""
    info = record.__dict__
    log, output = info.get("log") or [""], info.get("output") or ()
    return Job(
        info["jobid"], str(info["rule_name"]), dict(info.get("wildcards") or {}), str(log[0]), tuple(map(str, output)), record.created
    )


def _forget(job: Job | None) -> None:
    """Remove the state that a killed stage left, which nobody reads any more."""
    if job is not None and job.log:
        with contextlib.suppress(OSError):
            state_file(Path(job.log)).unlink(missing_ok=True)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)[1:]
    except ValueError:  # Snakemake joins the words without quotes
        return command.split()[1:]
