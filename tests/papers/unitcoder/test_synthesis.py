"""What is compared on functions of the corpus: the same programs on both sides, guided and blind edits, and the broken variants."""

import pytest

from galley.papers.unitcoder import corpus
from galley.papers.unitcoder.agents import BlindDebugger, GivenTests, MisledDebugger, Reply, SearchDebugger
from galley.papers.unitcoder.pipeline import Settings
from galley.papers.unitcoder.pipeline_rows import BUG, control_rows, guidance_rows, self_recorded_rows
from galley.papers.unitcoder.synthesis import shown_tests, with_faults
from galley.plan import read_plan_of
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task, answered
from galley.synthesize.repair import Failure

LIMITS = Limits(cpu_s=2, wall_s=20, memory_mb=256)
SETTINGS = Settings(limits=LIMITS)
CODE = {
    "add": "def add(a, b):\n    return a + b\n",
    "most": "def most(a, b):\n    return a if a > b else b\n",
    "span": "def span(a, b):\n    low = min(a, b)\n    high = max(a, b)\n    return high - low\n",
    "same": 'def same(a, b):\n    """>>> same(1, 1)\n    True\n    """\n    return a == b\n',
}
INPUTS = tuple((a, b) for a in (0, 3, -2) for b in (0, 1, 5, -4))


@pytest.fixture(scope="module")
def run():
    with Sandbox(limits=LIMITS) as sandbox:
        yield Executor(sandbox)


@pytest.fixture(scope="module")
def made(run):
    tasks = {t.id: t for t in answered([Task(n, c, n, INPUTS) for n, c in CODE.items()], run=run, limits=LIMITS)}
    items = list(with_faults(tasks, seed=0))
    shown = GivenTests("recorded", {i.id: shown_tests(tasks[i.id.removesuffix(BUG)]) for i in items})
    return tasks, items, shown


def rates(rows, metric):
    scores = {}
    for row in rows:
        if row["metric"] == metric and row.get("setting") in ("all", "round=3"):
            scores.setdefault(row["method"], []).append(row["score"])
    return {method: sum(found) / len(found) for method, found in scores.items()}


def test_tests_of_the_fault_and_of_the_function_are_given_the_same_faulty_programs(made, run):
    tasks, items, shown = made
    asked = []

    class Asked(GivenTests):
        def write(self, items):
            asked.append([item.id for item in items])
            return super().write(items)

    rows = self_recorded_rows(items, shown=Asked("recorded", shown.tests), tasks=tasks, run=run, settings=SETTINGS)
    assert asked == [[f"{name}{BUG}" for name in CODE]], "no intact function is among them"
    found = rates([row for row in rows if row["score"] == row["score"]], "precision")
    assert found["self_recorded"] == found["control:calls_only"] == 0, "both keep every fault"
    assert "recorded:faulty" not in found, "of these faults the right function's tests keep none"


def test_the_search_repairs_what_its_tests_say_and_misled_it_does_not(made, run):
    _, items, shown = made
    search = SearchDebugger(tries=12, run=run, limits=LIMITS)
    found = rates(guidance_rows(items, writer=shown, search=search, run=run, settings=SETTINGS, tries=12), "yield")
    assert set(found) == {"blind:faulty", "control:misled:faulty"} and found["control:misled:faulty"] <= found["blind:faulty"] <= 1


def test_blind_edits_do_not_look_at_the_failure():
    one, other = (Failure("a", CODE["span"], "", "span", outcome) for outcome in (None, "said"))
    blind = BlindDebugger(seed=0)
    first = blind.propose([one], n=5, number=0, said=[""])
    assert first == blind.propose([other], n=5, number=0, said=["told"]) != blind.propose([one], n=5, number=1, said=[""])
    assert len(first[0]) == 5 and len({reply.text for reply in first[0]}) == 5


def test_a_misled_debugger_sees_the_tests_and_the_outcome_of_another():
    class Sees:
        name = "sees"

        def propose(self, failures, *, n, number, said):
            return [[Reply(f"{f.code} {f.tests} {f.outcome} {text}")] for f, text in zip(failures, said, strict=True)]

    failures = [Failure(name, name, f"tests {name}", "f", f"outcome {name}") for name in "ab"]
    (a,), (b,) = MisledDebugger(Sees(), seed=0).propose(failures, n=1, number=0, said=["said a", "said b"])
    assert (a.text, b.text) == ("a tests b outcome b said b", "b tests a outcome a said a")
    assert MisledDebugger(Sees(), seed=0).propose(failures[:1], n=1, number=0, said=["said a"]) == [[]]


def test_every_broken_variant_of_the_pipeline_breaks_what_its_claim_says(made, run):
    _, items, shown = made
    search = SearchDebugger(tries=4, run=run, limits=LIMITS)
    rows = control_rows(items, writer=shown, debugger=search, run=run, settings=SETTINGS)
    found = {(row["method"], row["setting"]): row["score"] for row in rows}
    assert found["control:no_stop", "broken_invariants"] > 0 and found["released:lost_items", "broken_invariants"] > 0
    assert found["renaming_refiner", "polished_rows"] == 0 < found["control:blind_refinement", "polished_rows"]
    assert found["released:vacuous_pass", "fewest_tests"] == 0 == found["released:vacuous_pass", "fewest_calls"]


def test_files_of_the_hub_are_read_to_the_plan_s_number(tmp_path, monkeypatch):
    rows = [{"hexsha": f"h{n}", "content": f"def f{n}(x):\n    return x\n"} for n in range(9)]
    monkeypatch.setattr(corpus, "hub_rows", lambda repo, **settings: iter(rows))
    plan = read_plan_of("unitcoder", "paper")
    hub = plan.source_corpus.hub.model_copy(update={"files": 3})
    plan = plan.model_copy(update={"source_corpus": plan.source_corpus.model_copy(update={"hub": hub, "wheel": False, "stdlib_files": 1})})
    found = list(corpus.corpus_files(tmp_path, plan))
    assert [file.origin for file in found[-3:]] == [f"bigcode/the-stack-dedup/h{n}" for n in range(3)] and len(found) == 4
    assert found[-1].text.startswith("def f2")
