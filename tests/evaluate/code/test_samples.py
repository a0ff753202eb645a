import gzip
import json
from dataclasses import dataclass

import pytest

from galley.artifact import GalleyError
from galley.evaluate.code.samples import MAX_PROGRAM_BYTES, read_samples, write_samples


@dataclass(frozen=True)
class Task:
    id: str
    prompt: str = "def f():\n"
    entry_point: str = "f"
    reference: str = "def f():\n    return 1\n"


TASKS = {f"HumanEval/{n}": Task(f"HumanEval/{n}") for n in range(3)}


def line(**row):
    return json.dumps(row).encode() + b"\n"


def test_completions_and_solutions_are_whole_programs(tmp_path):
    path = tmp_path / "s.jsonl"
    write_samples(path, [{"task_id": "HumanEval/0", "completion": "    return 1\n"}, {"task_id": "HumanEval/1", "solution": "x = 1"}])
    samples, rejected = read_samples(path, TASKS)
    assert [(s.line, s.task_id, s.program) for s in samples] == [
        (1, "HumanEval/0", "def f():\n    return 1\n"),
        (2, "HumanEval/1", "x = 1"),
    ]
    assert rejected == [] and all(not s.fault for s in samples)


def test_evalplus_reads_what_we_write(tmp_path):
    from evalplus.data import load_solutions

    path = tmp_path / "s.jsonl"
    write_samples(path, [{"task_id": "HumanEval/0", "solution": "é = '\u2028'\n"}, {"task_id": "HumanEval/0", "completion": "x"}])
    rows = list(load_solutions(str(path)))
    assert [r.get("solution", r.get("completion")) for r in rows] == ["é = '\u2028'\n", "x"]
    assert len(read_samples(path, TASKS)[0]) == 2


BAD = [
    (line(task_id="HumanEval/9", completion="x"), "unknown task 'HumanEval/9'"),
    (line(task_id=["HumanEval/0"], completion="x"), "unknown task"),
    (b'{"task_id": "HumanEval/0", "comp\n', "not JSON"),
    (line(task_id="HumanEval/0"), "no field 'completion' or 'solution'"),
    (line(completion="x"), "no field 'task_id'"),
    (line(task_id="HumanEval/0", completion=["x", "y"]), "completion is list; one string a line"),
    (b'{"task_id": "HumanEval/0", "completion": "\xff\xfe"}\n', "not UTF-8 at byte 42"),
    (b'{"task_id": "HumanEval/0", "task_id": "HumanEval/1", "completion": ""}\n', "the same field twice"),
    (b"[1, 2]\n", "not an object"),
    (b"[" * 200_000 + b"\n", "nested too deep"),
]


@pytest.mark.parametrize(("raw", "reason"), BAD, ids=[r for _, r in BAD])
def test_a_bad_line_is_reported_by_number_and_the_rest_is_read(tmp_path, raw, reason):
    good = line(task_id="HumanEval/1", completion="    pass\n")
    (tmp_path / "s.jsonl").write_bytes(good + b"\n" + raw + good)
    samples, rejected = read_samples(tmp_path / "s.jsonl", TASKS)
    assert [s.line for s in samples] == [1, 4]
    ((number, said),) = [(r.line, r.reason) for r in rejected]
    assert number == 3 and reason in said


def test_a_sample_s_number_may_come_once_and_samples_without_one_may_repeat(tmp_path):
    numbered = [line(task_id=f"HumanEval/{task}", sample=0, completion=text) for task, text in ((0, "a"), (0, "b"), (1, "c"))]
    rows = [*numbered, line(task_id="HumanEval/2", completion="d"), line(task_id="HumanEval/2", completion="d")]
    (tmp_path / "s.jsonl").write_bytes(b"".join(rows))
    samples, rejected = read_samples(tmp_path / "s.jsonl", TASKS)
    assert [s.line for s in samples] == [1, 3, 4, 5] and [(r.line, r.reason) for r in rejected] == [
        (2, "sample 0 of HumanEval/0 was in an earlier line")
    ]


@pytest.mark.parametrize(
    ("completion", "fault"),
    [("#" * 10_000_000, "at most 1000000 are run"), ("\ud800", "surrogate"), ("x = 1\0", "null character")],
    ids=["10 MB", "half", "null"],
)
def test_a_program_that_cannot_be_run_stays_as_a_failure(tmp_path, completion, fault):
    (tmp_path / "s.jsonl").write_bytes(line(task_id="HumanEval/0", completion=completion) + line(task_id="HumanEval/0", completion="ok"))
    samples, rejected = read_samples(tmp_path / "s.jsonl", TASKS)
    assert rejected == [] and fault in samples[0].fault and not samples[1].fault and MAX_PROGRAM_BYTES == 1_000_000


def test_a_line_without_end_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("galley.evaluate.code.samples.MAX_LINE_BYTES", 100)
    good = line(task_id="HumanEval/0", completion="x")
    (tmp_path / "s.jsonl").write_bytes(good + b"x" * 550 + b"\n" + good + b"y" * 250)
    samples, rejected = read_samples(tmp_path / "s.jsonl", TASKS)
    assert [s.line for s in samples] == [1, 3] and [r.line for r in rejected] == [2, 4]


def test_compressed_files_and_files_without_samples(tmp_path):
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress(line(task_id="HumanEval/0", completion="x")))
    assert len(read_samples(tmp_path / "s.jsonl.gz", TASKS)[0]) == 1
    (tmp_path / "none.jsonl").write_bytes(line(task_id="Mbpp/1", completion="x"))
    with pytest.raises(GalleyError, match=r"no sample of this benchmark \(1 lines rejected; line 1: unknown task 'Mbpp/1'"):
        read_samples(tmp_path / "none.jsonl", TASKS)
    with pytest.raises(GalleyError, match="galley code-generate"):
        read_samples(tmp_path / "absent.jsonl", TASKS)
