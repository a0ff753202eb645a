"""The pipeline in the real sandbox: what is kept, why the rest is dropped, and a kill that costs no finished program."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict

import pytest

from galley.data.functions import functions_in, plain
from galley.papers.case2code import synthesis
from galley.papers.case2code.dataset import read_samples, write_samples
from galley.papers.case2code.synthesis import synthesise
from galley.papers.case2code.values import read_inputs
from galley.synthesize.journal import Journal


@pytest.fixture(scope="module")
def made(functions, tmp_path_factory):
    journal = tmp_path_factory.mktemp("syn") / "j.sqlite"
    counts = Counter()
    samples = list(synthesise(map(plain, functions), journal=journal, counts=counts, cases=16, seed=0))
    return samples, counts, journal


def test_stable_functions_are_kept_and_every_other_is_dropped_for_its_reason(made, functions):
    samples, counts, _ = made
    assert [s.name for s in samples] == ["double", "shout", "total"]
    assert counts.pop("input") == counts.total() == len(functions)
    assert counts["kept"] == 3 and counts["semantic_twin"] == 1  # double_again is another tree with the same outputs
    assert counts["one_output"] == 1 and counts["odd_signature"] == 1
    assert counts["not_deterministic"] == 2, counts  # a set's order, and a default that remembers


def test_outputs_are_what_the_functions_return(made):
    samples, _, _ = made
    spaces = {"double": lambda n: 2 * n, "shout": lambda text: text.upper() + "!", "total": lambda numbers, start=0: sum(numbers, start)}
    for sample in samples:
        assert sample.writer == "doctest" and len(sample.cases) >= 6
        assert len({repr(c.inputs) for c in sample.cases}) == len(sample.cases)
        for case in sample.cases:
            assert repr(spaces[sample.name](**read_inputs(case.inputs))) == case.output


def test_a_second_run_executes_nothing_and_gives_the_same_bytes(made, functions, tmp_path, monkeypatch):
    samples, _, journal = made

    class Never(synthesis.Sandbox):
        def map(self, programs, *, ordered=True):
            programs = list(programs)
            # A sandbox tries itself out when it starts; nothing else may run.
            assert all(program.id == "probe" for program in programs), "a finished program was run again"
            return super().map(programs, ordered=ordered)

    monkeypatch.setattr(synthesis, "Sandbox", Never)
    again = Counter()
    write_samples(synthesise(map(plain, functions), journal=journal, counts=again, cases=16, seed=0), tmp_path / "again.jsonl")
    write_samples(samples, tmp_path / "first.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "first.jsonl").read_bytes()
    assert list(read_samples(tmp_path / "again.jsonl")) == samples
    assert again["kept"] == 3


KILLED = """
import sys
from collections import Counter
from pathlib import Path
from galley.data.functions import functions_in
from galley.papers.case2code.synthesis import synthesise
text = "".join(f"def f{i}(n):\\n    return n * {i} + {i % 7}\\n" for i in range(160))
functions = functions_in(text, origin="o", package="p")
for _ in synthesise(functions, journal=Path(sys.argv[1]), counts=Counter(), cases=8, seed=0):
    print("kept", flush=True)
"""


def test_after_kill_9_finished_programs_are_not_run_again(tmp_path, monkeypatch):
    journal = tmp_path / "j.sqlite"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(journal)], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None and child.stdout.readline() == b"kept\n"
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    with Journal(journal) as kept:
        before = len(kept)
    assert before > 50
    ran = Counter()

    class Counting(synthesis.Sandbox):
        def map(self, programs, *, ordered=True):
            def seen():
                for program in programs:
                    ran["programs"] += program.id != "probe"
                    yield program

            yield from super().map(seen(), ordered=ordered)

    monkeypatch.setattr(synthesis, "Sandbox", Counting)
    text = "".join(f"def f{i}(n):\n    return n * {i} + {i % 7}\n" for i in range(160))
    functions = functions_in(text, origin="o", package="p")
    resumed = list(synthesise(functions, journal=journal, counts=Counter(), cases=8, seed=0))
    with Journal(journal) as kept:
        assert ran["programs"] == len(kept) - before  # each program of the journal ran once, before or after the kill
    whole = list(synthesise(functions, journal=tmp_path / "other.sqlite", counts=Counter(), cases=8, seed=0))
    assert [asdict(s) for s in resumed] == [asdict(s) for s in whole] and len(whole) > 120


def test_a_language_models_inputs_are_used_where_they_run(functions, tmp_path):
    chosen = [plain(f) for f in functions if f.name in ("double", "shout")]

    def writer(asked):
        return [[{"n": i} for i in range(40, 48)] if f.name == "double" else [{"wrong": 1}] for f in asked]

    found = {s.name: s for s in synthesise(chosen, journal=tmp_path / "j", counts=Counter(), cases=8, seed=0, writer=writer)}
    assert found["double"].writer == "endpoint" and [c.inputs["n"] for c in found["double"].cases] == [str(i) for i in range(40, 48)]
    assert found["shout"].writer == "probe"
