import json

import pandas as pd
import pytest
import torch

from galley.artifact import GalleyError
from galley.models.loading import load_model, load_tokenizer
from galley.models.scratch import build_llama, train_tokenizer
from galley.papers.codeseq import tune as tune_module
from galley.papers.codeseq.plan import Functions, Tuning
from galley.papers.codeseq.problems import bare_problem, to_json
from galley.papers.codeseq.records import Record
from galley.papers.codeseq.stages import stage
from galley.papers.codeseq.tune import HEAD, Item, Tuned, example_of, read_items, run_tune, split_items
from galley.plan import read_plan_of
from galley.sandbox.pool import Sandbox

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    texts = [f"# f(1), f(2), f(3), ... = {a}, {2 * a}\ndef f(n):\n    return {a}*n\n" for a in range(50)]
    tokenizer = train_tokenizer(texts, vocab_size=300)
    model = build_llama(vocab_size=len(tokenizer), d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=48, context=256, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def synthesis(tmp_path_factory):
    """What the synthesis stage leaves, made by hand: 40 functions and 12 solutions."""
    folder = tmp_path_factory.mktemp("synthesis")
    rows = []
    for a in range(2, 42):
        terms = [str(n**3 + a * n * n + a) for n in range(1, 13)]
        rows.append({"id": f"A{a:06d}", "source": f"def f(n):\n    return n**3+{a}*n**2+{a}\n", "terms": terms})
    (folder / "functions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for name, extra in (("sft", "first 2*n, wrong at 3.\n\n"), ("sft_plain", "")):
        solutions = [{"id": str(k), "prompt": f"double {k}", "answer": f"{extra}print({k}*int(input()))"} for k in range(12)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in solutions))
    (folder / "gtg.jsonl").write_text("")
    return folder


def plan():
    whole = read_plan_of("codeseq", "laptop")
    functions = Functions(limit=40, terms=12, shown=6, held_out=8)
    tuning = Tuning(steps=3, solution_steps=2, answer_tokens=60, lr=1e-3, batch_size=4, max_tokens=256, max_new_tokens=8,
                    benchmarks=["humaneval"], elsewhere=["MMLU"])  # fmt: skip
    return whole.model_copy(update={"functions": functions, "tuning": tuning})


def test_a_prompt_shows_terms_and_never_the_function(synthesis):
    items = read_items(synthesis / "functions.jsonl")
    learnt, held = split_items(items, held_out=8, seed=0)
    assert len(learnt) + len(held) == 40 and 0 < len(held) <= 8
    item = Item("A1", "def f(n):\n    return n**2\n", (1, 4, 9, 16, 25, 36))
    example = example_of(item, terms=item.terms, wanted=Functions(limit=2, terms=8, shown=3, held_out=1))
    assert example.prompt == f"# f(1), f(2), f(3), ... = 1, 4, 9\n{HEAD}" and example.answer == "\n    return n**2\n"


def test_arms_are_tuned_scored_and_kept(base, synthesis, tmp_path):
    try:
        Sandbox(workers=1).close()
    except GalleyError as error:
        pytest.skip(str(error))

    def tune(shard, *, seeds=1):
        own = plan().model_copy(update={"seeds": seeds})
        job = stage["tune"].job(own, scale="laptop", out=tmp_path, model=MODEL, shard=shard)
        run_tune(job, base=base, synthesis=synthesis, sources=None, workers=1, unsafe=False, device="cpu")

    for shard in (0, 1):
        tune(shard)
    rows = pd.concat([pd.read_parquet(tmp_path / f"tune-{n}.items.parquet") for n in (0, 1)])
    assert set(rows["method"]) == {
        "before",
        "matched",
        "control:shuffled",
        "with_reflections",
        "without_reflections",
        "control:other_problem",
    }
    assert (rows["trained"] == (rows["method"] != "before")).all()
    tokens = rows[(rows["setting"] == "tokens")].set_index("method")["score"]
    assert tokens["before"] == 0 < tokens["matched"]
    absent = rows[rows["status"] == "not_run"]
    assert set(absent["benchmark"]) == {"MMLU", "humaneval"} and absent.groupby("benchmark")["reason"].first().tolist() == [
        "this stage does not score it", "the source humaneval is out of reach"
    ]  # fmt: skip
    functions = rows[rows["benchmark"] == "functions"]
    assert set(functions["metric"]) == {"answer_nll", "induction_gap", "pass_rate"} and (functions["status"] == "ok").all()
    nll = functions[functions["metric"] == "answer_nll"].groupby("method")["score"].mean()
    assert nll["matched"] < nll["before"]
    solutions = rows[rows["benchmark"] == "solutions"].groupby("method")["score"].mean()
    assert len(solutions) == 4 and solutions["with_reflections"] < solutions["before"]
    runs = pd.concat([pd.read_csv(tmp_path / f"tune-{n}.runs.csv") for n in (0, 1)]).set_index("method")
    assert runs.loc["before", "tokens"] == 0 and runs.loc["matched", "tokens"] > 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("state/*/*.parquet")}
    tune(0)
    assert len(before) == 6 and before == {p: p.stat().st_mtime_ns for p in tmp_path.glob("state/*/*.parquet")}
    with pytest.raises(GalleyError, match="shard is 9"):
        tune(9)
    # Another seed of every arm: what was finished stays, and only the new trainings run.
    for shard in (0, 1):
        tune(shard, seeds=2)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.glob("state/*/*.parquet")}
    assert len(after) == 11 and before.items() <= after.items()


def test_recent_sequences_are_a_slice_of_the_gtg_test_and_arms_on_functions_do_not_take_it(base, synthesis, tmp_path, monkeypatch):
    own = plan()
    own = own.model_copy(update={"tuning": own.tuning.model_copy(update={"gtg": True})})
    record = {"few": "classic/x", "new": "contemporary/x"}
    problems = [bare_problem(Record(name, "squares", tuple(n * n for n in range(30)), 0, origin=record[name]), seed=0) for name in record]
    folder = tmp_path / "synthesis"
    folder.mkdir()
    for path in synthesis.iterdir():
        (folder / path.name).write_text("".join(to_json(p) + "\n" for p in problems) if path.stem == "gtg" else path.read_text())
    monkeypatch.setattr(tune_module, "run_gtg", lambda asked, *_, **__: ((p.id, [True, False]) for p in asked))
    model = load_model(base, dtype=torch.float32, device=torch.device("cpu"))
    tuned = Tuned(model, load_tokenizer(base), own, folder, judge=None)
    rows = [row for row in tuned.score("solutions", "with_reflections") if row["metric"] == "points"]
    assert [(row["benchmark"], row["item_id"], row["score"]) for row in rows] == [
        ("GTG", "few-0", 50), ("GTG", "new-0", 50), ("GTG recent", "new-0", 50)
    ]  # fmt: skip
    monkeypatch.setattr(Tuned, "_score_functions", lambda *_: iter(()))
    assert list(tuned.score("functions", "matched")) == []


def test_the_control_learns_the_solutions_of_other_problems(base, synthesis):
    model = load_model(base, dtype=torch.float32, device=torch.device("cpu"))
    tuned = Tuned(model, load_tokenizer(base), plan(), synthesis, judge=None)
    own, other = (tuned._examples("solutions", arm) for arm in ("with_reflections", "control:other_problem"))
    assert {e.prompt for e in own} == {e.prompt for e in other} and {e.answer for e in own} == {e.answer for e in other}
    answers = {e.prompt: e.answer for e in own}
    assert all(answers[e.prompt] != e.answer for e in other)
