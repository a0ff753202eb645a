import math

import pandas as pd
import pytest

from galley.artifact import GalleyError
from galley.evaluate.certificates import COLUMNS, write_table
from galley.evaluate.code import certify as module
from galley.evaluate.code.attacks import ATTACKS, attack
from galley.evaluate.code.certify import WRONG, certify_code


def test_the_attacks_are_programs_with_the_function_s_name():
    for name in ATTACKS:
        program = attack(name, "double")
        compile(program, name, "exec")
        assert "NAME" not in program


def test_right_wrong_and_hostile_programs_and_absent_benchmarks(sources, tmp_path):
    rows = certify_code(sources, limit=3, kept=tmp_path / "kept")
    table = pd.DataFrame(rows)
    absent = table[table["status"] == "not_run"]
    assert sorted(absent["benchmark"]) == ["bigcodebench", "mbpp", "mbpp_plus"] and absent["value"].isna().all()
    done = table[table["status"] != "not_run"]
    assert (done["status"] == "ok").all(), done[done["status"] != "ok"].to_string()
    assert done.groupby("benchmark").size().to_dict() == {b: 1 + len(WRONG) + len(ATTACKS) - 1 for b in ("humaneval", "humaneval_plus")}
    assert done[done["method"] == "gold:canonical"]["value"].tolist() == [1.0, 1.0]
    assert done["setting"].str.contains("seccomp").all()
    write_table(table.reindex(columns=COLUMNS), tmp_path / "t.csv")
    assert list(pd.read_csv(tmp_path / "t.csv").columns) == COLUMNS


def test_a_judge_that_passes_everything_is_not_certified(sources, tmp_path, monkeypatch):
    from dataclasses import replace

    bench = module.BENCHMARKS["humaneval"]
    monkeypatch.setitem(
        module.BENCHMARKS, "humaneval", replace(bench, judge=lambda *a: [replace(r, verdict="pass") for r in bench.judge(*a)])
    )
    table = pd.DataFrame(certify_code(sources, limit=3, kept=tmp_path / "kept")).reindex(columns=COLUMNS)
    failed = table[table["status"] == "failed"]
    assert set(failed["benchmark"]) == {"humaneval"} and len(failed) == len(WRONG) + len(ATTACKS) - 1
    with pytest.raises(
        GalleyError, match=r"certificates failed, such as humaneval on corrupted:empty: pass@1 is 1, but must be 0 to 0\.02"
    ):
        write_table(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").exists()


def test_a_machine_without_isolation_has_no_certificates(sources, tmp_path, monkeypatch):
    def refuse(**_):
        raise GalleyError("no_sandbox: no user namespaces here")

    monkeypatch.setattr(module, "Sandbox", refuse)
    rows = certify_code(sources, limit=2, kept=tmp_path / "kept")
    assert {r["status"] for r in rows} == {"not_run"} and all("no_sandbox" in r["reason"] and math.isnan(r["value"]) for r in rows)


def test_a_benchmark_without_all_its_tasks_is_refused(sources, tmp_path):
    with pytest.raises(GalleyError, match="humaneval has 3 tasks; it must have 164"):
        certify_code(sources, kept=tmp_path / "kept")
