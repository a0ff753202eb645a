"""Samples to scores, through the command line's functions and the real sandbox."""

import json

import pandas as pd
import pytest
from conftest import DOUBLE, write_source

from galley.artifact import GalleyError
from galley.evaluate.code.score import SCORE_COLUMNS, score_file

RIGHT = {"HumanEval/0": "    return 2 * x\n", "HumanEval/1": "    return s.upper()\n", "HumanEval/2": "    return xs[0]\n"}


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def samples(tmp_path):
    right = [{"task_id": task, "completion": text} for task, text in RIGHT.items()]
    wrong = [{"task_id": task, "completion": "    return None\n"} for task in RIGHT]
    return write(tmp_path / "s.jsonl", [*right, "{broken", *wrong, {"task_id": "HumanEval/7", "completion": ""}])


def test_scores_have_intervals_and_bad_lines_are_listed(sources, samples, tmp_path):
    scores = score_file("humaneval", samples, sources=sources, out=tmp_path / "out", kept=tmp_path / "kept", ks=(1, 2, 5))
    assert list(scores.columns) == SCORE_COLUMNS and list(scores["metric"]) == ["pass@1", "pass@2"]
    assert list(scores["value"]) == [0.5, 1.0] and scores["n_samples"].tolist() == [6, 6] and scores["lines_rejected"].tolist() == [2, 2]
    results = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert [r["verdict"] == "pass" for r in results] == [True] * 3 + [False] * 3 and [r["line"] for r in results] == [1, 2, 3, 5, 6, 7]
    rejected = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert [r["line"] for r in rejected] == [4, 8] and pd.read_csv(tmp_path / "out/scores.csv")["value"].tolist() == [0.5, 1.0]


def test_two_workers_and_a_second_run_give_the_same_bytes(sources, samples, tmp_path):
    files = ("results.jsonl", "scores.csv", "rejected.jsonl")
    for name, workers in (("a", 1), ("b", 2), ("a2", 1)):
        score_file("humaneval_plus", samples, sources=sources, out=tmp_path / name, kept=tmp_path / "kept", workers=workers)
    first, *others = ([(tmp_path / name / f).read_bytes() for f in files] for name in ("a", "b", "a2"))
    assert all(other == first for other in others)
    assert pd.read_csv(tmp_path / "a/scores.csv")[["suite", "value"]].values.tolist() == [["base", 0.5], ["plus", 0.5]]


def test_missing_tasks_are_refused_unless_asked_for(sources, tmp_path):
    path = write(tmp_path / "s.jsonl", [{"task_id": "HumanEval/0", "completion": RIGHT["HumanEval/0"]}])
    with pytest.raises(GalleyError, match=r"no sample for 2 of humaneval's 3 tasks, such as HumanEval/1, HumanEval/2.*--partial"):
        score_file("humaneval", path, sources=sources, out=tmp_path / "out", kept=tmp_path / "kept")
    assert not (tmp_path / "out").exists()
    scores = score_file("humaneval", path, sources=sources, out=tmp_path / "out", kept=tmp_path / "kept", partial=True)
    assert scores["value"].tolist() == [1.0] and scores["n_tasks"].tolist() == [1] and scores["benchmark_tasks"].tolist() == [3]


def test_a_benchmark_whose_own_solution_fails_is_not_scored(tmp_path):
    row = {"task_id": "HumanEval/0", "entry_point": "double", "prompt": DOUBLE, "canonical_solution": "    return x\n",
           "test": "def check(candidate):\n    assert candidate(2) == 4\n"}  # fmt: skip
    write_source(tmp_path / "sources/humaneval", "HumanEval.jsonl.gz", [row])
    path = write(tmp_path / "s.jsonl", [{"task_id": "HumanEval/0", "completion": "    return 2 * x\n"}])
    with pytest.raises(GalleyError, match=r"humaneval is not certified here.*HumanEval/0 \(fail.*code-certify"):
        score_file("humaneval", path, sources=tmp_path / "sources", out=tmp_path / "out", kept=tmp_path / "kept")
    assert not (tmp_path / "out").exists()


def test_certification_is_remembered_until_the_task_changes(sources, samples, tmp_path, monkeypatch):
    from galley.evaluate.code import certify

    record = tmp_path / "kept/certified-humaneval.json"
    score_file("humaneval", samples, sources=sources, out=tmp_path / "a", kept=tmp_path / "kept")
    assert set(json.loads(record.read_text())) == set(RIGHT)
    calls = []
    monkeypatch.setattr(certify, "write_json", lambda *a: calls.append(a))
    score_file("humaneval", samples, sources=sources, out=tmp_path / "b", kept=tmp_path / "kept")
    assert calls == []
    record.write_text(json.dumps({**json.loads(record.read_text()), "HumanEval/1": "stale"}))
    score_file("humaneval", samples, sources=sources, out=tmp_path / "c", kept=tmp_path / "kept")
    assert len(calls) == 1


def test_an_unknown_benchmark_lists_the_known(sources, samples, tmp_path):
    with pytest.raises(GalleyError, match="benchmark is 'humaneval2'; allowed: humaneval, mbpp"):
        score_file("humaneval2", samples, sources=sources, out=tmp_path / "out")
