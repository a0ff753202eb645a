"""Prompts to samples files: with a backend of known answers, with a tiny model, and through an endpoint by the command line."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from galley.artifact import GalleyError
from galley.cli import app
from galley.data.code_benchmarks import MbppTask, read_humaneval
from galley.evaluate.code.generate import generate_samples
from galley.evaluate.code.prompting import styles_of
from galley.evaluate.code.samples import read_samples
from galley.llm.backend import Completion

sys.path.insert(0, str(Path(__file__).parents[2] / "llm"))
from endpoint_stand_in import Endpoint


class Known:
    """A backend that answers from a list."""

    name = identity = "known"

    def __init__(self, *answers):
        self.answers, self.asked, self.settings = list(answers), [], []

    def generate(self, prompts, *, n=1, **settings):
        self.asked += prompts
        self.settings.append({"n": n, **settings})
        return [[self.answers.pop(0) for _ in range(n)] for _ in prompts]


def done(text):
    return Completion(text, "stop")


def test_completions_become_samples_with_a_record_of_their_making(sources, tmp_path):
    backend = Known(*[done("    return 1\n")] * 6)
    generate_samples("humaneval", backend, sources=sources, out=tmp_path / "s.jsonl", n=2, temperature=0.8, seed=4)
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [(r["task_id"], r["sample"]) for r in rows[:3]] == [("HumanEval/0", 0), ("HumanEval/0", 1), ("HumanEval/1", 0)]
    tasks = {t.id: t for t in read_humaneval(sources / "humaneval")}
    samples, rejected = read_samples(tmp_path / "s.jsonl", tasks)
    assert len(samples) == 6 and not rejected and samples[0].program == tasks["HumanEval/0"].prompt + "    return 1\n"
    record = json.loads((tmp_path / "s.jsonl.json").read_text())
    assert record["config"]["style"] == "completion" and record["config"]["sampling"]["temperature"] == 0.8 and record["seed"] == 4
    assert "\nclass" in record["config"]["sampling"]["stop"] and "python" in record and backend.settings[0]["top_p"] == 0.95


def test_failed_samples_are_named_and_the_others_kept(sources, tmp_path):
    backend = Known(done("x"), Completion("", "failed", None, "status 500"), done("y"))
    with pytest.raises(GalleyError, match="1 of 3 samples failed, such as HumanEval/1: status 500"):
        generate_samples("humaneval", backend, sources=sources, out=tmp_path / "s.jsonl")
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 2


def test_a_chat_answer_becomes_a_program(sources, tmp_path):
    answer = "Here you are:\n```python\ndef double(x):\n    return 2 * x\n\nprint(double(2))\n```\nDone."
    backend = Known(done(answer))
    generate_samples("humaneval_plus", backend, sources=sources, out=tmp_path / "s.jsonl", style="chat", limit=1)
    assert backend.asked[0][0]["role"] == "user" and "def double" in backend.asked[0][0]["content"]
    (row,) = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert row["solution"].strip() == "def double(x):\n    return 2 * x"


def test_an_unknown_style_lists_the_known(sources, tmp_path):
    with pytest.raises(GalleyError, match="style is 'poem'; humaneval has completion, chat"):
        generate_samples("humaneval", Known(), sources=sources, out=tmp_path / "s.jsonl", style="poem")
    with pytest.raises(GalleyError, match="benchmark is 'x'"):
        styles_of("x", [])


def test_mbpp_s_styles():
    tasks = [MbppTask(f"Mbpp/{n}", n, f"Task {n}.", "f", "def f():\n    return 1\n", "", ("assert f() == 1",)) for n in (2, 3, 4, 11)]
    styles = styles_of("mbpp", tasks)
    assert list(styles) == ["three_shot", "docstring", "chat"]
    shown = styles["three_shot"].prompt(tasks[3])
    assert shown.count("[DONE]") == 3 and "Task 11." in shown and styles["three_shot"].stop == ("[DONE]",)
    assert styles["three_shot"].sample(tasks[3], "def f(): pass") == {"solution": "def f(): pass"}
    assert styles["docstring"].prompt(tasks[3]) == '"""\nTask 11.\nassert f() == 1\n"""\n'


def test_plus_stops_are_evalplus_s():
    from evalplus.provider.utility import EOS, extra_eos_for_direct_completion

    for ours, theirs in (("humaneval_plus", "humaneval"), ("mbpp_plus", "mbpp")):
        (style, *_) = styles_of(ours, []).values()
        assert set(style.stop) == {*EOS, *extra_eos_for_direct_completion(theirs)} and style.max_tokens == 768


def test_the_command_asks_an_endpoint_goes_on_where_it_failed_and_scores(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-hidden")
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "cache"))
    server, out = Endpoint(), tmp_path / "s.jsonl"
    server.text, server.script = "    return 2 * x\n", ["answer", 400]
    call = ["code-generate", "humaneval", "--endpoint", server.url, "--model", "m", "--key-env", "MY_KEY", "--workers", "1"]
    call += ["--sources", str(sources), "--out", str(out)]
    first = CliRunner().invoke(app, call)
    assert isinstance(first.exception, GalleyError) and "1 of 3 samples failed" in str(first.exception) and len(server.requests) == 3
    second = CliRunner().invoke(app, call)
    assert second.exit_code == 0 and len(server.requests) == 4 and len(out.read_text().splitlines()) == 3
    server.close()
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(b"sk-hidden" in p.read_bytes() for p in kept)
    scored = CliRunner().invoke(app, ["code-eval", "humaneval", str(out), "--sources", str(sources), "--out", str(tmp_path / "scores")])
    assert scored.exit_code == 0 and "pass@1 0.333333" in scored.output
