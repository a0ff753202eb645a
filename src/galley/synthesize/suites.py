"""Unit tests as text: asserts, doctests and recorded calls written as one unittest class `TestCases`, a method per test.

A test `assert f(x) == y` becomes `assertEqual(f(x), y)`, so that a failure says both values; an assert inside the class stays an
assert. Many small methods keep one failure from hiding the others.

Source: the class's name and form are those of arXiv:2406.15877 and arXiv:2502.11460; the rest is ours.
"""

from __future__ import annotations

import ast
import doctest
from collections.abc import Sequence

HEAD = "import unittest\n\n\nclass TestCases(unittest.TestCase):\n"
# A test that runs on is interrupted, so that the others have their turn; the sandbox's own limit stands behind it.
ALARM = """import signal
import unittest


def _late(number, frame):
    raise TimeoutError("test ran too long")


class TestCases(unittest.TestCase):
    def setUp(self):
        signal.signal(signal.SIGVTALRM, _late)
        signal.setitimer(signal.ITIMER_VIRTUAL, {seconds!r})

    def tearDown(self):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

"""


def suite(tests: Sequence[str], *, test_cpu_s: float | None = None) -> str:
    """Return the class with one method a test, each the statements of one test; no tests give an empty class.

    `test_cpu_s` interrupts a test that takes longer, which then errs; without it a loop without end ends the whole run.
    """
    methods = [f"    def test_{i:03d}(self):\n{_indented(text)}" for i, text in enumerate(tests)]
    head = HEAD if test_cpu_s is None else ALARM.format(seconds=test_cpu_s)
    return head + ("\n".join(methods) if methods else "    pass\n")


def number_of(name: str) -> int:
    """Return which of `suite`'s tests has a method's name, such as 7 for test_007."""
    return int(name.rsplit("_", 1)[1])


def comparison(text: str) -> str | None:
    """Return an assert as a statement that says both values when it fails; None when it is no single assert.

    `assert a == b` becomes `self.assertEqual(a, b)`; other asserts stay as they are.
    """
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        return None
    test = body[0].test
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        return f"self.assertEqual({ast.unparse(test.left)}, {ast.unparse(test.comparators[0])})"
    return ast.unparse(body[0])


def calls(text: str, entry_point: str) -> bool:
    """Return whether a test calls the entry point by its plain name."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == entry_point for n in ast.walk(tree))


def renamed(text: str, old: str, new: str) -> str:
    """Return a test of one function as if it were another's: its calls go to the new name."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree)


def recorded(entry_point: str, arguments: Sequence[object], expected: object) -> str | None:
    """Return the test that a call on plain data gives the expected plain value; None for values that cannot be written (inf, huge)."""
    try:
        text = f"self.assertEqual({entry_point}({', '.join(repr(a) for a in arguments)}), {expected!r})"
        names = {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return text if names <= {"self", entry_point, "set", "frozenset"} else None


def doctests(source: str, entry_point: str) -> list[str]:
    """Return the examples of a function's docstring that call it and print one plain value, as tests; none when there are none."""
    tree = ast.parse(source)
    node = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry_point), None)
    try:
        examples = doctest.DocTestParser().get_examples((ast.get_docstring(node) if node else None) or "")
    except ValueError:
        return []
    tests, setup = [], ""
    for example in examples:
        source, want = example.source.strip(), example.want.strip()
        if example.exc_msg is not None:
            continue
        if not want and not calls(source, entry_point):
            setup += source + "\n"  # imports and values that later examples use
        elif want and calls(source, entry_point):
            try:
                value = ast.literal_eval(want)
                ast.parse(source, mode="eval")
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            tests.append(f"{setup}self.assertEqual({source}, {value!r})")
    return tests


def _indented(text: str) -> str:
    return "".join(f"        {line}\n" if line.strip() else "\n" for line in text.strip("\n").splitlines())
