"""`UnitTests`: the quick ways of looking at imports and at modules, against the slow ones."""

import dis
from types import ModuleType

import pytest

from galley.sandbox.inside import unit_tests
from galley.sandbox.inside.unit_tests import _Kept, _names_imported
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Program, Run, UnitTests

MANY = (
    "\n".join(f"name_{i} = {i}" for i in range(300))
    + "\nimport json.decoder\n"
    + "\n".join(f"later_{i} = {i}" for i in range(70_000, 70_300))
)


@pytest.mark.parametrize(
    "source", ["", "import os.path, re as r\nfrom json import *\nfrom . import x\n", MANY, "def f():\n    import os\n"]
)
def test_the_modules_that_a_source_imports_are_those_of_its_instructions(source):
    code = compile(source, "tests.py", "exec")
    assert _names_imported(code) == {i.argval for i in dis.get_instructions(code) if i.opname == "IMPORT_NAME"}
    assert ("json.decoder" in _names_imported(code)) == (source == MANY)


@pytest.mark.parametrize("versions", [True, False])
def test_a_function_that_was_replaced_is_named_and_nothing_else(versions, monkeypatch):
    if not versions:
        monkeypatch.setattr(unit_tests, "VERSION", None)
    module = ModuleType("m")
    module.__dict__.update(f=len, g=print, n=1)
    kept = _Kept(module)
    assert kept.replaced() is None
    module.n = 2
    module.h = abs
    assert kept.replaced() is None
    module.g = abs
    assert kept.replaced() == "g"
    module.g = print
    assert kept.replaced() is None
    del module.f
    assert kept.replaced() == "f"


def test_a_dict_has_another_version_after_every_change():
    version = unit_tests.VERSION
    assert version is not None
    table, seen = dict.fromkeys("abc"), []
    for change in (lambda: None, lambda: table.update(a=1), lambda: table.pop("b"), lambda: table.setdefault("z", 0), table.clear):
        change()
        seen.append(version(table))
        assert version(table) == seen[-1] and table.get("a") in (None, 1)
    assert len(set(seen)) == 5


def test_mock_is_there_for_tests_that_speak_of_it_and_its_any_is_no_answer():
    tests = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(), 1)\n"
    mocked = tests.replace("import unittest\n", "import unittest\nfrom unittest.mock import patch\n").replace(
        "self.assertEqual(f(), 1)", "\n        with patch('time.time', return_value=1):\n            self.assertEqual(f(), 1)"
    )
    clock, anything = "import time\ndef f():\n    return time.time()\n", "from unittest.mock import ANY\ndef f():\n    return {}\n"
    spelt = "import importlib\nANY = importlib.import_module('unittest.mo' + 'ck').ANY\ndef f():\n    return [ANY]\n"
    loaded = Program("x", "import sys\nassert 'unittest.' + 'mock' in sys.modules", Run())
    with Sandbox() as sandbox:
        assert sandbox.run(Program("x", "def f():\n    return 1\n", UnitTests(tests, "f"))).verdict == "pass"
        assert sandbox.run(loaded).verdict == "fail"
        assert sandbox.run(Program("x", spelt, UnitTests(tests, "f"))).exception == "Tampering"
        assert sandbox.run(Program("x", clock, UnitTests(mocked, "f"))).verdict == "pass"
        assert sandbox.run(loaded).verdict == "pass"
        assert sandbox.run(Program("x", clock, UnitTests(tests, "f"))).verdict == "fail"
        for answer in ("ANY", "[ANY]", "{'a': ANY}"):
            outcome = sandbox.run(Program("x", anything.format(answer), UnitTests(tests, "f")))
            assert outcome.exception == "Tampering" and "its own comparison" in outcome.message
