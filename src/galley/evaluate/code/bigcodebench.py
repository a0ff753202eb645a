"""BigCodeBench: a program passes when every test of the task's unittest class does.

Source: Zhuo et al., arXiv:2406.15877. Calibrated (the default): the task's imports and signature come before the program, so that
one which left them out is not punished for it. Deviations: the slice that needs the standard library only (286 tasks) unless all are
asked for; 60 CPU seconds instead of 240 wall seconds; 4 GiB instead of 30; the tests run in the program's process, because they
patch its modules, so a program that attacks unittest is stopped only as far as the sandbox's runner sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from galley.data.code_benchmarks import BigCodeTask
from galley.evaluate.code.judge import Result, judge
from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Limits, Program, UnitTests

LIMITS = Limits(cpu_s=60.0, wall_s=180.0, memory_mb=4096, processes=64, open_files=256, file_mb=256, output_kb=1024)
SUITES = ("calibrated",)
RAW_MEMORY = "ctypes"  # three tasks ask for it; elsewhere the sandbox ends a program that imports it


def judge_bigcodebench(
    sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, BigCodeTask], *, calibrated: bool = True
) -> list[Result]:
    """Judge programs by their task's unit tests."""

    def programs(sample: Sample) -> list[Program]:
        task = tasks[sample.task_id]
        code = task.calibrated(sample.program) if calibrated else sample.program
        allow = (RAW_MEMORY,) if f"import {RAW_MEMORY}" in task.reference else ()
        return [Program(str(sample.line), code, UnitTests(task.test, task.entry_point, allow), LIMITS)]

    return judge(sandbox, samples, suite="calibrated" if calibrated else "plain", programs=programs)
