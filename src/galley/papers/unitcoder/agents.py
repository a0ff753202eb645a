"""What writes tests, proposes repairs and refines: a language model, real programs and tests, or a named search or printer.

arXiv:2502.11460, figure 2, has three language models. Each of the three places takes any backend of `galley.llm` (an endpoint or a local
model), or one of the stand-ins below, which are named in every row so that none is taken for a model.

Deviation: replies are read from the first fence of any kind (the authors take only fences marked python and lose the others).
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from galley.papers.unitcoder import prompts
from galley.sandbox.types import Limits
from galley.stats import derangement
from galley.synthesize.edits import mutants
from galley.synthesize.executor import Executor
from galley.synthesize.repair import Failure, search
from galley.synthesize.suites import doctests, suite

FENCE = re.compile(r"```[a-zA-Z0-9_]*[ \t]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """A function to work on: the program (imports and function), its entry point, and where it is from."""

    id: str
    code: str
    entry_point: str
    origin: str = ""


@dataclass(frozen=True)
class Reply:
    """What an agent gave: text, or None with the reason; `prompt` is the digest of what it was asked, `how` the kind of edit."""

    text: str | None
    prompt: str = ""
    reason: str = ""
    how: str = ""


class Writer(Protocol):
    """Writes a unittest class for each item."""

    name: str

    def write(self, items: Sequence[Item]) -> list[Reply]:
        """Return one reply an item."""


class Debugger(Protocol):
    """Proposes new programs for failures."""

    name: str

    def propose(self, failures: Sequence[Failure], *, n: int, number: int, said: Sequence[str]) -> list[list[Reply]]:
        """Return up to n replies a failure in round `number`; `said` is the bounded feedback."""


class Refiner(Protocol):
    """Rewrites programs that pass."""

    name: str

    def refine(self, items: Sequence[Item], tests: Sequence[str]) -> list[Reply]:
        """Return one reply an item."""


class GivenTests:
    """Tests that exist already: those of a benchmark, or another model's, by item id; `name` says whose."""

    def __init__(self, name: str, tests: Mapping[str, Sequence[str]]) -> None:
        self.name, self.tests = name, tests

    def write(self, items: Sequence[Item]) -> list[Reply]:
        """Return the item's tests as a class, none where it has none."""
        return [Reply(suite(self.tests[i.id])) if self.tests.get(i.id) else Reply(None, reason="no tests") for i in items]


class DoctestWriter:
    """The examples of the function's own docstring: written by people, apart from the code."""

    name = "doctests"

    def write(self, items: Sequence[Item]) -> list[Reply]:
        """Return the docstring's examples as a class."""
        found = [doctests(i.code, i.entry_point) for i in items]
        return [Reply(suite(tests)) if tests else Reply(None, reason="no doctests") for tests in found]


class EmptyWriter:
    """A broken control: a class of no tests, which the authors' rule passes."""

    name = "control:empty"

    def write(self, items: Sequence[Item]) -> list[Reply]:
        """Return empty classes."""
        return [Reply(suite([])) for _ in items]


class ModelWriter:
    """A language model behind a `galley.llm` backend; one sample at temperature 0.2."""

    def __init__(self, backend: Any, *, name: str, seed: int, max_tokens: int = 2048) -> None:
        self.backend, self.name, self.seed, self.max_tokens = backend, name, seed, max_tokens

    def write(self, items: Sequence[Item]) -> list[Reply]:
        """Return the class in the reply's first fence; a reply without one is lost, as the authors lose it."""
        asked = [prompts.write_tests(i.code) for i in items]
        return [r[0] for r in _ask(self.backend, asked, n=1, temperature=0.2, max_tokens=self.max_tokens, seed=self.seed)]


class SearchDebugger:
    """The search repairer of galley.synthesize.repair; `tries` edits are run before any is proposed."""

    def __init__(self, *, tries: int, run: Executor, limits: Limits) -> None:
        self.name, self.tries, self.run, self.limits = f"search:{tries}", tries, run, limits

    def propose(self, failures: Sequence[Failure], *, n: int, number: int, said: Sequence[str]) -> list[list[Reply]]:
        """Return the best edits of each program."""
        found = search(failures, n=n, tries=self.tries, run=self.run, limits=self.limits)
        return [[Reply(edit.code, how=edit.kind) for edit in mine] for mine in found]


class BlindDebugger:
    """Edits of the failing program drawn by the seed, whatever its tests say: what trying as many edits without guidance gives."""

    name = "blind"

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def propose(self, failures: Sequence[Failure], *, n: int, number: int, said: Sequence[str]) -> list[list[Reply]]:
        """Return n single edits of each program in a random order; in each round others, of the program that it then is."""
        replies = []
        for failure in failures:
            drawn = mutants(failure.code, entry_point=failure.entry_point, limit=n, seed=self.seed + number)
            random.Random(f"{self.seed} {number} {failure.id}").shuffle(drawn)
            replies.append([Reply(edit.code, how=f"blind {edit.kind}") for edit in drawn])
        return replies


