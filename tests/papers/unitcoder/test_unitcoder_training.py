"""Training on published programs and on those of the pipeline, on next to nothing: which rows the paper's arms leave, under which names."""

import json
from pathlib import Path

import pandas as pd
import pytest
from code_sources import TEXTS, write_source
from transformers import PreTrainedTokenizerFast

from galley.llm.backend import Completion
from galley.models.scratch import build_llama, train_tokenizer
from galley.papers.unitcoder import answers
from galley.papers.unitcoder.post_training import arms, half_gain
from galley.papers.unitcoder.stages import stage
from galley.plan import read_plan_of
from galley.tables.claims import load_claims
from galley.tables.judge import judge
from galley.tables.metrics import load_metrics
from galley.tables.named import check_names
from galley.tables.rows import read_items

PAPER = read_plan_of("unitcoder", "paper")
MODELS = ("Llama-3.1-8B", "InternLM2.5-7B")
SMALL = {"tokens": 20, "step_tokens": 10, "heldout": 2, "lr": 1e-3, "max_length": 400, "dtype": "float32"}
PLAN = PAPER.model_copy(
    update={
        "models": {name: spec.model_copy(update={"dtype": "float32", "gpus": 0}) for name, spec in PAPER.models.items()},
        "tuning": PAPER.tuning.model_copy(update=SMALL),
        "answers": PAPER.answers.model_copy(update={"batch_size": 2}),
        "seeds": 1,
    }
)
CLAIMS = [c for c in load_claims(Path("recipes/unitcoder/claims.yaml")) if c.scales == ["paper"]]


def program(name, n):
    return f"def {name}(x):\n    y = x + {n}\n    return y * 2\n"


def function(n, lists=("ours",), *, status="passed", provenance="first_pass", refined=False):
    name, code = f"f{n}", program(f"f{n}", n)
    refinement = code.replace("\n    y", '\n    """Say."""\n    y', 1) if refined else None
    row = {"id": name, "entry_point": name, "original": code.replace("* 2", "* 3"), "code": code, "provenance": provenance,
           "status": status, "refined": refined, "refinement": refinement}  # fmt: skip
    return row, list(lists)


ROWS = [
    *(function(n) for n in range(20)),
    *(function(n, provenance="debugged", refined=True) for n in range(20, 30)),
    *(function(n, ("control_list",)) for n in range(30, 36)),
    *(function(n, status="failed", provenance="") for n in range(36, 40)),
]
PASSED = [row for row, _ in ROWS if row["status"] == "passed"]
FAILED = [row for row, _ in ROWS if row["status"] == "failed"]
LISTS = {row["id"]: lists for row, lists in ROWS}


