import json

import pytest

from galley.artifact import GalleyError
from galley.papers.unitcoder.agents import Item
from galley.papers.unitcoder.model_run import language_model, run_models
from galley.papers.unitcoder.pipeline import Settings
from galley.papers.unitcoder.plan import Agents
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits
from galley.synthesize.executor import Executor

LIMITS = Limits(cpu_s=2, wall_s=20, memory_mb=256)
TESTS = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(inc(1), 2)\n"


class Scripted:
    """A backend that answers by what it is asked."""

    name = "scripted"

    def generate(self, prompts, *, n, temperature, top_p, max_tokens, stop, seed):
        return [[type("Completion", (), {"text": self.reply(p)})() for _ in range(n)] for p in prompts]

    def reply(self, prompt):
        system, user = prompt[0]["content"], prompt[1]["content"]
        if "unit tests" in system:
            return f"```python\n{TESTS}```" if "lost" not in user else "I cannot."
        if "repair" in system:
            return "```python\ndef inc(x):\n    return x + 1\n```"
        return '```python\ndef inc(x):\n    """Return x plus one."""\n    return x + 1\n```'


def test_a_run_with_models_leaves_its_files_and_report(tmp_path):
    items = [
        Item("good", "def inc(x):\n    return x + 1\n", "inc"),
        Item("bad", "def inc(x):\n    return x\n", "inc"),
        Item("lost", "def inc(lost):\n    return lost\n", "inc"),
    ]
    with Sandbox(limits=LIMITS) as sandbox:
        rows = run_models(
            iter(items), backend=Scripted(), out=tmp_path / "out", state=tmp_path / "state", run=Executor(sandbox),
            settings=Settings(limits=LIMITS), batch=2, total=3,
        )  # fmt: skip
    counts = {r["setting"]: r["score"] for r in rows if r["metric"] == "count"}
    assert counts == {"passed_rows": 2, "failed_rows": 0, "error_rows": 1, "polished_rows": 2, "sft_rows": 2, "broken_invariants": 0}
    passed = [json.loads(line) for line in (tmp_path / "out/passed.jsonl").read_text().splitlines()]
    assert [r["provenance"] for r in passed] == ["first_pass", "debugged"] and passed[0]["writer"] == "scripted"
    assert (
        sum(r["score"] for r in rows if r["setting"] == "round=0") == 1 and sum(r["score"] for r in rows if r["setting"] == "round=3") == 2
    )


def test_the_plan_names_the_backend(tmp_path):
    class Plan:
        agents = Agents()

    assert language_model(Plan, model=None, cache=tmp_path) is None
    Plan.agents = Agents(kind="local", model="m")
    with pytest.raises(GalleyError, match="--model"):
        language_model(Plan, model=None, cache=tmp_path)
    Plan.agents = Agents(kind="endpoint", model="m", url="http://127.0.0.1:9/v1")
    assert language_model(Plan, model=None, cache=tmp_path).name == "endpoint:m"
