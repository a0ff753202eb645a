import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.papers.codeseq.answers import stdin_program, wrap_function
from galley.papers.codeseq.functions import SequenceFunction, as_text, compute_terms
from galley.papers.codeseq.judge import Job, Judge
from galley.papers.codeseq.problems import bare_problem, from_json
from galley.papers.codeseq.records import Record
from galley.papers.codeseq.reflect import roll_out, sft_sample, solve_all
from galley.papers.codeseq.shortcuts import degree, lookup_program
from galley.papers.codeseq.solvers import Attempt, SearchSolver
from galley.papers.codeseq.stages import stage
from galley.papers.codeseq.synthesize import run_synthesize
from galley.plan import read_plan_of
from galley.sandbox.pool import Sandbox
from galley.synthesize.journal import Journal

PROBLEMS = 8
FILES = ("problems", "sft", "sft_plain", "rl", "gtg", "functions")


@pytest.fixture(scope="module")
def sandbox():
    try:
        with Sandbox(workers=1) as runner:
            yield runner
    except GalleyError as error:
        pytest.skip(str(error))


@pytest.fixture
def judge(sandbox, tmp_path):
    with Journal(tmp_path / "journal") as journal:
        yield Judge(sandbox, journal)


def test_verdicts_and_the_first_failed_case(judge):
    cases = ((1, 1), (2, 4), (3, 9), (4, 10**40))
    programs = [
        "n = int(input())\nprint(n * n if n < 4 else 10**40)\n",
        stdin_program("n*n"),
        stdin_program("n"),
        "print(input() if 0 else 'x')\n",
        "n = int(input())\nprint(1 // (3 - n) and n * n)\n",
        "while True: pass\n",
    ]
    got = list(judge.judge(Job(code, cases) for code in programs[:-1]))
    assert [j.right for j in got] == [4, 3, 1, 0, 0] and [j.passed for j in got] == [True] + [False] * 4
    assert (got[1].failure.given, got[1].failure.expected, got[1].failure.got) == (4, 10**40, "16")
    assert got[2].failure.given == 2 and got[3].failure.got == "x"
    assert got[4].failure.given == 1 and got[4].failure.got == "0"


def test_a_program_runs_once(judge, sandbox, monkeypatch):
    jobs = [Job(stdin_program("n+1"), ((1, 2), (2, 3)))] * 5
    first = list(judge.judge(jobs))
    monkeypatch.setattr(sandbox, "map", lambda programs: iter(list(programs) and pytest.fail("it ran again")))
    assert list(judge.judge(jobs)) == first and first[0].passed


def test_failed_cases_lead_a_search_to_the_rule_and_become_a_sample(judge):
    problems = [
        bare_problem(Record(f"A{a}", "quadratic", tuple(a * n * n + 3 * n - 1 for n in range(30)), 0, formulas=("x",)), seed=a)
        for a in (1, 2, 3, 4)
    ]
    solved = list(solve_all(problems, SearchSolver(), judge, rounds=4, seed=0))
    assert [p.id for p, _ in solved] == [p.id for p in problems] and all(t.solved for _, t in solved)
    assert any(len(t.attempts) > 1 for _, t in solved)
    for problem, trajectory in solved:
        with_them, without = (sft_sample(problem, trajectory, reflections=r) for r in (True, False))
        assert without["answer"] == trajectory.attempts[-1].text and with_them["answer"].endswith(without["answer"])
        assert with_them["answer"].count("Check: for input") == len(trajectory.attempts) - 1
        for attempt in trajectory.attempts[:-1]:
            assert attempt.failed in problem.tests and attempt.got != str(attempt.failed[1])
    passed = {p.id: ok for p, ok in roll_out(problems, SearchSolver(), judge, seed=0, rollouts=8)}
    assert all(len(ok) == 8 for ok in passed.values())


class Silent:
    name = "silent"

    def propose(self, asked, *, n, seed):
        return [[Attempt(None, "")] * n for _ in asked]


def test_a_solver_that_has_nothing_to_say(judge):
    problem = bare_problem(Record("A1", "squares", tuple(n * n for n in range(30)), 0, formulas=("x",)), seed=0)
    ((_, trajectory),) = solve_all([problem], Silent(), judge, rounds=3, seed=0)
    assert not trajectory.solved and len(trajectory.attempts) == 1 and sft_sample(problem, trajectory, reflections=True) is None
    assert [ok for _, ok in roll_out([problem], Silent(), judge, seed=0, rollouts=4)] == [[False] * 4]


def test_shortcuts_know_what_they_saw_and_no_more(judge):
    cubes, powers = [(n, n**3 - n) for n in range(2, 20)], [(n, 2**n) for n in range(2, 20)]
    assert degree([t for _, t in cubes]) == 3 and degree([t for _, t in powers]) is None and degree([4, 4, 4]) == 0
    jobs = [
        Job(lookup_program(pairs[:7], beyond=b), tuple(pairs[:12]))
        for pairs in (cubes, powers)
        for b in ("nothing", "constant", "polynomial")
    ]
    assert [j.right for j in judge.judge(jobs)] == [7, 7, 12, 7, 7, 7]


