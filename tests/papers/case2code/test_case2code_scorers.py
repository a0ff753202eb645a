"""The strict scorer and the official one: right programs, wrong programs, programs that try to look right."""

import json
import os
from pathlib import Path

import pytest

from galley.papers.case2code.official import (
    LIMITS,
    constant_outputs,
    extract_code,
    inputs_of,
    lookup_outputs,
    outputs_of,
    read_official,
)
from galley.papers.case2code.official import (
    is_right as official_right,
)
from galley.papers.case2code.scorer import constant_program, is_right, lookup_program, run_cases
from galley.papers.case2code.select import Case
from galley.sandbox.pool import Sandbox

CASES = tuple(Case({"a": str(a), "b": str(b)}, str(a * b)) for a, b in [(1, 2), (3, 4), (5, 6), (2, 7)])
RIGHT = "def f(a, b):\n    return a * b\n"
WRONG = {
    "other": "def f(a, b):\n    return a + b\n",
    "text": "def f(a, b):\n    return str(a * b)\n",
    "float": "def f(a, b):\n    return float(a * b)\n",
    "names": "def f(x, y):\n    return x * y\n",
    "always_equal": "class E:\n    def __eq__(self, o):\n        return True\ndef f(a, b):\n    return E()\n",
    "exit": "import os\ndef f(a, b):\n    os._exit(0)\n",
    "one_off": "def f(a, b):\n    return a * b if a < 5 else 31\n",
    "forged": "def f(a, b):\n    print('output: 2')\n    return None\n",
    "syntax": "def f(a, b:\n",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(limits=LIMITS) as runner:
        yield runner


def test_only_the_right_program_is_right(sandbox):
    jobs = [(code, "f", CASES) for code in (RIGHT, *WRONG.values())]
    verdicts = [is_right(results, CASES) for results in run_cases(sandbox, jobs)]
    assert verdicts == [True] + [False] * len(WRONG)


def test_baselines_know_what_is_shown_and_no_more(sandbox):
    shown, names = [*CASES[:2], Case({"a": "9"}, "2")], ["a", "b"]
    lookup, constant = lookup_program("f", names, shown), constant_program("f", ["a=None", "b=None"], shown)
    jobs = [(lookup, "f", shown), (lookup, "f", CASES), (constant, "f", [CASES[0], shown[2]]), (constant, "f", CASES)]
    assert [is_right(r, c) for r, (_, _, c) in zip(run_cases(sandbox, jobs), jobs, strict=True)] == [True, False, True, False]


ROWS = [
    {
        "id": "a", "func_name": "f", "code": "def f(n):\n    if n == 2:\n        raise ValueError('two')\n    return {'k': n}\n",
        "example_str": "examples = [dict(n=1), dict(n=2)]\nexamples += [dict(n=1), dict(n=3)]",
        "example_outputs": [{"return": '"{\'k\': 1}"'}, {"error": 'printed\n<|EXCEPTION|> "<class \'ValueError\'>: two"'},
                            {"trace": "...", "return": '"{\'k\': 1}"'}, {"return": '"{\'k\': 3}"'}],
        "choosed_example_idx": [0, 1], "prompt": "Input: dict(n=1)",
    }
]  # fmt: skip


def test_official_tasks_are_scored_by_text(sandbox, tmp_path):
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    (task,) = read_official(tmp_path)
    assert task.outputs[1] == ("error", "<class 'ValueError'>: two")
    wrong = [task.code.replace("'two'", "'zwei'"), task.code.replace("'k': n", "'k': n + 0.0"), "x = 1", "import os\nos._exit(0)"]
    found = list(outputs_of(sandbox, [(task, task.code), *((task, code) for code in wrong)]))
    assert [official_right(outputs, task) for outputs in found] == [True, False, False, False, False]
    (inputs,) = inputs_of(sandbox, [task])
    assert [text for _, text in inputs] == ["{'n': 1}", "{'n': 2}", "{'n': 1}", "{'n': 3}"]
    assert lookup_outputs(task, inputs) == [*task.outputs[:3], task.outputs[0]] and constant_outputs(task) == [task.outputs[0]] * 4


@pytest.mark.skipif(not os.environ.get("GALLEY_MIRROR"), reason="needs the released test set")
def test_the_released_test_set_has_its_known_size_and_its_own_programs_pass(sandbox):
    tasks = read_official(Path(os.environ["GALLEY_MIRROR"]) / "case2code")
    assert len(tasks) == 500 and sum(len(t.outputs) for t in tasks) / 500 == pytest.approx(29.39, abs=0.01)
    assert sum(official_right(constant_outputs(t), t) for t in tasks) == 17
    some = tasks[::25]
    assert sum(official_right(o, t) for o, t in zip(outputs_of(sandbox, ((t, t.code) for t in some)), some, strict=True)) >= 18


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("x\n```python\na = 1\n```\ny", "a = 1\n"),
        ("```\nb\n```", "b\n"),
        ("c = 2", "c = 2"),
        ("```python\nd\n", "d\n"),
        ("```py\ne\n```\n```python\nf\n```", "f\n"),
    ],
)
def test_code_of_a_reply(reply, code):
    assert extract_code(reply) == code
