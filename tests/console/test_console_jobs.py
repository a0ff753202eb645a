"""Jobs that wait, run, end and fail, and the time that is left of them."""

from collections import Counter

import pytest

from galley.progress import State
from snakemake_logger_plugin_galley.jobs import Job, Run, job_left, time_left
from snakemake_logger_plugin_galley.recorded import Times


def job(number, *, rule="arms", started=0.0):
    return Job(number, rule, {"scale": "smoke", "shard": str(number)}, f"logs/smoke/{rule}-{number}.log", (f"out-{number}",), started)


def no_state(_job):
    return None


@pytest.fixture
def run():
    return Run(planned=Counter({"arms": 4, "table": 1, "all": 1}))


def test_a_job_starts_and_ends(run):
    run.start(job(1, started=10))
    assert run.scale == "smoke" and run.waiting() == {"arms": 3, "table": 1}
    assert run.finish(1, 52.0) == (job(1, started=10), 42.0)
    assert list(run.done) == [1] and not run.running and run.expected(job(2)) == 42, "what this run saw counts too"
    assert run.finish(1, 60.0) is None and run.finish(99, 60.0) is None


def test_a_failed_job_may_start_again(run):
    run.start(job(1))
    assert run.fail(1) == job(1) and list(run.failed) == [1]
    run.start(job(1, started=5))
    assert not run.failed and run.waiting() == {"arms": 3, "table": 1}
    assert run.fail(7) is None


def test_the_total_grows_when_more_jobs_show_up():
    run = Run(planned=Counter({"arms": 1}))
    for number in (1, 2, 3):
        run.start(job(number))
    assert run.total == 3


@pytest.mark.parametrize(
    ("expected", "elapsed", "state", "left"),
    [
        (None, 5, None, None),
        (60, 20, None, 40),
        (60, 90, None, 0),
        (None, 5, State("train", 10, 30, 2.0, 0.0), 10),
        (60, 20, State("train", 10, 30, 2.0, 0.0), 40),
        (60, 58, State("train", 10, 30, 2.0, 0.0), 10),
        (60, 20, State("read", 10, None, 2.0, 0.0), 40),
    ],
)
def test_a_running_job_s_time_left(expected, elapsed, state, left):
    assert job_left(expected, elapsed, state) == left


def test_the_whole_run_s_time_left(run):
    assert time_left(run, 0.0, state=no_state).untimed == 5
    run.times = Times({"arms": {f"logs/smoke/arms-{n}.log": 60.0 for n in (1, 2, 3, 4)}, "table": {"logs/table_x.log": 10.0}})
    run.start(job(1))
    run.start(job(2))
    left = time_left(run, 20.0, state=no_state)
    assert left.untimed == 0 and left.seconds == (40 + 40 + 60 + 60 + 10) / 2
    run.planned = Counter({"arms": 2})
    assert time_left(run, 20.0, state=no_state).seconds == 40, "not less than the longest running job"


def test_jobs_never_timed_are_counted(run):
    run.start(job(1))
    run.times = Times({"table": {"logs/table_x.log": 10.0}})
    left = time_left(run, 20.0, state=no_state)
    assert (left.seconds, left.untimed) == (10, 4)
