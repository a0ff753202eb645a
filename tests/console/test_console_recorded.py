"""Times of earlier jobs: benchmarks before metadata, a job's own before its rule's, one scale's only."""

import json

import pytest

from snakemake_logger_plugin_galley.recorded import Times, benchmark_of, read_times, scale_of


@pytest.fixture
def folder(tmp_path):
    metadata, benchmarks = tmp_path / ".snakemake/metadata", tmp_path / "benchmarks/smoke"
    (metadata / "long").mkdir(parents=True)
    benchmarks.mkdir(parents=True)
    records = {
        "a1": {"rule": "arms", "log": ["logs/smoke/arms-0.log"], "starttime": 100.0, "endtime": 130.0},
        "a2": {"rule": "arms", "log": ["logs/smoke/arms-0.log"], "starttime": 100.0, "endtime": 150.0},
        "long/old": {"rule": "arms", "log": ["logs/smoke/arms-0.log"], "starttime": 10.0, "endtime": 99.0},
        "b": {"rule": "arms", "log": ["logs/smoke/arms-1.log"], "starttime": 100.0, "endtime": 900.0},
        "c": {"rule": "arms", "log": ["logs/paper/arms-0.log"], "starttime": 0.0, "endtime": 9000.0},
        "d": {"rule": "fetch", "log": ["logs/sources/x.log"], "starttime": 100.0, "endtime": 50.0},
        "e": {"rule": "all", "log": [], "starttime": 100.0, "endtime": 101.0},
        "f": {"rule": "table", "log": ["logs/table_x.log"], "starttime": 100.0, "endtime": 104.0},
    }
    for name, record in records.items():
        (metadata / name).write_text(json.dumps(record))
    (metadata / "broken").write_text("{")
    (metadata / "other").write_text("[1]")
    (benchmarks / "arms-1.jsonl").write_text('{"s": 60.0}\n{"s": 80.0}\n')
    (benchmarks / "arms-0.jsonl").write_text("half a line")
    return tmp_path


def test_what_a_folder_holds(folder):
    times = read_times(folder).by_rule
    assert times["arms"] == {"logs/smoke/arms-0.log": 50.0, "logs/smoke/arms-1.log": 70.0, "logs/paper/arms-0.log": 9000.0}
    assert times["table"] == {"logs/table_x.log": 4.0}
    assert "all" not in times and "fetch" not in times, "no log, and an output that is older than its job"


def test_nothing_is_known_of_an_empty_folder(tmp_path):
    assert read_times(tmp_path) == Times()


def test_a_job_s_own_time_goes_before_its_rule_s(folder):
    times = read_times(folder)
    assert times.job("arms", "logs/smoke/arms-0.log") == 50
    assert times.job("arms", "logs/smoke/arms-7.log") == 60, "the mean at its scale"
    assert times.job("arms", "logs/laptop/arms-0.log") is None, "another scale says nothing"
    assert times.job("unknown", "logs/smoke/x.log") is None
    assert times.job("table", "logs/table_y.log") == 4


def test_waiting_jobs_are_timed_by_those_not_started(folder):
    times = read_times(folder)
    assert times.mean("arms", "smoke", but=["logs/smoke/arms-1.log"]) == 50
    assert times.mean("arms", "smoke", but=["logs/smoke/arms-1.log", "logs/smoke/arms-0.log"]) == 60
    assert times.mean("arms", None) is None and times.mean("table", "paper") == 4


def test_paths():
    assert benchmark_of("logs/smoke/m/arms-0.log") == "benchmarks/smoke/m/arms-0.jsonl"
    assert [scale_of(p) for p in ("logs/smoke/x.log", "logs/table_paper.log")] == ["smoke", None]
