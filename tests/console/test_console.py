"""The console itself: records in, lines out; Snakemake's own where nothing runs, and where the console fails."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from galley.progress import state_file
from snakemake_logger_plugin_galley import LogHandler
from snakemake_logger_plugin_galley.console import Console

SETTINGS = {
    "dryrun": False, "printshellcmds": False, "nocolor": True, "quiet": None, "debug_dag": False, "verbose": False,
    "show_failed_logs": True, "stdout": False,
}  # fmt: skip


class Stage:
    """A run's records as Snakemake sends them, and what the console made of them."""

    def __init__(self, folder, monkeypatch, stream=None, **settings):
        self.folder, self.stream = folder, stream or io.StringIO()
        monkeypatch.setattr(sys, "stderr", self.stream)
        monkeypatch.setattr(sys, "stdout", self.stream)
        monkeypatch.chdir(folder)
        self.console = Console(SimpleNamespace(**SETTINGS | settings), folder)

    def say(self, event=None, msg=None, *, level=logging.INFO, when=0.0, **extra):
        record = logging.makeLogRecord({"event": event, "msg": msg, "levelno": level, "levelname": logging.getLevelName(level), **extra})
        record.created = when
        self.console.handle(record)

    def begin(self, cmd="snakemake results/table_x.csv --config scale=smoke", **stats):
        self.say(LogEvent.WORKFLOW_STARTED, "Workflow has started!", quietness=Quietness.HOST, cmd=cmd)
        self.say(None, "Building DAG of jobs...")
        self.say(LogEvent.RESOURCES_INFO, "Provided cores: 2")
        if stats:
            self.say(LogEvent.RUN_INFO, "Job stats:\n...", stats={**stats, "total": sum(stats.values())})

    def start(self, number, rule="arms", *, when=0.0, output=()):
        log = f"logs/smoke/{rule}-{number}.log"
        self.say(LogEvent.JOB_STARTED, "Execute 1 jobs...", jobs=[number])
        self.say(LogEvent.JOB_INFO, f"Rule: {rule}", jobid=number, rule_name=rule, wildcards={"scale": "smoke", "shard": str(number)},
                 log=[log], output=list(output), when=when)  # fmt: skip
        self.say(LogEvent.SHELLCMD, f"Shell command: galley {rule}", shellcmd=f"galley {rule} &> {log}")
        return self.folder / log

    def finish(self, number, *, when):
        self.say(LogEvent.JOB_FINISHED, f"Finished jobid: {number}", job_id=number, when=when)
        self.say(LogEvent.PROGRESS, "None", done=1, total=2)

    def fail(self, number, rule="arms", *, when):
        facts = {"rule_msg": None, "output": ["out"], "input": [], "conda_env": None, "aux": {"external_jobid": "77"}, "indent": False}
        self.say(LogEvent.JOB_ERROR, f"Error in rule {rule}", level=logging.ERROR, when=when, jobid=number, rule_name=rule,
                 log=[f"logs/smoke/{rule}-{number}.log"], shellcmd="galley arms --all", **facts)  # fmt: skip

    def lines(self):
        self.console.close()
        return self.stream.getvalue().splitlines()


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return lambda **options: Stage(tmp_path, monkeypatch, **options)


def test_without_a_terminal_a_job_is_one_line_at_its_end(stage):
    run = stage()
    run.begin(arms=2)
    run.start(0)
    run.start(1)
    run.finish(1, when=65.0)
    run.finish(0, when=70.0)
    assert run.lines()[:3] == ["2 jobs: 2 arms", "done    arms shard=1  1:05  (1 of 2)", "done    arms shard=0  1:10  (2 of 2)"]