class MisledDebugger:
    """A broken control: the debugger within is shown another program's tests and failure in the place of each one's own."""

    def __init__(self, inner: Debugger, *, seed: int) -> None:
        self.inner, self.seed, self.name = inner, seed, f"control:misled {inner.name}"

    def propose(self, failures: Sequence[Failure], *, n: int, number: int, said: Sequence[str]) -> list[list[Reply]]:
        """Return what the debugger within proposes for each program by the tests and the outcome of another."""
        if len(failures) < 2:
            return [[] for _ in failures]
        other = derangement(len(failures), seed=self.seed)
        mixed = [replace(f, tests=failures[j].tests, outcome=failures[j].outcome) for f, j in zip(failures, other, strict=True)]
        return self.inner.propose(mixed, n=n, number=number, said=[said[j] for j in other])


class GivenPrograms:
    """Other real programs for the same task, n a round: what drawing again from models gives, without looking at the failure."""

    def __init__(self, name: str, programs: Mapping[str, Sequence[str]]) -> None:
        self.name, self.programs = name, programs

    def propose(self, failures: Sequence[Failure], *, n: int, number: int, said: Sequence[str]) -> list[list[Reply]]:
        """Return the task's next n programs."""
        return [[Reply(code, how="drawn") for code in self.programs.get(f.id, ())[n * number : n * (number + 1)]] for f in failures]


class ModelDebugger:
    """A language model that sees program, tests and feedback; n samples at temperature 0.5."""

    def __init__(self, backend: Any, *, name: str, seed: int, max_tokens: int = 2048) -> None:
        self.backend, self.name, self.seed, self.max_tokens = backend, name, seed, max_tokens

    def propose(self, failures: Sequence[Failure], *, n: int, number: int, said: Sequence[str]) -> list[list[Reply]]:
        """Return the programs in the replies' first fences."""
        asked = [prompts.debug(f.code, f.tests, text) for f, text in zip(failures, said, strict=True)]
        return _ask(self.backend, asked, n=n, temperature=0.5, max_tokens=self.max_tokens, seed=self.seed + number + 1)


class ModelRefiner:
    """A language model that documents and tidies; one sample at temperature 0.5."""

    def __init__(self, backend: Any, *, name: str, seed: int, max_tokens: int = 2048) -> None:
        self.backend, self.name, self.seed, self.max_tokens = backend, name, seed, max_tokens

    def refine(self, items: Sequence[Item], tests: Sequence[str]) -> list[Reply]:
        """Return the program in the reply's first fence."""
        asked = [prompts.refine(i.code, text) for i, text in zip(items, tests, strict=True)]
        return [r[0] for r in _ask(self.backend, asked, n=1, temperature=0.5, max_tokens=self.max_tokens, seed=self.seed)]


class PrintRefiner:
    """No model: imports first and once, docstrings in one form, the whole re-printed from the tree."""

    name = "printer"

    def refine(self, items: Sequence[Item], tests: Sequence[str]) -> list[Reply]:
        """Return the re-printed program."""
        return [_printed(i.code) for i in items]


class RenamingRefiner:
    """A broken control: it gives the function another name, so that no refined program can pass its tests."""

    name = "control:renaming"

    def refine(self, items: Sequence[Item], tests: Sequence[str]) -> list[Reply]:
        """Return the program under another name."""
        return [Reply(re.sub(rf"\b{re.escape(i.entry_point)}\b", f"{i.entry_point}_refined", i.code)) for i in items]


def fenced(text: str) -> str | None:
    """Return the first fenced block of a reply, None when there is none."""
    found = FENCE.search(text)
    return found[1].strip() + "\n" if found else None


def prompt_digest(prompt: Any) -> str:
    """Return the digest of a prompt as it is kept in rows."""
    return hashlib.sha256(repr(prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _ask(backend: Any, asked: Sequence[Any], *, n: int, temperature: float, max_tokens: int, seed: int) -> list[list[Reply]]:
    answers = backend.generate(asked, n=n, temperature=temperature, top_p=1.0, max_tokens=max_tokens, stop=None, seed=seed)
    replies = []
    for prompt, mine in zip(asked, answers, strict=True):
        key = prompt_digest(prompt)
        texts = [fenced(completion.text) for completion in mine]
        replies.append([Reply(t, prompt=key, reason="" if t else "no fenced code in the reply", how="model") for t in texts])
    return replies


def _printed(code: str) -> Reply:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return Reply(None, reason="does not parse")
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    others = [n for n in tree.body if not isinstance(n, ast.Import | ast.ImportFrom)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            first, *rest = [line.rstrip() for line in text.strip().splitlines()]
            shown = "\n".join([first, *("    " + line if line else "" for line in rest), *(["    "] if rest else [])])
            node.body[0] = ast.Expr(ast.Constant(shown))
    future = [n for n in imports if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    lines = list(dict.fromkeys(ast.unparse(n) for n in [*future, *(n for n in imports if n not in future)]))
    body = ast.unparse(ast.fix_missing_locations(ast.Module(others, [])))
    return Reply(("\n".join(lines) + "\n\n\n" if lines else "") + body + "\n")
