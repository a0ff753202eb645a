"""The official test: 500 programs with cases, scored as its script does, in the sandbox.

Source: arXiv:2407.12504, dataset/test.jsonl and the test script of its release (Apache-2.0). A task is its program, a piece of code that
makes the inputs (`examples`), and the text of every output: the repr of a value, or type and message of an exception. A prediction is
right only if all texts are equal. Deviation: texts come back on the sandbox's channel, one call an input, and are not printed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galley.data.benchmarks import read_jsonl
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import Calls, Limits, Program

LIMITS = Limits(cpu_s=10.0, wall_s=20.0, memory_mb=1024)
PRELUDE = "import builtins\nbuiltins.exit = builtins.quit = None\n"  # what the release's guard does and one stored output depends on
# Appended to the program and its example code: what the release's template does, one example a call.
WRAPPER = """
def _galley_case(i):
    try:
        return ["return", repr({name}(**examples[i]))]
    except Exception as e:
        return ["error", str(type(e)) + ": " + str(e)]


def _galley_input(i):
    return repr(examples[i])
"""


@dataclass(frozen=True)
class OfficialTask:
    """One task; `outputs` are (kind, text) with kind return or error, `shown` indices of the examples that the prompt shows."""

    id: str
    name: str
    code: str
    examples: str
    outputs: tuple[tuple[str, str], ...]
    shown: tuple[int, ...]
    prompt: str


def read_official(folder: Path) -> list[OfficialTask]:
    """Return the 500 tasks of a fetched source."""
    fields = ("id", "func_name", "code", "example_str", "example_outputs", "choosed_example_idx", "prompt")
    return [
        OfficialTask(
            r["id"], r["func_name"], r["code"], r["example_str"], tuple(_output(o) for o in r["example_outputs"]),
            tuple(r["choosed_example_idx"]), r["prompt"],
        )
        for r in read_jsonl(folder / "test.jsonl", fields=fields)
    ]  # fmt: skip


def _output(entry: dict[str, str]) -> tuple[str, str]:
    """Return an output's kind and text; the release quotes texts as JSON, marks exceptions, and may have printed text before the mark."""
    kind = "return" if "return" in entry else "error"
    return kind, json.loads(entry[kind].rpartition("<|EXCEPTION|> ")[2])


def outputs_of(sandbox: Sandbox, jobs: Iterable[tuple[OfficialTask, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield the (kind, text) that a program gives on each of a task's examples; ("lost", "") where nothing came back."""
    yield from _each(sandbox, jobs, entry="_galley_case", read=lambda value: (value[0], value[1]))


def inputs_of(sandbox: Sandbox, tasks: Iterable[OfficialTask]) -> Iterator[list[tuple[str, str]]]:
    """Yield the repr of each of a task's inputs: the release stores those of the first block of examples only."""
    yield from _each(sandbox, ((task, task.code) for task in tasks), entry="_galley_input", read=lambda value: ("input", value))


def _each(
    sandbox: Sandbox, jobs: Iterable[tuple[OfficialTask, str]], *, entry: str, read: Callable[[Any], tuple[str, str]]
) -> Iterator[list[tuple[str, str]]]:  # fmt: skip
    programs = (
        Program(
            str(n),
            f"{PRELUDE}{code}\n{task.examples}\n{WRAPPER.format(name=task.name)}",
            Calls(entry, [[i] for i in range(len(task.outputs))]),
            LIMITS,
        )
        for n, (task, code) in enumerate(jobs)
    )
    for outcome in sandbox.map(programs):
        yield [read(call.value) if call.status == "value" and call.value else ("lost", "") for call in outcome.calls]


def is_right(found: Sequence[tuple[str, str]], task: OfficialTask) -> bool:
    """Return whether every output is the stored one."""
    return [*found] == [*task.outputs]


def constant_outputs(task: OfficialTask) -> list[tuple[str, str]]:
    """Return what the baseline that always gives the most frequent shown output gives."""
    common = Counter(task.outputs[i] for i in task.shown).most_common(1)[0][0]
    return [common] * len(task.outputs)


def lookup_outputs(task: OfficialTask, inputs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what a table of the shown cases gives, and the most frequent shown output for other inputs."""
    table = {inputs[i]: task.outputs[i] for i in reversed(task.shown)}
    common = constant_outputs(task)[0]
    return [table.get(given, common) for given in inputs]


def extract_code(reply: str) -> str:
    """Return the code of a reply: its first python fence, else any fence, else the text."""
    for pattern in (r"```python\s*\n(.*?)(?:```|\Z)", r"```\w*\s*\n(.*?)(?:```|\Z)"):
        found = re.search(pattern, reply, flags=re.DOTALL)
        if found:
            return found[1]
    return reply
