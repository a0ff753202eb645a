"""Readers on small files in each benchmark's format; on the real files where a mirror has them."""

import gzip
import json
import os
from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.data.code_benchmarks import (
    mbpp_few_shot,
    read_bigcodebench,
    read_humaneval,
    read_humaneval_plus,
    read_mbpp,
    read_mbpp_plus,
)
from galley.data.published_programs import read_codet, read_llmdebugger

MIRROR = Path(os.environ.get("GALLEY_MIRROR") or "/nonexistent")
needs_mirror = pytest.mark.skipif(not (MIRROR / "mbpp_plus").is_dir(), reason="GALLEY_MIRROR has no code benchmarks")


def source(folder, file, rows):
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / file).write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
    (folder / "source.json").write_text('{"status": "ok"}')
    return folder


@pytest.fixture
def mirrored(tmp_path):
    """Return a function to a folder that looks fetched and holds the mirror's file."""

    def of(name):
        folder = tmp_path / name
        folder.mkdir()
        for path in (MIRROR / name).iterdir():
            (folder / path.name).symlink_to(path)
        (folder / "source.json").write_text('{"status": "ok"}')
        return folder

    return of


def mbpp_row(number, **more):
    row = {"task_id": number, "text": "Add two numbers.", "code": "import math\r\ndef add(a, b):\r\n\treturn a + b", "test_setup_code": "",
           "test_list": ["assert add(1, 2) == 3", "assert max(add(0, 0), 0) == 0"], "challenge_test_list": []}  # fmt: skip
    return row | more


def test_mbpp_has_unix_line_ends_splits_and_both_prompts(tmp_path):
    folder = source(tmp_path / "mbpp", "mbpp.jsonl", [mbpp_row(n) for n in (2, 3, 10, 11, 510, 511, 601)])
    tasks = read_mbpp(folder)
    assert [len(read_mbpp(folder, split=s)) for s in ("prompt", "test", "validation", "train")] == [3, 2, 1, 1]
    assert tasks[0].reference == "import math\ndef add(a, b):\n\treturn a + b\n" and tasks[0].entry_point == "add"
    assert tasks[0].prompt == '"""\nAdd two numbers.\nassert add(1, 2) == 3\n"""\n'
    shown = mbpp_few_shot(tasks[3], tasks[:2])
    assert shown.count("[BEGIN]") == 3 and shown.count("[DONE]") == 2 and shown.endswith("== 0\n[BEGIN]\n")
    with pytest.raises(GalleyError, match="split is 'dev'"):
        read_mbpp(folder, split="dev")


def test_mbpp_s_entry_point_is_the_function_that_is_defined_and_called(tmp_path):
    folder = source(tmp_path / "mbpp", "mbpp.jsonl", [mbpp_row(5, test_list=["assert other(1) == 2"])])
    with pytest.raises(GalleyError, match=r"task 5: its tests call other, its code defines add"):
        read_mbpp(folder)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(GalleyError, match="galley fetch humaneval --out"):
        read_humaneval(tmp_path)
    folder = source(tmp_path / "h", "HumanEval.jsonl.gz", [{"task_id": "HumanEval/0"}])
    with pytest.raises(GalleyError, match=r"HumanEval\.jsonl\.gz:1: no field 'prompt'"):
        read_humaneval(folder)


def big_row(number, solution="    return os.sep\n", test="import unittest\n"):
    prompt = "import os\n\ndef task_func():\n    '''Say it.'''\n"
    return {"task_id": f"BigCodeBench/{number}", "complete_prompt": prompt, "instruct_prompt": "Say it.", "canonical_solution": solution,
            "code_prompt": "import os\ndef task_func():\n", "test": test, "entry_point": "task_func", "libs": "['os']"}  # fmt: skip


def test_the_standard_slice_of_bigcodebench(tmp_path):
    rows = [big_row(1), big_row(0), big_row(2, "    import numpy\n"), big_row(3, test="from pandas.core import frame\n")]
    folder = source(tmp_path / "b", "BigCodeBench.jsonl.gz", rows)
    (task,) = read_bigcodebench(folder)  # 0 needs over 20 s
    assert task.number == 1 and task.libraries == ("os",) and len(read_bigcodebench(folder, libraries="all")) == 4
    scope = {}
    exec(task.calibrated("x = os.sep"), scope)  # the import is forgiven
    assert scope["x"] == os.sep and scope["task_func"]() is None
    with pytest.raises(GalleyError, match="libraries is 'most'"):
        read_bigcodebench(folder, libraries="most")


@needs_mirror
def test_the_real_files(mirrored):
    plus, mbpp = read_humaneval_plus(mirrored("humaneval_plus")), read_mbpp_plus(mirrored("mbpp_plus"))
    assert (len(plus), sum(len(t.base) for t in plus), sum(len(t.plus) for t in plus)) == (164, 1570, 122_683)
    assert (len(mbpp), sum(len(t.base) for t in mbpp), sum(len(t.plus) for t in mbpp)) == (378, 1174, 39_841)
    by_id = {t.id: t for t in mbpp}
    assert isinstance(by_id["Mbpp/2"].base[0][0], tuple) and isinstance(by_id["Mbpp/252"].base[0][0], complex)
    assert isinstance(by_id["Mbpp/63"].base[0][0][0], tuple)
    assert len(read_mbpp(mirrored("mbpp"))) == 974
    assert len(read_bigcodebench(mirrored("bigcodebench"))) == 286


@needs_mirror
def test_published_programs_find_their_tasks(mirrored):
    tasks = read_humaneval_plus(mirrored("humaneval_plus"))
    folder = mirrored("codet")
    solutions = read_codet(folder, tasks, per_task=3)
    assert list(solutions) == [t.id for t in tasks] and {len(s) for s in solutions.values()} == {3}
    assert "threshold" in solutions["HumanEval/0"][0]
    assert len(read_codet(folder, tasks, per_task=1, kind="tests")) == 164
    seeds = read_llmdebugger(mirrored("llmdebugger"), "starcoder")
    assert len(seeds) == 500 and seeds[0]["task_id"] == "Mbpp/17"
    with pytest.raises(GalleyError, match="model is 'gpt'"):
        read_llmdebugger(folder, "gpt")