class Known:
    """A backend that answers one task in two of each benchmark, of the code benchmarks' own kinds."""

    def __init__(self, model, tokenizer, **settings):
        self.name = "known"

    def generate(self, prompts, **settings):
        def reply(n, prompt):
            if "[BEGIN]" in prompt:
                return "def double(x):\n    return 2 * x\n" if n % 2 else "no\n"
            return "    return 2 * x\n" if n % 2 == 0 else "    return None\n"

        return [[Completion(reply(n, prompt), "stop")] for n, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "tiny"
    tokenizer: PreTrainedTokenizerFast = train_tokenizer([row["code"] for row in PASSED] * 3, vocab_size=300)
    tokenizer.model_max_length = 2048
    build_llama(vocab_size=len(tokenizer), d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=32, context=2048, seed=0).save_pretrained(
        path
    )
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    functions = [{"id": name, "code": "", "entry_point": name, "lists": lists} for name, lists in LISTS.items()]
    programs = [{"task_id": f"t{n}", "entry_point": f"f{n}", "code": program(f"f{n}", n), "right": True, "passes": [n % 2 == 0] * 3}
                for n in range(8)]  # fmt: skip
    for name, rows in (("functions", functions), ("passed", PASSED), ("failed", FAILED), ("programs", programs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry, prompt, body, _ = TEXTS[0]
    check = "def check(candidate):\n    assert candidate(2) == 4\n"
    sources = folder / "sources"
    write_source(sources / "humaneval", "HumanEval.jsonl.gz", [
        {"task_id": f"HumanEval/{n}", "prompt": prompt, "entry_point": entry, "canonical_solution": body, "test": check} for n in range(2)
    ])  # fmt: skip
    write_source(sources / "mbpp", "mbpp.jsonl", [
        {"task_id": n, "text": "Double a number.", "code": f"def double(x):\n    return {body.split('return ')[1]}", "test_setup_code": "",
         "test_list": ["assert double(2) == 4", "assert double(0) == 0", "assert double(1) == 2"], "challenge_test_list": []}
        for n in (2, 3, 4, 11, 12, 601)
    ])  # fmt: skip
    unit = "import unittest\n\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(double(2), 4)\n"
    write_source(sources / "bigcodebench", "BigCodeBench.jsonl.gz", [
        {"task_id": f"BigCodeBench/{n}", "complete_prompt": prompt, "instruct_prompt": "Double.", "canonical_solution": body,
         "code_prompt": "def double(x):", "test": unit, "entry_point": entry, "libs": "[]"} for n in range(2)
    ])  # fmt: skip
    return folder


def run(name, model, out, base, files, *, plan=PLAN):
    given = {"functions": "functions", "passed": "passed", "failed": "failed", "programs": "programs"}
    options = {option: files / f"{file}.jsonl" for option, file in given.items() if option in stage[name].takes}
    stage[name].run(stage[name].job(plan, scale="paper", out=out, model=model), base=base, sources=files / "sources", **options)
    return out / f"{name}.items.parquet"


@pytest.fixture(scope="module")
def items(base, files, tmp_path_factory):
    """The rows of both trainings, as the paper's plan has them, with one seed and next to no tokens; the other model's are the same."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GALLEY_CACHE", str(out / "kept"))
        patch.setattr(answers, "HFBackend", Known)
        made = read_items([run(name, MODELS[0], out, base, files) for name in ("tuning", "post_training")])
    return pd.concat([made.assign(model=model) for model in PLAN.models], ignore_index=True)


def test_each_arm_has_the_programs_that_its_name_says():
    found = arms(PASSED, FAILED, lists=LISTS, seed=0)
    assert {name: len(pairs) for name, pairs in found.items() if name != "tenth"} == {
        "UnitCoder": 30, "control_list": 6, "no_tests": 34, "no_debug": 20, "no_refine": 30, "shuffled": 30,
    }  # fmt: skip
    assert 0 < len(found["tenth"]) < 10 and set(found["tenth"]) < set(found["UnitCoder"])
    assert sum("Say" in prefix for prefix, _ in found["UnitCoder"]) == 10 and not any("Say" in prefix for prefix, _ in found["no_refine"])
    assert all("* 3" in body for _, body in found["no_tests"]) and not any("* 3" in body for _, body in found["UnitCoder"])
    assert all(a[0] == b[0] and a[1] != b[1] for a, b in zip(found["UnitCoder"], found["shuffled"], strict=True))


def test_half_of_the_gain_is_halfway_task_by_task():
    made = pd.DataFrame(
        [{"method": m, "benchmark": "BigCodeBench", "metric": "points", "item_id": i, "seed": s, "score": v}
         for m, s, scores in (("base", 0, (0, 100)), ("UnitCoder", 0, (100, 100)), ("UnitCoder", 1, (0, 0)))
         for i, v in zip("ab", scores, strict=True)]
    )  # fmt: skip
    assert [(r["seed"], r["item_id"], r["score"], r["trained"]) for r in half_gain(made)] == [
        (0, "a", 50, True), (0, "b", 100, True), (1, "a", 0, True), (1, "b", 50, True),
    ]  # fmt: skip


def test_trained_rows_say_so_and_the_base_is_the_paper_s_one(items):
    flags = {method: set(frame["trained"]) for method, frame in items.groupby("method")}
    assert flags.pop("base") == {False} and set(map(tuple, flags.values())) == {(True,)}
    assert {"filtered", "unfiltered", "failing", "shuffled", "UnitCoder", "UnitCoder:half_gain"} <= set(flags)
    assert set(MODELS) == set(PAPER.models)


def test_answers_are_points_of_the_benchmarks_that_the_paper_names(items):
    points = items[items["metric"] == "points"]
    tasks = points[points["method"] == "base"].groupby(["model", "benchmark"])["item_id"].nunique()
    assert set(tasks) == {2} and set(tasks.index) == {(m, b) for m in MODELS for b in ("BigCodeBench", "HumanEval", "MBPP")}
    assert points.groupby(["method", "model", "benchmark"])["score"].mean().eq(50).all(), "one of two answers is right"
    assert set(points[points["method"] == "filtered"]["benchmark"]) == {"MBPP"}, "HumanEval's tasks are in that training"


def test_the_paper_s_arms_leave_every_row_that_its_claims_name(items):
    """One seed settles nothing, but every row is there: none of the claims that only the paper's scale has is without its rows."""
    metrics = load_metrics(Path("recipes/metrics.yaml"))
    check_names(CLAIMS, items, path=Path("nowhere/claims.yaml"), recipe="unitcoder", scale="paper", metrics=metrics)
    judged = judge(CLAIMS, items, scale="paper").set_index("claim_id")
    assert set(judged["verdict"]) == {"inconclusive"} and len(judged) == 10
    assert not judged["controls"].str.contains("not_run").any() and (judged["controls_run"] == 1).all()


def test_more_arms_and_seeds_train_only_theirs(base, files, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "HFBackend", Known)
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "kept"))
    plan = PLAN.model_copy(
        update={"post_training": ["UnitCoder"], "answers": PLAN.answers.model_copy(update={"benchmarks": ["humaneval"]})}
    )
    more = plan.model_copy(update={"post_training": ["UnitCoder", "shuffled"], "seeds": 2})
    first = pd.read_csv(run("post_training", MODELS[0], tmp_path, base, files, plan=plan).with_name("post_training.runs.csv"))
    then = pd.read_csv(run("post_training", MODELS[0], tmp_path, base, files, plan=more).with_name("post_training.runs.csv"))
    kept = then.merge(first, on=["run_id", "wall_s", "unit"])
    assert {"base-0", "UnitCoder-0"} <= set(kept["unit"]) and set(then["unit"]) == {
        "base-0", "UnitCoder-0", "UnitCoder-1", "shuffled-0", "shuffled-1", "half_gain",
    }  # fmt: skip
