import random

import numpy as np
import pytest

from galley.papers.unitcoder.model_tests import Solved, cut, draw_rows, drawn_passes, model_asserts, passed_asserts
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits
from galley.synthesize.executor import Executor
from galley.synthesize.oracles import Task

LIMITS = Limits(cpu_s=2, wall_s=20, memory_mb=256)
SUITES = [
    "f(1) == 2\nassert f(2) == 3, 'why'\nassert\n    f(3) == 4\n",
    "f(1) ==  2\nassert g(1) == 1\nassert f(",
    "____ == f(1)\n\nimport timeit",
]


def test_asserts_are_counted_by_their_normal_form_and_must_call_the_function():
    found = model_asserts(SUITES, "f")
    assert found[0] == "self.assertEqual(f(1), 2)"
    assert set(found) == {
        "self.assertEqual(f(1), 2)",
        "self.assertEqual(f(2), 3)",
        "self.assertEqual(f(3), 4)",
        "self.assertEqual(____, f(1))",
    }


def test_a_completion_ends_where_a_new_statement_begins():
    assert cut("    return 1\n\n\nassert f(1)\n") == "    return 1\n\n\n"
    assert cut("    x = 1\n    # note\n    return x") == "    x = 1\n    # note\n    return x\n"


def test_each_program_has_a_verdict_for_each_assert():
    asserts = ["self.assertEqual(f(1), 2)", "self.assertEqual(f(0), 1)", "self.assertEqual(undefined, f(1))"]
    codes = ["def f(x):\n    return x + 1\n", "def f(x):\n    while x:\n        pass\n    return 1\n", "def f(:"]
    with Sandbox(limits=LIMITS) as sandbox:
        run = Executor(sandbox)
        assert passed_asserts(codes, asserts, "f", run=run, limits=LIMITS) == ((True, True, False), (False, True, False), (False,) * 3)
        assert passed_asserts(codes, [], "f", run=run, limits=LIMITS) == ((), (), ())


def solved(name, right, passes):
    return Solved(Task(name, "", "f", ()), ("a",) * len(passes[0]), right, passes, (True,), passes, passes, passes, (False,), (True,))


def mean(rows, method, metric):
    scores = [r["score"] for r in rows if r["method"] == method and r["metric"] == metric]
    return sum(scores) / len(scores)


def test_precision_and_coverage_of_drawn_asserts():
    tasks = [solved("a", (True, False), ((True, True), (False, False))), solved("b", (False,), ((False, True),))]
    none = draw_rows(tasks, chosen="passes", k=0, draws=4, seed=0, method="model_tests")
    both = draw_rows(tasks, chosen="passes", k=2, draws=4, seed=0, method="model_tests")
    assert abs(mean(none, "model_tests", "precision") - 1 / 3) < 1e-12 and mean(none, "model_tests", "coverage") == 1
    assert mean(both, "model_tests", "precision") == 1 and mean(both, "model_tests", "coverage") == 0.5
    assert mean(both, "random", "coverage") == pytest.approx(((1 - (2 / 3) ** 2) + 1 / 3) / 2)  # a third is kept: of two programs, of one


def test_a_mixed_up_runner_keeps_as_many_and_not_the_right_ones():
    rng = np.random.default_rng(0)
    right = [tuple(bool(b) for b in rng.random(10) < 0.3) for _ in range(40)]
    tasks = [solved(str(n), r, tuple((ok, ok) for ok in r)) for n, r in enumerate(right)]
    rows = draw_rows(tasks, chosen="passes", k=1, draws=2, seed=0, method="model_tests")
    base = sum(map(sum, right)) / 400
    assert mean(rows, "model_tests", "precision") == 1 and mean(rows, "control:mixed_up", "precision") == pytest.approx(base, abs=0.08)
    assert mean(rows, "random", "coverage") == pytest.approx(mean(rows, "control:mixed_up", "coverage"), abs=0.05)


def test_all_solutions_of_a_task_see_the_same_draws():
    found = drawn_passes([(True, False, True)] * 3, k=2, draws=20, rng=random.Random(0))
    assert found.shape == (20, 3) and (found == found[:, :1]).all() and found.any() and not found.all()
