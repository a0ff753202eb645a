"""The stages from files to rows on next to nothing: synthesis, exact claims and their controls, training from scratch, tuning."""

import json
from pathlib import Path

import pandas as pd
import pytest
from code_sources import INPUTS, TEXTS, write_source
from transformers import PreTrainedTokenizerFast

from galley.artifact import GalleyError
from galley.llm.backend import Completion
from galley.models.loading import load_tokenizer
from galley.models.scratch import build_llama, train_tokenizer
from galley.papers.case2code import build, check, sequences, tune
from galley.papers.case2code.build import benchmark_index
from galley.papers.case2code.dataset import read_samples
from galley.papers.case2code.plan import Plan
from galley.papers.case2code.stages import stage
from galley.plan import read_plan_of
from galley.tables.claims import load_claims
from galley.tables.judge import judge
from galley.tables.rows import read_items

PLAN = {
    "models": {"tiny": {"kind": "hub", "repo": "none/tiny", "params_m": 0.1}},
    "functions": {"stdlib": False, "wheels": ["algorithms_wheel"]},
    "inputs": {"cases": 12, "min_hidden": 2},
    "heldout": 0.3,
    "sequences": {"held_out": 6, "shown": [2, 7], "steps": 2, "answer_tokens": 30, "lr": 1e-3, "weight_decay": 0.1, "runs": 1},
    "tuning": {"steps": 2, "answer_tokens": 20, "lr": 1e-3, "batch_size": 4, "max_tokens": 1500, "dtype": "float32",
               "arms": ["own", "shuffled", "none"], "runs": {"own": 2}, "heldout_items": 4, "benchmark_items": 2},
    "zero_shot": {"tasks": 2, "max_new_tokens": 4, "batch_size": 2, "after": True},
    "seeds": 1,
    "shards": 2,
}  # fmt: skip
BODIES = ["n * {i} + 1", "n ** 2 - {i}", "str(n) * {i}", "[n] * {i}", "n % ({i} + 2)", "(n, {i})", "max(n, {i}) - n", "{{'v': n + {i}}}"]


