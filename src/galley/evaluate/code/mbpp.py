"""MBPP: a program passes when, after it and the task's setup, the task's three asserts hold.

Source: Austin et al., arXiv:2108.07732. The order is code, setup, asserts: the setup of tasks 367 and 927 builds objects of a class
that the program defines. Deviation: where asserts need only the function (969 of 974 tasks) they run outside the program's
process, on plain data, so that an object that equals everything does not pass; the others run inside it, as in the original.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence

from galley.data.code_benchmarks import MbppTask
from galley.evaluate.code.judge import Result, judge
from galley.evaluate.code.samples import Sample
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Check, Limits, Program, Run

LIMITS = Limits(cpu_s=5.0, wall_s=30.0, memory_mb=1024)
SUITES = ("tests",)


def needs_the_program(task: MbppTask) -> bool:
    """Return whether the asserts use more than the function and calls of builtins: a class or import of the program, a type as a value."""
    tree = ast.parse("\n".join((task.setup, *task.asserts)))
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id != task.entry_point]
    return not all(id(name) in called and hasattr(builtins, name.id) for name in names)


def trusted_test(task: MbppTask) -> str:
    """Return a module whose check has the asserts as its body and the function's name as its parameter."""
    module = ast.parse(f"def check({task.entry_point}):\n    pass")
    check = module.body[0]
    assert isinstance(check, ast.FunctionDef)
    check.body = ast.parse("\n".join((task.setup, *task.asserts))).body
    return ast.unparse(ast.fix_missing_locations(module))


def in_process(task: MbppTask, program: str) -> str:
    """Return the original's program: code, setup and asserts in one."""
    return "\n".join((program, task.setup, *task.asserts)) + "\n"


def judge_mbpp(sandbox: Sandbox, samples: Sequence[Sample], tasks: Mapping[str, MbppTask], *, original: bool = False) -> list[Result]:
    """Judge programs by their task's asserts; `original` runs all asserts inside the program's process."""
    inside = {task.id for task in tasks.values() if original or needs_the_program(task)}
    tests = {task.id: trusted_test(task) for task in tasks.values() if task.id not in inside}

    def programs(sample: Sample) -> list[Program]:
        task = tasks[sample.task_id]
        if task.id in inside:
            return [Program(str(sample.line), in_process(task, sample.program), Run(), LIMITS)]
        return [Program(str(sample.line), sample.program, Check(tests[task.id], task.entry_point), LIMITS)]

    return judge(sandbox, samples, suite="tests", programs=programs)
