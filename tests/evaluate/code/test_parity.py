"""evalplus's own comparison inside our sandbox, on small tasks: where it agrees, and where a difference gets its name."""

import json

import pytest
from code_sources import write_source

from galley.artifact import GalleyError
from galley.data.code_benchmarks import PlusTask, read_humaneval_plus
from galley.evaluate.code.parity import compare, judge_theirs, published_programs, write_parity
from galley.evaluate.code.references import compute
from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox

HALF = PlusTask("HumanEval/1", "", "half", "def half(x):\n    return x / 2 if x < 10**6 else x\n", ([4], [10**9]), ([3], [1]), 0.0)
ZERO = PlusTask("HumanEval/32", "", "find_zero", "def find_zero(xs):\n    return -xs[0] / xs[1]\n", ([[2, 1]],), ([[3, -1]],), 1e-4)
SETS = PlusTask(
    "Mbpp/2",
    "",
    "similar_elements",
    "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    ([(1, 2), (2, 3)],),
    ([(1,), ()],),
    0.0,
)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(preload=("evalplus.eval",)) as made:
        yield made


def test_they_agree_where_evalplus_has_no_defect_and_its_defects_are_named(sandbox):
    tasks = {t.id: t for t in (HALF, ZERO, SETS)}
    programs = [
        (HALF, HALF.reference),
        (HALF, "def half(x):\n    return x // 2\n"),  # wrong on 10**9 and on 3
        (HALF, "def half(x):\n    return x / 2 if x < 10**6 else x + 1\n"),  # off by one, which a tolerance forgives
        (HALF, "def half(x):\n    raise KeyError\n"),
        (HALF, "not a program"),
        (ZERO, ZERO.reference),
        (ZERO, "def find_zero(xs):\n    return 0\n"),
        (SETS, "def similar_elements(a, b):\n    return [x for x in a if x in b] * 2\n"),
        (SETS, "def similar_elements(a, b):\n    return 5\n"),
        (SETS, SETS.reference + "open('/dev/null').close()\n"),  # as many an import does; evalplus sets open to None
    ]
    samples = [Sample(line, task.id, program) for line, (task, program) in enumerate(programs, start=1)]
    expected = compute(list(tasks.values()), sandbox=sandbox)
    counts, differences = compare(sandbox, samples, tasks, expected=expected)
    found = {(d.line, d.suite): (d.ours, d.theirs, d.cause) for d in differences}
    assert found == {
        (3, "base"): ("fail", "pass", "sticky tolerance"),
        (6, "base"): ("pass", "fail", "find_zero never passes"),
        (6, "plus"): ("pass", "fail", "find_zero never passes"),
        (10, "base"): ("pass", "fail", "reliability guard"),
        (10, "plus"): ("pass", "fail", "reliability guard"),
    }
    assert sum(counts.values()) == 2 * len(samples) and counts["base", True, True] == 2
    assert [r.passed for r in judge_theirs(sandbox, samples[:2], tasks, "base", expected=expected)] == [True, False]


def test_the_published_programs_of_a_source_are_compared_by_one_command(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "cache"))
    tasks = read_humaneval_plus(sources / "humaneval_plus")
    rows = [{"prompt": t.prompt, "samples": [f"    return {body}\n", "    return None\n", "    return 1 /\n"]}
            for t, body in zip(tasks, ("x + x", "s.upper()", "xs[-1]"), strict=True)]  # fmt: skip
    write_source(sources / "codet", "solutions_humaneval_codegen16B.jsonl", rows)
    samples = published_programs("humaneval_plus", sources, tasks, per_task=2)
    assert len(samples) == 6 and samples[0].program == tasks[0].prompt + "    return x + x\n"
    table = write_parity("humaneval_plus", sources=sources, out=tmp_path / "out", per_task=3)
    counted = table[["programs", "agree", "both_pass", "both_fail", "ours_only", "theirs_only"]].values.tolist()
    assert counted == [[9, 9, 2, 7, 0, 0], [9, 9, 3, 6, 0, 0]]
    assert [json.loads(x) for x in (tmp_path / "out/differences.jsonl").read_text().splitlines()] == []
    with pytest.raises(GalleyError, match="benchmark is 'mbpp'; evalplus judges"):
        published_programs("mbpp", sources, tasks, per_task=1)