def test_terms_end_where_a_function_raises_stalls_or_gives_no_integer(sandbox, tmp_path):
    bodies = {"squares": "n**2", "raises": "1//(4-n)+n", "floats": "n if n < 3 else n/2", "bools": "n > 0", "big": "10**(400*n)"}
    functions = [SequenceFunction(name, f"def f(n):\n    return {body}\n", ()) for name, body in bodies.items()]
    functions.append(
        SequenceFunction("stalls", "def f(n):\n    while n == 3:\n        pass\n    return isqrt(n)\n", ("from math import isqrt",))
    )
    with Journal(tmp_path / "j") as journal:
        got = {f.id: terms for f, terms in compute_terms(functions, sandbox, journal, first=1, count=5, call_cpu_s=0.2)}
    assert got["squares"] == [1, 4, 9, 16, 25] and len(got["raises"]) == 3 and got["floats"] == [1, 2] and got["bools"] == []
    assert got["big"] == [10**400, 10**800] and got["stalls"] == [1, 1]
    assert as_text(True) is None and as_text(1.0) is None and as_text(10**1000) is None and as_text(-(10**999)) == "-1" + "0" * 999


def tiny_plan():
    plan = read_plan_of("codeseq", "smoke")
    return plan.model_copy(update={"synthesis": plan.synthesis.model_copy(update={"problems": PROBLEMS, "gtg_problems": 3, "rollouts": 8})})


def synthesize(out, plan, *, scale="smoke"):
    run_synthesize(stage["synthesize"].job(plan, scale=scale, out=out), sources=None, workers=1, unsafe=False)


def test_the_stage_splits_by_groups_and_survives_a_kill(sandbox, tmp_path):
    whole = tmp_path / "whole"
    synthesize(whole, tiny_plan())
    rows = pd.read_parquet(whole / "synthesize.items.parquet")
    exact = rows[(rows["benchmark"] == "terms") & (rows["method"] == "reference")]
    assert (exact["score"] == 1).all() and len(exact) == PROBLEMS
    problems, test = ([from_json(x) for x in (whole / f"{n}.jsonl").read_text().splitlines()] for n in ("problems", "gtg"))
    assert not {p.record for p in problems} & {p.record for p in test} and len(problems) + len(test) == PROBLEMS
    counts = json.loads((whole / "synthesis.json").read_text())["counts"]
    assert counts["kept"] + counts["little_variety"] == counts["input"] == 487
    assert (rows[rows["metric"] == "unaccounted"]["score"] == 0).all() and (rows["metric"] == "unaccounted").sum() == 1
    ours = rows[(rows["method"] == "group_normalised") & (rows["benchmark"] == "advantages")]
    assert len(ours) == len(problems) and (ours["score"] < 0.0032).all()
    told = rows[rows["setting"] == "corrections=1,other_case"].set_index("item_id")["score"]
    own = rows[rows["setting"] == "corrections=1"].set_index("item_id")["score"]
    assert len(told) == len(own) == len(problems) and told.sum() < own.sum()
    # Killed while programs run, and started again: the same bytes, and no finished program ran twice.
    killed = tmp_path / "killed"
    script = (
        "import sys; sys.path.insert(0, 'tests/papers/codeseq')\n"
        "from test_synthesis import synthesize, tiny_plan\n"
        f"synthesize({str(killed)!r}, tiny_plan())\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], env=os.environ, stderr=subprocess.DEVNULL)
    while child.poll() is None and finished(killed) < 40:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = finished(killed)
    assert 40 <= before < finished(whole) and not (killed / "sft.jsonl").exists()
    synthesize(killed, tiny_plan())
    assert finished(killed) == finished(whole)
    assert all((killed / f"{n}.jsonl").read_bytes() == (whole / f"{n}.jsonl").read_bytes() for n in FILES)
    left, right = (pd.read_parquet(f / "synthesize.items.parquet") for f in (whole, killed))
    pd.testing.assert_frame_equal(left, right)


def finished(out):
    """Return how many programs a stage's journal holds."""
    paths = list(out.glob("state/*/programs.sqlite"))
    if not paths:
        return 0
    try:
        with sqlite3.connect(f"file:{paths[0]}?mode=ro", uri=True) as db:
            return db.execute("SELECT COUNT(*) FROM done").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_without_the_records_the_rows_say_so(tmp_path):
    synthesize(tmp_path, read_plan_of("codeseq", "laptop"), scale="laptop")
    rows = pd.read_parquet(tmp_path / "synthesize.items.parquet")
    absent = rows[rows["status"] == "not_run"]
    absent = absent.set_index("benchmark")["reason"]
    assert set(absent.index) == {"GTG", "reward"} and "GALLEY_MIRROR" in absent["GTG"] and "formula" in absent["reward"]


def test_a_wrapped_function_reads_its_index(judge):
    job = Job(wrap_function("def f(n):\n    return n + 1\n", "f"), ((5, 6), (-1, 0)))
    assert next(judge.judge([job])).passed
