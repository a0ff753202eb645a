"""Programs by file: broken lines, resuming, values that JSON lacks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from test_plain import VALUES
from typer.testing import CliRunner

from galley.sandbox.batch import from_json, parse, run_programs, to_json
from galley.sandbox.commands import app
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls


def line(name: str, code: str = "", **more) -> bytes:
    return json.dumps({"id": name, "code": code, **more}).encode() + b"\n"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2) as live:
        yield live


def canonical(value):
    """A value's text in which sets and keys have an order, and NaN equals itself."""
    if isinstance(value, dict):
        return ("dict", sorted((canonical(k), canonical(v)) for k, v in value.items()).__repr__())
    if isinstance(value, set | frozenset):
        return (type(value).__name__, repr(sorted(repr(canonical(v)) for v in value)))
    if isinstance(value, list | tuple):
        return (type(value).__name__, repr([canonical(v) for v in value]))
    return (type(value).__name__, repr(value))


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_tagged_json_keeps_every_plain_value(value):
    back = from_json(json.loads(json.dumps(to_json(value))))
    assert canonical(back) == canonical(value)


def test_broken_lines_are_named_and_the_rest_runs(tmp_path, sandbox):
    lines = [
        line("a", "assert 1"),
        b"not json\n",
        line("a", "assert 1"),
        b'{"id": "b"}\n',
        b"\xff\xfe\n",
        b"\n",
        line("c", "x = '" + "a" * (10 << 20) + "'"),
        line("d", "", do={"kind": "what"}),
        line("e", "", do={"kind": "calls", "entry_point": "f", "inputs": [3]}),
        line("f", "", limits={"cpu_s": "much"}),
        line("g", "", limits={"parsecs": 1}),
        b"[1]\n",
        line("z", "import os; os._exit(0)"),
    ]
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    counts = run_programs(tmp_path / "in.jsonl", tmp_path / "out.jsonl", sandbox=sandbox)
    assert counts == {"pass": 2, "invalid": 9, "no_result": 1}
    rows = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13]
    messages = {row["line"]: row["message"] for row in rows if row["verdict"] == "invalid"}
    assert "came before" in messages[3] and "code" in messages[4] and "UTF-8" in messages[5]
    assert "limits.cpu_s" in messages[10] and "parsecs" in messages[11]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_values_come_back_tagged(tmp_path, sandbox):
    do = {"kind": "calls", "entry_point": "f", "inputs": [[{"!set": [1]}], {"x": {"!tuple": [1, {"!float": "inf"}]}}]}
    (tmp_path / "in.jsonl").write_bytes(line("a", "def f(x): return x, {1: b'z'}", do=do))
    run_programs(tmp_path / "in.jsonl", tmp_path / "out.jsonl", sandbox=sandbox)
    first, second = (call["value"] for call in json.loads((tmp_path / "out.jsonl").read_text())["calls"])
    assert from_json(first) == ({1}, {1: b"z"})
    assert from_json(second) == ((1, float("inf")), {1: b"z"})
    assert isinstance(parse(line("a", "", do=do)).do, Calls)


def test_a_killed_run_goes_on_and_runs_no_finished_program_again(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"".join(line(str(i), f"import time; time.sleep(0.02); print({i})") for i in range(80)))
    out, journal = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.journal"
    command = [sys.executable, "-m", "galley.cli", "run-programs", str(tmp_path / "in.jsonl"), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if journal.exists() and journal.read_bytes().count(b"\n") >= 10:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with journal.open("ab") as file:
        file.write(b'{"line": 79, "cut')
    before = {row["line"]: row for row in map(json.loads, journal.read_text().splitlines()[:-1])}
    assert 10 <= len(before) < 80 and not out.exists()
    with Sandbox() as sandbox:
        assert run_programs(tmp_path / "in.jsonl", out, sandbox=sandbox) == {"pass": 80}
    after = {row["line"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert {number: after[number] for number in before} == before  # CPU seconds and all: not run again
    assert [row["stdouts"] for row in after.values()] == [[f"{i}\n"] for i in range(80)]


def test_doctor_finds_this_machine_in_order():
    result = CliRunner().invoke(app, ["sandbox", "doctor"])
    assert result.exit_code == 0, result.output
    assert "BROKEN" not in result.output and result.output.count("held") >= 12


def test_the_probe_can_fail(monkeypatch):
    from galley.artifact import GalleyError
    from galley.sandbox import probe

    with Sandbox(unsafe=True) as bare:
        found = {finding.name: finding.held for finding in probe.quick(bare)}
    assert not found["network"] and not found["read"] and not found["write"] and not found["processes"]
    monkeypatch.setattr(probe, "_TRIES", probe._TRIES + "\ndef environment(name): return True")
    with pytest.raises(GalleyError, match="got through: environment"):
        Sandbox()
