"""The authors' demo in its own form: four functions, one of which its tests define again."""

import json

import pandas as pd
import pytest

from galley.papers.unitcoder.demo import Run, entry_point, run_demo, runs_of, without
from galley.papers.unitcoder.stages import stage
from galley.plan import read_plan_of
from galley.tables.rows import read_items

GOOD = "import math\n\n\ndef inc(x):\n    return x + 1\n"
BAD = GOOD.replace("+ 1", "+ 2")
CLASS = "class TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(inc(1), 2)\n"
TESTS = f"import unittest\n\n{CLASS}"
COPY = f"import unittest\n\n\ndef inc(x):\n    return x + 1\n\n\n{CLASS}"
OTHER = TESTS.replace("inc(1), 2", "inc(1), 'two'")
CLASH = {"ALL": "Descriptors cannot be created directly."}


def part(code, tests, verdict, said=None):
    return {"code": code, "test_code": tests, "status": [verdict, said or {}]}


def row(name, original, rounds=(), polish=None):
    return {"id": name, "original": original, "debug_rounds": [list(r) for r in rounds], **({"polish": polish} if polish else {})}


KEPT = [
    row("at once", part(GOOD, TESTS, "pass"), polish=part(GOOD, TESTS, "pass")),
    row("repaired", part(BAD, TESTS, "fail", {"test_a": "AssertionError"}), rounds=[[part(GOOD, TESTS, "pass")]]),
    row("never called", part(BAD, COPY, "pass")),
]
LOST = [row("lost", part(BAD, OTHER, "fail", CLASH), rounds=[[part(GOOD, OTHER, "fail")]])]
LOG = "Found passing solution in round 1\n" + "Starting polish\n" * 3 + "Polished code passed tests\n"


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    source = folder / "unitcoder_demo"
    source.mkdir()
    (source / "source.json").write_text('{"status": "ok"}')
    for name, rows in (("passed", KEPT), ("failed", LOST), ("polished", KEPT[:1])):
        (source / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (source / "pipeline.log").write_text(LOG)
    items = made(folder, folder / "out")
    return items.set_index(["method", "setting"])["score"]


def made(sources, out) -> pd.DataFrame:
    run_demo(stage["demo"].job(read_plan_of("unitcoder", "smoke"), scale="smoke", out=out), sources=sources, workers=1)
    return read_items([out / "demo.items.parquet"])


def test_files_are_held_to_the_log(counts):
    gaps = counts["demo_files"]
    assert set(gaps) == {0} and len(gaps) == 3
    assert counts["control:other_tests:files"].min() < 0


def test_programs_end_as_they_did_and_under_other_tests_otherwise(counts):
    assert counts["demo_again", "ended otherwise"] == 0 and counts["demo_again", "programs judged"] == 5
    assert counts["control:other_tests", "ended otherwise"] > 0


def test_a_function_that_its_tests_define_again_was_never_called(counts):
    assert counts["demo_again", "verified, never called"] == 1 and counts["control:no_copy", "verified, never called"] == 0
    assert counts["control:no_copy", "verified, and pass"] == 2


def test_a_failure_of_the_machine_is_no_failure_of_the_program(counts):
    assert counts["pipeline", "first failures of the machine's packages"] == 1
    assert [run.elsewhere for run in runs_of(LOST[0])] == [True, False]


def test_an_absent_demo_leaves_rows_that_say_so(tmp_path):
    (tmp_path / "unitcoder_demo").mkdir()
    (tmp_path / "unitcoder_demo/source.json").write_text('{"status": "absent"}')
    items = made(tmp_path, tmp_path / "out")
    assert set(items["status"]) == {"not_run"} and items["reason"].str.contains("unitcoder_demo is out of reach").all()


def test_the_function_is_the_last_one_and_only_its_definition_goes():
    assert entry_point("def a(x):\n    return x\n\n\ndef b(x):\n    return a(x)\n") == "b" and entry_point("x = 1\n") == ""
    assert "def inc" not in without(COPY, "inc") and "class TestCases" in without(COPY, "inc")
    assert runs_of(KEPT[1])[1] == Run(GOOD, TESTS, "inc", True, False)
