"""HumanEval: a program passes when the task's check(candidate) returns.

Source: Chen et al., arXiv:2107.03374. Deviations: the test runs outside the program's process and reaches the function by proxy on
plain data, so that a program cannot patch it; the helpers that four tests use are the prompt's own (`poly`, `encode_cyclic`,
`encode_shift`), never the program's; time is CPU time, since wall time depends on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from galley.data.code_benchmarks import HumanEvalTask
from galley.evaluate.code.judge import Result, judge
from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Check, Limits, Program

LIMITS = Limits(cpu_s=5.0, wall_s=30.0, memory_mb=1024)
SUITES = ("tests",)


def trusted_test(task: HumanEvalTask) -> str:
    """Return the test module: the prompt's helpers, the task's check, and the entry point's name bound to the candidate."""
    bind = f"_check = check\n\ndef check(candidate):\n    globals()[{task.entry_point!r}] = candidate\n    _check(candidate)\n"
    return f"{task.prompt}\n\n{task.test}\n\n{bind}"


def judge_humaneval(sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, HumanEvalTask]) -> list[Result]:
    """Judge programs by their task's check."""
    tests = {task.id: trusted_test(task) for task in tasks.values()}

    def programs(sample: Sample) -> list[Program]:
        check = Check(tests[sample.task_id], tasks[sample.task_id].entry_point)
        return [Program(str(sample.line), sample.program, check, LIMITS)]

    return judge(sandbox, samples, suite="tests", programs=programs)
