import json

import pytest

from galley.papers.unitcoder.agents import (
    EmptyWriter,
    GivenPrograms,
    GivenTests,
    Item,
    ModelDebugger,
    ModelWriter,
    PrintRefiner,
    RenamingRefiner,
    SearchDebugger,
    fenced,
)  # fmt: skip
from galley.papers.unitcoder.pipeline import Settings, faults, kept_code, provenance, synthesize
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits
from galley.synthesize.executor import Executor

LIMITS = Limits(cpu_s=2, wall_s=20, memory_mb=256)
GOOD = "def add(a, b):\n    '''Add.'''\n    return a + b\n"
TESTS = ["self.assertEqual(add(2, 3), 5)", "self.assertEqual(add(0, -4), -4)"]
ITEMS = [
    Item("good", GOOD, "add"),
    Item("near", GOOD.replace("+", "-"), "add"),
    Item("far", "def add(a, b):\n    return [a]\n", "add"),
    Item("untested", GOOD, "add"),
    Item("lacks", "import nosuchmodule\n\n\n" + GOOD, "add"),
]
WRITER = GivenTests("given", {i.id: TESTS for i in ITEMS if i.id != "untested"})


@pytest.fixture(scope="module")
def run():
    with Sandbox(limits=LIMITS) as sandbox:
        yield Executor(sandbox)


def settings(**more):
    return Settings(limits=LIMITS, **more)


@pytest.fixture(scope="module")
def rows(run):
    debugger = SearchDebugger(tries=12, run=run, limits=LIMITS)
    return {r["id"]: r for r in synthesize(ITEMS, writer=WRITER, debugger=debugger, refiner=PrintRefiner(), run=run, settings=settings())}


def test_every_item_ends_in_one_status_with_its_way_there(rows):
    assert {name: row["status"] for name, row in rows.items()} == {
        "good": "passed", "near": "passed", "far": "failed", "untested": "error", "lacks": "error",
    }  # fmt: skip
    assert [provenance(rows[n]) for n in ("good", "near")] == ["first_pass+refined", "debugged+refined"]
    assert rows["lacks"]["reason"] == "environment: No module named 'nosuchmodule'" and rows["untested"]["reason"] == "no tests"
    assert rows["good"]["tests_run"] == 2 and rows["good"]["entry_calls"] >= 1 and rows["good"]["rounds"] == []


def test_rounds_stop_at_a_pass_and_go_on_from_the_first_executed_failure(rows):
    assert len(rows["near"]["rounds"]) == 1 and len(rows["far"]["rounds"]) == 3
    far = rows["far"]["rounds"]
    assert [r["input"] for r in far[1:]] == [r["proposals"][0]["digest"] for r in far[:-1]]
    assert all(len(r["proposals"]) <= 3 for r in far) and len(rows["near"]["passes"]) in (1, 2)


def test_rows_hold_what_identifies_them_and_are_json(rows):
    for row in rows.values():
        assert row["isolation"] and row["limits"]["cpu_s"] == 2 and row["seed"] == 0 and row["writer"] == "given" and "prompts" in row
        assert json.loads(json.dumps(row)) == row


def test_the_invariants_hold_and_each_breaks_when_it_should(rows):
    made = list(rows.values())
    assert faults(made, n_input=5, settings=settings()) == []
    assert faults(made[1:], n_input=5, settings=settings()) and faults([made[0], *made[:4]], n_input=5, settings=settings())
    wrong = [{**r, "provenance": "first_pass"} if r["id"] == "far" else r for r in made]
    assert faults(wrong, n_input=5, settings=settings())
    cut = [{**r, "rounds": r["rounds"][:1]} if r["id"] == "far" else r for r in made]
    assert any("round 2" in text for text in faults(cut, n_input=5, settings=settings()))
    late = [{**r, "rounds": [*r["rounds"], r["rounds"][0]]} if r["id"] == "near" else r for r in made]
    assert any("after a pass" in text for text in faults(late, n_input=5, settings=settings()))


def test_no_tests_are_no_pass_but_for_the_released_rule(run):
    items = ITEMS[:1]
    none = GivenPrograms("none", {})
    (strict,) = synthesize(items, writer=EmptyWriter(), debugger=none, refiner=None, run=run, settings=settings(rounds=0))
    (loose,) = synthesize(
        items, writer=EmptyWriter(), debugger=none, refiner=None, run=run, settings=settings(rounds=0, audits=frozenset({"vacuous_pass"}))
    )
    assert strict["status"] == "failed" and loose["status"] == "passed" and loose["tests_run"] == 0


def test_tests_that_never_call_the_function_are_no_pass(run):
    writer = GivenTests("elsewhere", {"good": ["self.assertEqual(1 + 1, 2)"]})
    (row,) = synthesize(ITEMS[:1], writer=writer, debugger=GivenPrograms("none", {}), refiner=None, run=run, settings=settings(rounds=0))
    assert row["status"] == "failed"


def test_a_refinement_that_fails_is_thrown_away(run):
    (row,) = synthesize(
        ITEMS[:1], writer=WRITER, debugger=GivenPrograms("n", {}), refiner=RenamingRefiner(), run=run, settings=settings(rounds=0)
    )
    assert row["status"] == "passed" and not row["refined"] and kept_code(row) == GOOD


def test_the_substring_blacklist_refuses_skill(run):
    fixed = "def add(a, b):\n    skill = a + b\n    return skill\n"
    debugger = GivenPrograms("drawn", {"near": [fixed]})
    for audits, status in ((frozenset(), "passed"), (frozenset({"substring_blacklist"}), "failed")):
        (row,) = synthesize(ITEMS[1:2], writer=WRITER, debugger=debugger, refiner=None, run=run, settings=settings(rounds=1, audits=audits))
        assert row["status"] == status


class Parrot:
    """A backend with fixed replies that keeps what it was asked."""

    def __init__(self, *texts):
        self.texts, self.asked = texts, []

    def generate(self, prompts, *, n, temperature, top_p, max_tokens, stop, seed):
        self.asked.append((prompts, n, temperature, seed))
        return [[type("Completion", (), {"text": self.texts[i % len(self.texts)]})() for i in range(n)] for _ in prompts]


def test_language_models_take_the_same_places(run):
    tests = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(add(1, 1), 2)\n"
    writer = ModelWriter(Parrot(f"Here:\n```python\n{tests}```"), name="m", seed=7)
    back = Parrot("no code", f"```\n{GOOD}```", "```python\ndef add(a, b):\n    return 0\n```")
    (row,) = synthesize(
        ITEMS[1:2], writer=writer, debugger=ModelDebugger(back, name="d", seed=7), refiner=None, run=run, settings=settings()
    )
    assert row["status"] == "passed" and row["provenance"] == "debugged" and row["prompts"]["tests"]
    assert [p["passed"] for p in row["rounds"][0]["proposals"]] == [True, False]  # the reply without code is no proposal
    (prompt,), n, temperature, seed = back.asked[0]
    assert n == 3 and temperature == 0.5 and seed == 8 and "0 != 2" in prompt[1]["content"] and "test_a" in prompt[1]["content"]
    (lost,) = synthesize(
        ITEMS[:1], writer=ModelWriter(Parrot("sorry"), name="m", seed=0), debugger=GivenPrograms("n", {}), refiner=None, run=run,
        settings=settings(),
    )  # fmt: skip
    assert lost["status"] == "error" and lost["reason"] == "no fenced code in the reply"


def test_fences():
    assert fenced("a\n```py\nx = 1\n```\nb\n```\ny\n```") == "x = 1\n" and fenced("none") is None
