import unittest

from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits, Program, UnitTests
from galley.synthesize.suites import calls, comparison, doctests, number_of, recorded, renamed, suite

DOUBLE = '''
def double(x):
    """Return twice x.

    >>> double(2)
    4
    >>> double('ab')
    'abab'
    >>> double(None)
    Traceback (most recent call last):
    TypeError
    >>> y = 3
    >>> double(y)
    6
    """
    return x * 2
'''


def run(code, tests):
    """The slow twin of the sandbox, for trusted text of this file only."""
    scope = {}
    exec(code + "\n" + tests, scope)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(scope["TestCases"]).run(result)
    return result


def test_each_test_is_a_method_that_fails_alone():
    tests = suite([comparison("assert double(1) == 2"), comparison("assert double(1) == 3"), comparison("assert double(2) > 3")])
    result = run(DOUBLE, tests)
    assert result.testsRun == 3 and [number_of(t.id()) for t, _ in result.failures] == [1]
    assert "2 != 3" in result.failures[0][1]


def test_no_tests_are_an_empty_class():
    assert run(DOUBLE, suite([])).testsRun == 0


def test_doctests_that_print_a_value_become_tests():
    found = doctests(DOUBLE, "double")
    assert found == ["self.assertEqual(double(2), 4)", "self.assertEqual(double('ab'), 'abab')", "y = 3\nself.assertEqual(double(y), 6)"]
    assert run(DOUBLE, suite(found)).wasSuccessful()


def test_recorded_and_renamed_calls():
    assert recorded("f", [1, "a"], (2,)) == "self.assertEqual(f(1, 'a'), (2,))"
    assert renamed("assert f(1) == f(2)", "f", "g") == "assert g(1) == g(2)"
    assert recorded("f", [1], float("inf")) is None and recorded("f", [10**5000], 1) is None and recorded("f", [set()], frozenset({1}))
    assert calls("assert f(1) == 2", "f") and not calls("assert g.f(1)", "f") and not calls("assert f(", "f")
    assert comparison("x = 1") is None and comparison("assert f(") is None and comparison("assert f(1), 'why'") == "assert f(1), 'why'"


def test_a_test_that_loops_is_interrupted_and_the_others_run():
    limits = Limits(cpu_s=3, wall_s=20, memory_mb=256)
    tests = suite([f"self.assertEqual(f({x}), {x})" for x in (0, 1, 2)], test_cpu_s=0.2)
    with Sandbox(limits=limits) as sandbox:
        outcome = sandbox.run(Program("x", "def f(x):\n    while x == 1:\n        pass\n    return x\n", UnitTests(tests, "f")))
    assert outcome.tests_run == 3 and [number_of(name) for name, _ in outcome.failures] == [1]