def run(name, out, *, plan=PLAN, model="none", shard=None, **options):
    """Run a stage as its command does, by a plan and on a shard; the options that are not given are the command's own."""
    job = stage[name].job(Plan.model_validate(plan), scale="smoke", out=out, model=model, shard=shard)
    stage[name].run(job, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A folder with sources, of which only a small wheel and two official tasks are there, and what the synthesis makes of it."""
    import zipfile

    root = tmp_path_factory.mktemp("case2code")
    for name in ("humaneval", "mbpp", "bigcodebench", "case2code_test", "algorithms_wheel"):
        (root / "sources" / name).mkdir(parents=True)
        there = name in ("case2code_test", "algorithms_wheel")
        (root / "sources" / name / "source.json").write_text(json.dumps({"status": "ok" if there else "absent"}))
    text = "".join(f"def fn{k}{i}(n):\n    return {body.format(i=i)}\n" for k, body in enumerate(BODIES) for i in (2, 3, 5, 7))
    text += (
        "def benchmark_copy(value):\n    result = value * 31 + 17\n    return result\nimport os\ndef uses(n):\n    return os.path.join(n)\n"
    )
    with zipfile.ZipFile(root / "sources/algorithms_wheel/algorithms.whl", "w") as archive:
        archive.writestr("algorithms/m.py", text)
    rows = [
        {"id": str(i), "func_name": "g", "code": f"def g(a):\n    x = a * 31 + {16 + i}\n    return x\n",
         "example_str": "examples = [dict(a=1), dict(a=2), dict(a=3)]", "choosed_example_idx": [0, 1],
         "example_outputs": [{"return": f'"{31 * a + 16 + i}"'} for a in (1, 2, 3)], "prompt": "Input: dict(a=1), Output: 48"}
        for i in (1, 2)
    ]  # fmt: skip
    (root / "sources/case2code_test/test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    run("synthesize", root / "out", sources=root / "sources")
    return root


def value(items, method, metric, **where):
    found = items[(items["method"] == method) & (items["metric"] == metric)]
    for column, wanted in where.items():
        found = found[found[column] == wanted]
    assert len(found), (method, metric, where)
    return found["score"]


def test_every_function_is_accounted_for_and_a_benchmark_copy_is_dropped(folder):
    items = read_items([folder / "out/synthesize.items.parquet"])
    assert value(items, "pipeline", "unaccounted").item() == 0
    assert value(items, "filter", "count", setting="uses_package").item() == 1
    assert value(items, "decontamination", "count", setting="case2code_test").item() == 1  # other names, the same tree
    absent = items[(items["method"] == "decontamination") & (items["status"] == "not_run")]
    assert set(absent["setting"]) == {"humaneval", "mbpp", "bigcodebench"} and "out of reach" in absent["reason"].iloc[0]
    samples = list(read_samples(folder / "out/cases.jsonl"))
    assert len(samples) >= 20 and not any(s.name == "benchmark_copy" for s in samples)
    exported = [json.loads(line) for line in (folder / "out/sft.jsonl").read_text().splitlines()]
    assert 5 < len(exported) < len(samples)


def test_the_same_plan_ends_in_the_same_bytes_and_an_absent_wheel_is_counted(folder, tmp_path):
    for name in ("again", "none"):
        sources = folder / "sources" if name == "again" else tmp_path
        run("synthesize", tmp_path / name, sources=sources)
    for name in ("cases.jsonl", "sft.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / "out" / name).read_bytes()
    items = read_items([tmp_path / "none/synthesize.items.parquet"])
    assert value(items, "read", "count", setting="absent:algorithms_wheel").item() == 1


def test_the_exact_claims_hold_and_each_control_breaks_its_own(folder):
    run("check", folder / "out", cases=folder / "out/cases.jsonl", sources=folder / "sources")
    items = read_items([folder / "out/check.items.parquet"])
    for method, control, where in [
        ("kept", "control:ran_once", {"benchmark": "stability"}),
        ("train", "control:shows_all", {"benchmark": "prompts"}),
        ("train", "control:other_function", {"benchmark": "prompts"}),
        ("strict", "control:shown_only", {"benchmark": "scorer"}),
    ]:
        assert value(items, method, "violations", **where).max() == 0 < value(items, control, "violations", **where).max()
    assert (value(items, "control:ran_once", "violations") == 1).sum() >= 3
    total = {
        m: value(items, m, "score", benchmark="own_test_total").item()
        for m in ("oracle", "constant", "lookup", "control:next_program", "control:leaky_lookup")
    }
    assert total["oracle"] == total["control:leaky_lookup"] == 1 and max(total["constant"], total["control:next_program"]) <= 0.1
    assert value(items, "oracle", "count", benchmark="case2code_test").item() == 2
    assert value(items, "oracle", "same_outputs").item() == 1 and value(items, "control:next_program", "same_outputs").item() == 0
    assert value(items, "oracle", "unstable_share").item() == 0  # none is wrong
    for method, broken in (("release", 1), ("control:with_program", 2)):  # these show two cases, fewer than three
        assert set(value(items, method, "violations", benchmark="case2code_test")) == {broken}


def test_without_the_official_test_its_rows_say_so(folder, tmp_path):
    run("check", tmp_path, cases=folder / "out/cases.jsonl", sources=tmp_path)
    items = read_items([tmp_path / "check.items.parquet"])
    official = items[items["benchmark"] == "case2code_test"]
    assert set(official["status"]) == {"not_run"} and len(official) == len(check.OFFICIAL)


@pytest.fixture
def trained(monkeypatch):
    """The (stage, seed) of every training, in order; one that is told to fail does so before it has trained."""
    seen = Trained()
    for module in (sequences, tune):
        monkeypatch.setattr(module, "train_sft", seen.wrap(module.__name__.split(".")[-1], module.train_sft))
    return seen


class Killed(BaseException):
    pass


class Trained(list):
    fail_at = None

    def wrap(self, name, train_sft):
        def train(model, tokenizer, examples, config, **more):
            if len(self) == self.fail_at:
                raise Killed
            self.append((name, config.seed))
            return train_sft(model, tokenizer, examples, config, **more)

        return train


def test_sequences_are_dealt_to_shards_and_kept_when_finished(tmp_path, trained):
    plan = {**PLAN, "seeds": 2}
    for shard in range(2):
        run("sequences", tmp_path, plan=plan, shard=shard)
    items = read_items([tmp_path / f"sequences-{n}.items.parquet" for n in range(2)])
    arms, controls = {"matched", "shuffled", "one_case"}, {"control:untrained", "control:other_values"}
    assert set(items["method"]) == arms | controls and set(items["setting"]) == {"shown=2", "shown=7"}
    assert len(items) == 6 * 6 * 2 * 3 + 2 * 2 * 6 * 3 and items.groupby("method")["seed"].nunique().eq(2).all() and len(trained) == 6
    assert items["trained"].all() and set(items[items["method"].isin(controls)]["setting"]) == {"shown=7"}
    first = (tmp_path / "sequences-0.items.parquet").read_bytes()
    trained.fail_at = 6  # what is finished is not trained again
    run("sequences", tmp_path, plan=plan, shard=0)
    assert (tmp_path / "sequences-0.items.parquet").read_bytes() == first
    with pytest.raises(GalleyError, match="shards 0 to 1"):
        run("sequences", tmp_path, plan=plan, shard=2)


def test_an_interrupted_shard_keeps_its_trainings_and_more_seeds_or_shards_add_only_theirs(tmp_path, trained):
    run("sequences", tmp_path / "whole", plan={**PLAN, "shards": 1}, shard=0)
    trained.clear()
    trained.fail_at = 2
    with pytest.raises(Killed):
        run("sequences", tmp_path, shard=0, plan={**PLAN, "shards": 1})
    trained.fail_at = None
    run("sequences", tmp_path, shard=0, plan={**PLAN, "shards": 1})
    whole = (tmp_path / "whole/sequences-0.items.parquet").read_bytes()
    assert len(trained) == 3 and (tmp_path / "sequences-0.items.parquet").read_bytes() == whole
    trained.clear()
    for shard in range(3):
        run("sequences", tmp_path, shard=shard, plan={**PLAN, "seeds": 2, "shards": 3})
    assert trained == [("sequences", 1)] * 3
    items = read_items([tmp_path / f"sequences-{n}.items.parquet" for n in range(3)])
    assert set(items[items["method"] == "matched"]["seed"]) == {0, 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "tiny"
    tokenizer: PreTrainedTokenizerFast = train_tokenizer(
        ["def f(n):\n    return n * 2 + 1\n", "Input: dict(a=1), Output: 48"] * 20, vocab_size=300
    )
    tokenizer.model_max_length = 2048
    build_llama(vocab_size=len(tokenizer), d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=32, context=2048, seed=0).save_pretrained(
        path
    )
    tokenizer.save_pretrained(path)
    return path


def files(folder, base, sources=None):
    return {"base": base, "cases": folder / "out/cases.jsonl", "sources": sources or folder / "sources"}


def test_tuning_trains_each_arm_and_scores_all_on_the_same_functions(folder, base, tmp_path):
    for shard in range(2):
        run("tune", tmp_path, model="tiny", shard=shard, **files(folder, base))
    items = read_items([tmp_path / f"tune-{n}.items.parquet" for n in range(2)])
    runs = pd.concat(pd.read_csv(tmp_path / f"tune-{n}.runs.csv") for n in range(2))
    untrained = {"before", "zero_shot", "oracle", "lookup", "constant", "control:next_program"}
    assert set(items["method"]) == {"tuned:own", "tuned:shuffled", "tuned:none", "control:other_cases"} | untrained
    assert set(items[~items["trained"]]["method"]) == untrained  # the rest would be another number in another run
    gaps = items[(items["metric"] == "induction_gap") & (items["setting"] == "names")]
    ids = {(m, s): tuple(sorted(g["item_id"])) for (m, s), g in gaps.groupby(["method", "seed"])}
    assert len(set(ids.values())) == 1 and len(ids) == 7 and len(next(iter(ids.values()))) == 4
    assert set(items[items["benchmark"] == "humaneval"]["status"]) == {"not_run"}
    assert value(items, "oracle", "pass_rate").mean() == 1 and value(items, "control:next_program", "pass_rate").max() == 0
    assert [len(value(items, m, "pass_rate")) for m in ("tuned:own", "tuned:shuffled", "tuned:none")] == [4, 2, 2]  # of two tasks
    assert set(value(items, "zero_shot", "cut_off")) <= {0, 0.5, 1}
    assert (runs[runs["method"].isin(["own", "shuffled", "none"])]["tokens"] > 0).all() and len(runs) == 6


def test_an_interrupted_tuning_keeps_its_arms_until_its_inputs_change_and_more_seeds_add_only_theirs(folder, base, tmp_path, trained):
    plan = {**PLAN, "shards": 1, "tuning": {**PLAN["tuning"], "runs": {}}, "zero_shot": {**PLAN["zero_shot"], "after": False}}
    run("tune", tmp_path / "whole", plan=plan, model="tiny", shard=0, **files(folder, base))
    trained.clear()
    trained.fail_at = 2
    with pytest.raises(Killed):
        run("tune", tmp_path, plan=plan, model="tiny", shard=0, **files(folder, base))
    trained.fail_at = None
    run("tune", tmp_path, plan=plan, model="tiny", shard=0, **files(folder, base))
    assert (tmp_path / "tune-0.items.parquet").read_bytes() == (tmp_path / "whole/tune-0.items.parquet").read_bytes() and len(trained) == 3
    trained.clear()
    run("tune", tmp_path, plan={**plan, "seeds": 2}, model="tiny", shard=0, **files(folder, base))
    assert trained == [("tune", 1)] * 3
    trained.clear()
    run("tune", tmp_path, plan=plan, model="tiny", shard=0, **files(folder, base, sources=tmp_path))  # the official test is gone
    assert len(trained) == 3 and set(value(read_items([tmp_path / "tune-0.items.parquet"]), "zero_shot", "pass_rate").isna()) == {True}


def plus_source(folder, name, file, first):
    rows = [{"task_id": f"{name}/{first + n}", "entry_point": called, "prompt": prompt, "canonical_solution": body, "atol": 0,
             "base_input": INPUTS[called][0], "plus_input": INPUTS[called][1]}
            for n, (called, prompt, body, _) in enumerate(TEXTS)]  # fmt: skip
    write_source(folder, file, rows)


class Known:
    """A backend whose answers are two of the benchmark's own and a wrong one."""

    name = "known"

    def __init__(self, *model, **settings): ...

    def generate(self, prompts, **settings):
        bodies = [TEXTS[0][2], TEXTS[1][2], "    return None\n"]
        return [[Completion(bodies[n % 3], "stop")] for n, _ in enumerate(prompts)]


@pytest.fixture
def whole(folder, base, tmp_path, monkeypatch):
    """A plan with the paper's arms, and sources with HumanEval+ and MBPP+ of three tasks, which a backend of known answers solves."""
    for name in ("case2code_test", "mbpp"):
        (tmp_path / name).symlink_to(folder / "sources" / name)
    rows = [{"task_id": f"HumanEval/{n}", "entry_point": name, "prompt": prompt, "canonical_solution": body, "test": test}
            for n, (name, prompt, body, test) in enumerate(TEXTS)]  # fmt: skip
    write_source(tmp_path / "humaneval", "HumanEval.jsonl.gz", rows)
    plus_source(tmp_path / "humaneval_plus", "HumanEval", "HumanEvalPlus.jsonl.gz", 0)
    plus_source(tmp_path / "mbpp_plus", "Mbpp", "MbppPlus.jsonl.gz", 9000)
    monkeypatch.setenv("GALLEY_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(tune, "HFBackend", Known)
    paper = read_plan_of("case2code", "paper").tuning
    tuning = {**PLAN["tuning"], "arms": paper.arms, "runs": {}, "benchmarks": paper.benchmarks}
    return {**PLAN, "shards": 1, "tuning": tuning}


def test_answers_to_code_benchmarks_are_judged_and_under_another_task_they_solve_none(folder, base, whole, tmp_path):
    data = tune.Data(folder / "out/cases.jsonl", tmp_path, Plan.model_validate(whole), load_tokenizer(base))
    for method, found in (("tuned:own", {"tuned:own": 2, "control:next_answers": 0}), ("before", {"before": 2})):
        made = pd.DataFrame(tune.benchmark_rows(None, data, tmp_path, method=method, folder=tmp_path / method, unsafe=False))
        right = made.groupby(["benchmark", "method", "setting"])["score"].sum().to_dict()
        wanted = [(b, m, suite) for b in ("humaneval_plus", "mbpp_plus") for m in found for suite in ("base", "plus")]
        assert right == {(b, m, suite): found[m] for b, m, suite in wanted} and set(made["score"]) <= {0, 1}
    gone = pd.DataFrame(tune.benchmark_rows(None, data, folder / "sources", method="before", folder=tmp_path / "gone", unsafe=False))
    assert set(gone["status"]) == {"not_run"} and len(gone) == 4


def test_the_paper_s_arms_leave_every_row_that_its_claims_name(folder, base, whole, tmp_path):
    run("tune", tmp_path / "out", plan=whole, model="tiny", shard=0, **files(folder, base, sources=tmp_path))
    run("check", tmp_path / "out", cases=folder / "out/cases.jsonl", sources=tmp_path)
    made = [*(tmp_path / "out").glob("*.items.parquet"), folder / "out/synthesize.items.parquet"]
    items = read_items(made)
    judged = judge(load_claims(Path("recipes/case2code/claims.yaml")), items.assign(scale="paper"), scale="paper").set_index("claim_id")
    idle = judged[judged["verdict"] == "not_run"]["reason"]
    assert set(idle.index) == {"D1.lookup", "D2.gap", "D2.solved", "D3", "D3.solved", "D4", "D4.solved", "D6.humaneval", "D6.mbpp"}
    assert not idle.str.contains("no such row").any() and not judged["controls"].str.contains("no such row").any()
    laptop = judge(load_claims(Path("recipes/case2code/claims.yaml")), items.assign(scale="laptop"), scale="laptop").set_index("claim_id")
    asked = laptop.loc[["D1", "D1.lookup", "D5", "D5.matched", "D5.cases", "D5.anonymous", "D4.model", "D6.humaneval"]]
    assert set(asked["verdict"]) == {"inconclusive"} and not asked["controls"].str.contains("not_run").any()  # of next to nothing
    nll = items[(items["benchmark"] == "humaneval") & (items["metric"] == "answer_nll")].set_index("method")["score"]
    assert len(nll["control:other_task"]) == 2 and set(nll["control:other_task"]).isdisjoint(nll["tuned:own"])
    trained = judged.loc[["D5", "N1", "T.finetune.humaneval", "T.pretrain.mbpp", "T.sft.mbpp"]]
    assert set(trained["verdict"]) == {"inconclusive"} and trained["reason"].str.startswith("one run of a trained side").all()


def test_too_few_functions_are_refused_with_the_way_out(folder, base, tmp_path):
    plan = {**PLAN, "tuning": {**PLAN["tuning"], "max_tokens": 30}}
    with pytest.raises(GalleyError, match=r"raise tuning\.max_tokens"):
        run("tune", tmp_path, plan=plan, model="tiny", shard=0, **files(folder, base))


def test_each_stage_asks_for_the_sources_that_it_declares_and_no_more(folder, base, tmp_path, monkeypatch):
    asked = []
    for module in (build, check, tune):
        monkeypatch.setattr(module, "present", lambda path: asked.append(path.name))
    for name, options in {"synthesize": {}, "check": files(folder, base), "tune": files(folder, base)}.items():
        asked.clear()
        options = {key: path for key, path in options.items() if key in stage[name].takes}
        each = {"model": "tiny", "shard": 0} if stage[name].each else {}
        run(name, tmp_path, plan={**PLAN, "shards": 1}, **each, **{**options, "sources": folder / "sources"})
        assert set(asked) == set(stage[name].sources_of(Plan.model_validate(PLAN))), name


def test_the_index_names_what_is_absent(folder):
    index, absent = benchmark_index(folder / "sources", n=10)
    assert absent == ["humaneval", "mbpp", "bigcodebench"] and index.keys
    assert Path(folder / "out/state/runs.sqlite").exists()
