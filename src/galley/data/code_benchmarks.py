"""Code benchmarks: HumanEval, MBPP, HumanEval+, MBPP+ and BigCodeBench, read from fetched source folders.

Source: Chen et al. (arXiv:2107.03374), Austin et al. (arXiv:2108.07732), Liu et al. (arXiv:2305.01210), Zhuo et al.
(arXiv:2406.15877). Each file keeps its own format; every task here has `id`, `entry_point`, `prompt` and `reference`, a
complete program that must pass. MBPP+ inputs are typed again (tuples, sets, complex) by evalplus's own function.
Deviations: HumanEval's prompts are OpenAI's, unpatched; BigCodeBench is its state of June 2024, the last one in a public repository.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galley.artifact import GalleyError
from galley.data.benchmarks import read_jsonl
from galley.data.fetched import present

FEW_SHOT = (2, 3, 4)  # the tasks that the MBPP paper shows before the question
MBPP_SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}
# Tasks of the standard-library slice whose own solution cannot pass in a sandbox without a network, on any machine.
NOT_CERTIFIABLE = {
    0: "needs over 20 s", 195: "needs over 20 s", 1040: "needs over 20 s",
    176: "network", 314: "network", 1005: "network", 220: "tkinter", 541: "imports numpy by name",
    1028: "reads /proc through `top`", 812: "environment", 832: "environment", 1103: "environment", 1101: "a `python` command",
    1104: "a `python` command",
}  # fmt: skip


@dataclass(frozen=True)
class HumanEvalTask:
    """A function to complete; `test` defines check(candidate)."""

    id: str
    prompt: str
    entry_point: str
    reference: str
    test: str


@dataclass(frozen=True)
class MbppTask:
    """A one-sentence task; a program passes if `setup` and then every assert run after it."""

    id: str
    number: int
    text: str
    entry_point: str
    reference: str
    setup: str
    asserts: tuple[str, ...]
    challenge: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """Return the zero-shot prompt, a docstring with the task and its first assert (BigCode's convention)."""
        return f'"""\n{self.text}\n{self.asserts[0]}\n"""\n'


@dataclass(frozen=True)
class PlusTask:
    """A task with inputs: a program passes if it returns what the reference does, on `base` and on `plus`."""

    id: str
    prompt: str
    entry_point: str
    reference: str
    base: tuple[Sequence[Any], ...]
    plus: tuple[Sequence[Any], ...]
    atol: float


@dataclass(frozen=True)
class BigCodeTask:
    """A function over libraries; `test` is a unittest class TestCases that uses `entry_point`."""

    id: str
    number: int
    prompt: str  # Complete: imports, signature and a long docstring
    instruct: str  # Instruct: a request in words, for chat models
    entry_point: str
    reference: str
    header: str  # imports and signature, without a body
    test: str
    libraries: tuple[str, ...]

    def calibrated(self, program: str) -> str:
        """Return a program behind the task's header with an empty body, so that a missing import or signature is forgiven."""
        return f"{self.header}\n    pass\n{program}"


def read_humaneval(folder: Path) -> list[HumanEvalTask]:
    """Return HumanEval's 164 tasks."""
    rows = _rows(folder, "HumanEval.jsonl.gz", ("task_id", "prompt", "entry_point", "canonical_solution", "test"), "humaneval")
    return [HumanEvalTask(r["task_id"], r["prompt"], r["entry_point"], r["prompt"] + r["canonical_solution"], r["test"]) for r in rows]


def read_mbpp(folder: Path, *, split: str | None = None) -> list[MbppTask]:
    """Return MBPP's 974 tasks or those of a split: prompt (10), test (500), validation (90) or train (374); line ends are made plain."""
    if split is not None and split not in MBPP_SPLITS:
        raise GalleyError(f"split is {split!r}; MBPP has {', '.join(MBPP_SPLITS)}")
    low, high = MBPP_SPLITS[split] if split else (1, 974)
    fields = ("task_id", "text", "code", "test_setup_code", "test_list", "challenge_test_list")
    tasks = []
    for row in _rows(folder, "mbpp.jsonl", fields, "mbpp"):
        if not low <= row["task_id"] <= high:
            continue
        code, setup = _unix(row["code"]), _unix(row["test_setup_code"])
        asserts = tuple(_unix(line) for line in row["test_list"])
        extra = tuple(_unix(line) for line in row["challenge_test_list"])
        name = _called(code, asserts, number=row["task_id"])
        tasks.append(MbppTask(f"Mbpp/{row['task_id']}", row["task_id"], row["text"], name, code + "\n", setup, asserts, extra))
    return tasks


def mbpp_few_shot(task: MbppTask, examples: Sequence[MbppTask]) -> str:
    """Return the MBPP paper's prompt: examples (its tasks 2, 3 and 4) with their code, then the task with its three asserts."""

    def ask(t: MbppTask) -> str:
        tests = "\n".join(t.asserts)
        return (
            f"You are an expert Python programmer, and here is your task: {t.text} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
        )

    return "".join(f"{ask(e)}{e.reference.rstrip()}\n[DONE]\n\n" for e in examples) + ask(task)


def read_humaneval_plus(folder: Path, *, mini: bool = False) -> list[PlusTask]:
    """Return HumanEval+'s 164 tasks with all inputs, or with the few that tell the same programs apart (Mini)."""
    return _plus(folder, "HumanEvalPlus-Mini.jsonl.gz" if mini else "HumanEvalPlus.jsonl.gz", "humaneval_plus", retype=False)


def read_mbpp_plus(folder: Path) -> list[PlusTask]:
    """Return MBPP+'s 378 tasks, inputs with the types that JSON lost."""
    return _plus(folder, "MbppPlus.jsonl.gz", "mbpp_plus", retype=True)


def read_bigcodebench(folder: Path, *, libraries: str = "standard") -> list[BigCodeTask]:
    """Return BigCodeBench's tasks: `standard`, the 286 that need the standard library only and can be certified, or `all` 1140."""
    if libraries not in ("standard", "all"):
        raise GalleyError(f"libraries is {libraries!r}; allowed: standard, all")
    fields = ("task_id", "complete_prompt", "instruct_prompt", "canonical_solution", "code_prompt", "test", "entry_point", "libs")
    tasks = []
    for row in _rows(folder, "BigCodeBench.jsonl.gz", fields, "bigcodebench"):
        number = int(row["task_id"].split("/")[1])
        reference = row["complete_prompt"] + row["canonical_solution"]
        if libraries == "standard" and (number in NOT_CERTIFIABLE or not _standard(reference, row["test"])):
            continue
        named = tuple(ast.literal_eval(row["libs"]) if isinstance(row["libs"], str) else row["libs"])
        tasks.append(
            BigCodeTask(row["task_id"], number, row["complete_prompt"], row["instruct_prompt"], row["entry_point"], reference,
                        row["code_prompt"].rstrip(), row["test"], named)
        )  # fmt: skip
    return tasks


def _rows(folder: Path, file: str, fields: tuple[str, ...], source: str) -> list[dict[str, Any]]:
    if not present(folder):
        raise GalleyError(f"{folder} has no fetched source; make it with `galley fetch {source} --out {folder}`")
    path = Path(folder) / file
    if not file.endswith(".gz"):
        return read_jsonl(path, fields=fields)
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            missing = [field for field in fields if field not in row]
            if missing:
                raise GalleyError(f"{path}:{number}: no field {missing[0]!r}; expected {', '.join(fields)}")
            rows.append(row)
    return rows


def _plus(folder: Path, file: str, source: str, *, retype: bool) -> list[PlusTask]:
    fields = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
    tasks = []
    for row in _rows(folder, file, fields, source):
        base, plus = row["base_input"], row["plus_input"]
        if retype:
            from evalplus.data.mbpp import mbpp_deserialize_inputs

            base, plus = (mbpp_deserialize_inputs(row["task_id"], inputs) for inputs in (base, plus))
        reference = row["prompt"] + row["canonical_solution"]
        tasks.append(PlusTask(row["task_id"], row["prompt"], row["entry_point"], reference, tuple(base), tuple(plus), float(row["atol"])))
    return tasks


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _called(code: str, asserts: Iterable[str], *, number: int) -> str:
    """Return the function of a program that its asserts call first."""
    defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    called = [n.func.id for line in asserts for n in ast.walk(ast.parse(line)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    found = next((name for name in called if name in defined), None)
    if found is None:
        raise GalleyError(f"MBPP task {number}: its tests call {', '.join(called)}, its code defines {', '.join(sorted(defined))}")
    return found


def _standard(*programs: str) -> bool:
    """Return whether programs import nothing but the standard library."""
    names: set[str] = set()
    for node in (n for program in programs for n in ast.walk(ast.parse(program))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names <= sys.stdlib_module_names
