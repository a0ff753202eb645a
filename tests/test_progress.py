"""A stage's state beside its log: found by itself, written now and then, gone at the end, never in the way."""

import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from galley import progress as module
from galley.progress import State, own_log, progress, read_state, state_file

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the log is found through /proc")  # noqa: PTH112


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log that the loops of this process take for theirs, and a clock that ticks once a look."""
    ticks = itertools.count(100.0, 0.5)
    monkeypatch.setattr(module, "own_log", lambda: tmp_path / "stage.log")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks), time=lambda: 5000.0))
    monkeypatch.setattr(module._Teller, "next_write", 0.0)
    return tmp_path / "stage.log"


def said(log):
    return json.loads(state_file(log).read_text())


def test_a_loop_says_how_far_it_is_and_leaves_nothing(log):
    seen = []
    for _ in progress(range(10), what="train"):
        seen.append(said(log) | {"rate": 0})
    assert [s["done"] for s in seen] == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8], "not more than once a second"
    assert seen[0] == {"what": "train", "done": 0, "total": 10, "rate": 0, "when": 5000.0}
    assert list(log.parent.iterdir()) == []


def test_a_loop_that_goes_on_counts_from_where_it_was(log):
    for _ in progress(range(3, 9), what="train", initial=3, total=9):
        state = read_state(log, since=0)
    assert (state.done, state.total) == (7, 9) and state.rate < 4, "what was done before says nothing of the speed"


def test_the_outermost_loop_is_told_and_then_the_next(log):
    told = []
    for _ in progress(range(2), what="outer"):
        for _ in progress(range(8), what="inner"):
            told.append(said(log)["what"])
    for _ in progress(range(4), what="after"):
        told += [said(log)["what"]] if state_file(log).exists() else []
    assert set(told[:16]) == {"outer"} and set(told[16:]) == {"after"}


def test_a_loop_that_is_left_early_leaves_nothing(log):
    for _ in progress(range(4), what="train"):
        break
    assert list(log.parent.iterdir()) == [] and module._Teller.outermost is None
    with pytest.raises(ValueError, match="mine"):
        for _ in progress(range(4), what="train"):
            raise ValueError("mine")
    assert module._Teller.outermost is None


def test_a_folder_that_cannot_be_written_is_no_fault(log, monkeypatch):
    monkeypatch.setattr(module, "own_log", lambda: log.parent / "none" / "stage.log")
    assert list(progress(range(5), what="train")) == [0, 1, 2, 3, 4]


def test_a_generator_without_a_length_has_no_total(log):
    for _ in progress((i for i in range(3)), what="read"):
        assert said(log)["total"] is None
    assert State("read", 3, None, 2.0, 0.0).left is None


def test_a_state_is_read_if_it_is_whole_and_of_this_job(tmp_path):
    log = tmp_path / "stage.log"
    assert read_state(log, since=0) is None
    for text in ("", "{", "[]", '{"what": 1}', '{"what": "a", "done": 1, "total": 2, "rate": 1, "when": "x"}'):
        state_file(log).write_text(text)
        assert read_state(log, since=0) is None, text
    state_file(log).write_text(json.dumps({"what": "a", "done": 1, "total": 5, "rate": 2.0, "when": 100.0}))
    state = read_state(log, since=100)
    assert state == State("a", 1, 5, 2.0, 100.0) and state.left == 2
    assert read_state(log, since=101) is None, "an earlier stage left it"


@needs_proc
@pytest.mark.parametrize(("name", "found"), [("stage.log", True), ("stage.txt", False)])
def test_the_log_is_where_standard_error_goes(tmp_path, name, found):
    code = "from galley.progress import own_log; print(own_log())"
    with (tmp_path / name).open("w") as stderr:
        done = subprocess.run([sys.executable, "-c", code], stderr=stderr, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == (str(tmp_path / name) if found else "None")


def test_a_pipe_is_no_log():
    code = "from galley.progress import own_log; assert own_log() is None"
    subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=True)


def test_this_process_has_no_log():
    assert own_log() is None or own_log().suffix == ".log"
    assert list(progress([1, 2], what="here")) == [1, 2]