def test_a_terminal_shows_starts_and_a_footer_that_goes(stage, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    run = stage(stream=Terminal())
    run.begin(arms=2)
    log = run.start(0)
    log.parent.mkdir(parents=True)
    state_file(log).write_text('{"what": "train\\u001b[2J", "done": 5, "total": 20, "rate": 1e-9, "when": 1.0}')
    run.say(None, "A message.")
    assert "start   arms shard=0" in run.stream.getvalue()
    footer = run.stream.getvalue().rpartition("A message.\n")[2]
    assert "train 5/20 (25 %)" in footer and "0 of 2 jobs done, 1 running" in footer and "[2J" not in footer.partition("arms")[0]
    run.finish(0, when=3.0)
    assert not state_file(log).exists(), "what a killed stage left is removed"
    assert "running" not in run.lines()[-1]


@pytest.mark.parametrize("dryrun", [True, False])
def test_what_snakemake_says_itself_cannot_drive_the_terminal_either(stage, dryrun):
    """A recipe's fault is told before the first job, a dry run lists names: both say what somebody else wrote."""
    run = stage(dryrun=dryrun)
    evil = "claim '\x1b[2J\x1b]0;title\x07X\u202e' of \x9b31m"
    run.say(None, f"Error in the recipe:\n\t{evil}", level=logging.ERROR)
    run.begin(arms=1)
    run.start(0, rule=f"a{evil}")
    if not dryrun:
        run.finish(0, when=1.0)
    run.say(None, evil, level=logging.ERROR)
    text = "\n".join(run.lines())
    assert "Error in the recipe:\n\tclaim 'X' of" in text and (dryrun or "done    aclaim 'X' of" in text)
    assert not any((ord(ch) < 32 and ch not in "\n\t") or 127 <= ord(ch) < 160 or ch == "\u202e" for ch in text)


def test_the_shell_command_is_shown_when_asked_for(stage):
    run = stage(printshellcmds=True)
    run.begin(arms=1)
    run.start(0)
    assert run.lines()[1:3] == ["start   arms shard=0", "        galley arms &> logs/smoke/arms-0.log"]


def test_a_failure_shows_the_end_of_its_log_without_its_control_sequences(stage):
    run = stage()
    run.begin(arms=1)
    log = run.start(0)
    log.parent.mkdir(parents=True)
    log.write_bytes(
        b"first\n" + b"".join(b"line %d\n" % n for n in range(100)) + b" 10%|#\r 90%|#########\n\x1b]0;title\x07The \x1b[2Jreason\n"
    )
    run.fail(0, when=12.0)
    text = "\n".join(run.lines())
    assert "FAILED  arms shard=0  0:12  (job 0)" in text and "shell: galley arms --all" in text and "external_jobid: 77" in text
    assert "the last 60 lines of logs/smoke/arms-0.log" in text and "    The reason" in text
    assert "line 99" in text and "first" not in text and " 90%|" in text and " 10%|" not in text and "\x1b" not in text
    assert text.splitlines()[-2] == "FAILED  arms shard=0  logs/smoke/arms-0.log"


def test_a_failure_without_a_log_says_so(stage):
    run = stage()
    run.begin(arms=2)
    run.start(0)
    run.fail(0, when=1.0)
    log = run.start(1)
    log.parent.mkdir(parents=True)
    log.touch()
    run.fail(1, when=1.0)
    text = "\n".join(run.lines())
    assert "logs/smoke/arms-0.log: No such file or directory" in text and "logs/smoke/arms-1.log is empty" in text


def test_a_job_that_is_tried_again_and_ends_is_no_failure(stage):
    run = stage()
    run.begin(arms=1)
    run.start(0)
    run.fail(0, when=1.0)
    run.say(None, "Trying to restart job 0.")
    run.start(0, when=2.0)
    run.finish(0, when=5.0)
    lines = run.lines()
    assert "Trying to restart job 0." in lines and lines[-2] == "done    arms shard=0  0:03  (1 of 1)"


def test_cancelled_jobs_are_stopped_not_failed(stage):
    run = stage()
    run.begin(arms=1)
    run.start(0)
    run.say(None, "Terminating processes on user request, this might take some time.")
    run.say(
        LogEvent.ERROR,
        "RuleException:\nCalledProcessError ... died with <Signals.SIGINT: 2>.",
        level=logging.ERROR,
        exception="RuleException",
    )
    run.fail(0, when=9.0)
    assert [line for line in run.lines() if "RuleException" in line or "FAILED" in line] == []
    assert "stopped arms shard=0  0:09" in run.stream.getvalue()


def test_the_verdicts_of_what_was_made_come_last(stage):
    run = stage()
    (run.folder / "results").mkdir()
    for recipe in ("x", "y"):
        (run.folder / f"results/claims_{recipe}.csv").write_text(
            "claim_id,statement,tier,kind,scale,verdict,estimate,ci_low,ci_high\nD1,It works.,headline,order,smoke,proxy_agrees,1,0.5,2\n"
        )
    run.begin(table=1)
    run.start(0, "table", output=["results/claims_x.csv"])
    run.finish(0, when=1.0)
    text = "\n".join(run.lines())
    assert "x at smoke scale, 1 claims: 1 proxy_agrees\n  D1  proxy_agrees  1 [0.5, 2]  It works." in text and "y at smoke" not in text


@pytest.mark.parametrize(
    ("cmd", "found"), [("snakemake results/table_x.csv", True), ("snakemake results/sources/a", False), ("snakemake", True)]
)
def test_what_was_up_to_date_is_summed_up_too(stage, cmd, found):
    run = stage()
    (run.folder / "results").mkdir()
    (run.folder / "results/claims_x.csv").write_text("claim_id,statement,tier,kind,scale,verdict,estimate,ci_low,ci_high\n")
    run.begin(cmd)
    run.say(None, "Nothing to be done (all requested files are present and up to date).")
    lines = run.lines()
    assert lines[0].startswith("Nothing to be done") and any("0 claims" in line for line in lines) == found


def test_a_dry_run_is_snakemake_s_own(stage):
    run = stage(dryrun=True, stdout=True)
    run.say(LogEvent.RUN_INFO, "Job stats:\njob    count\n", stats={"total": 1})
    run.say(None, "This was a dry-run")
    assert run.lines() == ["Job stats:", "job    count", "", "This was a dry-run"]


def test_an_error_before_the_start_is_snakemake_s_own(stage):
    run = stage()
    run.say(LogEvent.ERROR, "WorkflowError:\nconfig: scale is 'huge'", level=logging.ERROR)
    assert run.lines() == ["WorkflowError:", "config: scale is 'huge'"]


@pytest.mark.parametrize("quiet", [{Quietness.ALL}, {Quietness.PROGRESS, Quietness.RULES}])
def test_quiet_is_quiet(stage, quiet):
    run = stage(quiet=quiet)
    run.begin(arms=1)
    run.start(0)
    run.finish(0, when=1.0)
    assert run.lines() == []


def test_a_fault_of_the_console_costs_its_lines_only(stage):
    run = stage()
    run.begin(arms=1)
    run.say(LogEvent.JOB_INFO, "Rule: arms")  # without what a job has
    run.say(None, "Snakemake goes on")
    lines = run.lines()
    assert "The console failed (KeyError('jobid'))" in lines[1] and lines[-1] == "Snakemake goes on"


def test_snakemake_finds_the_plugin():
    plugin = LoggerPluginRegistry().get_plugin("galley")
    assert plugin.log_handler is LogHandler
    handler = LogHandler(SimpleNamespace(**SETTINGS), None)
    assert handler.writes_to_stream and not handler.writes_to_file and not handler.needs_rulegraph
    handler.close()
    assert "console" not in handler.__dict__, "nothing was said"
