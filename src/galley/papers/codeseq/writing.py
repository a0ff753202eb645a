"""Writing problems and letting only faithful ones through.

arXiv:2510.14620, sections 3.2 and 3.3: a strong model packages a sequence as a story; the answer is taken only if its JSON parses and
both example outputs are the true terms, with one common shift of the inputs, which the tests then share; a guiding agent must
answer both examples from the text alone (one retry). Deviations: where the shift differs between the examples the problem is
dropped (the authors' script keeps the row without tests); outputs are compared as integers, not as strings. Below the paper's
scale `template` writes the text from the sequence's own rule, inputs moved so that the first term's is the record's offset.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

from galley.llm.backend import Backend
from galley.papers.codeseq.answers import as_integer
from galley.papers.codeseq.problems import Problem, bare_problem, seed_of, shifted
from galley.papers.codeseq.prompts import check_prompt, write_prompt
from galley.papers.codeseq.records import Record

LEAST_REPLY = re.compile(r"\[[^\[\]]*\]\s*\Z")
STORIES = (
    "A clerk keeps a ledger with numbered pages and writes one whole number on each. The number on a page follows this rule: {rule}.",
    "A lighthouse sends a coded number every night. Nights are counted, and the code of a night is found so: {rule}.",
    "The doors of a museum are numbered. Behind each stands a jar with a number of beads (debts are negative), given by: {rule}.",
    "A machine has one dial. When the dial stands at some position it prints a single number, by the rule: {rule}.",
)


Asked = Sequence[tuple[Record, Problem]]  # sequences with their problems still without text


class Writer(Protocol):
    """Something that writes a problem's text; `name` is the backend in every row."""

    name: str

    def write(self, asked: Asked, *, seed: int) -> list[Problem | str]:
        """Return each problem with its text and shift, or the reason for which it is dropped."""
        ...


class TemplateWriter:
    """Writes from a fixed set of stories; the rule is the record's own name."""

    name = "template"

    def write(self, asked: Asked, *, seed: int) -> list[Problem | str]:
        """Return the problems with their text."""
        return [self._write(record, problem, seed=seed) for record, problem in asked]

    def _write(self, record: Record, problem: Problem, *, seed: int) -> Problem:
        """Return a problem with its text; inputs become the OEIS indices, so that f(offset) is the first term."""
        story = STORIES[seed_of("story", seed, record.id) % len(STORIES)]
        rule = record.name.rstrip(".")
        moved = shifted(problem, record.offset - 1)
        return replace(
            moved, description=story.format(rule=rule), input_requirement=f"one integer, at least {record.offset}",
            output_requirement="one integer", writer=self.name,
        )  # fmt: skip


class ModelWriter:
    """Asks a language model for the story (a backend of galley.llm)."""

    def __init__(self, backend: Backend, *, temperature: float = 1.0, max_tokens: int = 4096) -> None:
        self.backend, self.temperature, self.max_tokens = backend, temperature, max_tokens
        self.name = backend.name

    def write(self, asked: Asked, *, seed: int) -> list[Problem | str]:
        """Return each problem with the model's text, or why it is dropped."""
        prompts = [write_prompt(record, problem) for record, problem in asked]
        answers = self.backend.generate(prompts, temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)
        return [
            "endpoint_failed" if answer.finish == "failed" else accept(answer.text, problem, writer=self.name)
            for (_, problem), (answer,) in zip(asked, answers, strict=True)
        ]


def accept(text: str, problem: Problem, *, writer: str) -> Problem | str:
    """Return the problem that a writer's JSON describes, or the reason for which it is dropped."""
    start, end = text.find("{"), text.rfind("}")
    try:
        row = json.loads(text[start : end + 1])
        shown = [(as_integer(str(e["input"])), as_integer(str(e["output"]))) for e in row["example"]]
        description, given, printed = (str(row[name]).strip() for name in ("description", "input_requirement", "output_requirement"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not_json"
    if len(shown) != 2 or not (description and given and printed):
        return "not_json"
    if [term for _, term in shown] != [term for _, term in problem.examples]:
        return "wrong_example_output"
    shifts = {None if i is None else i - own for (i, _), (own, _) in zip(shown, problem.examples, strict=True)}
    shift = shifts.pop()
    if shifts or shift is None:
        return "unequal_shift"
    moved = shifted(problem, shift)
    return replace(moved, description=description, input_requirement=given, output_requirement=printed, writer=writer)


class Guide:
    """The guiding agent: a second model call that must find both example outputs from the text alone, with one retry."""

    def __init__(self, backend: Backend, *, max_tokens: int = 4096) -> None:
        self.backend, self.max_tokens = backend, max_tokens

    def valid(self, problems: Sequence[Problem], *, seed: int) -> list[bool]:
        """Say of each problem whether the agent's answers are the true terms."""
        valid = [False] * len(problems)
        for attempt in range(2):
            left = [i for i, ok in enumerate(valid) if not ok]
            prompts = [check_prompt(problems[i]) for i in left]
            answers = self.backend.generate(prompts, temperature=1.0, max_tokens=self.max_tokens, seed=seed + attempt) if left else []
            for i, (answer,) in zip(left, answers, strict=True):
                wanted = [term for _, term in problems[i].examples]
                valid[i] = answer.finish != "failed" and answers_in(answer.text) == wanted
        return valid


def answers_in(text: str) -> list[int | None]:
    """Return the integers of the list that ends a reply; empty when there is none."""
    found = LEAST_REPLY.search(text.strip().removesuffix("```").strip())
    return [] if found is None else [as_integer(part) for part in found[0].strip("[] \n").split(",")]


def write_problems(
    records: Iterable[Record], writer: Writer, *, guide: Guide | None, seed: int, counts: Counter[str], chunk: int = 64
) -> Iterator[tuple[Record, Problem]]:
    """Yield the accepted problems with their records; `counts` gets `problems_input`, `accepted` and the dropped by reason."""
    records = iter(records)
    while part := list(islice(records, chunk)):
        bare = [bare_problem(record, seed=seed) for record in part]
        asked = [(record, problem) for record, problem in zip(part, bare, strict=True) if problem is not None]
        written = writer.write(asked, seed=seed)
        drafts = [p for p in written if isinstance(p, Problem)]
        valid = dict(zip((p.id for p in drafts), guide.valid(drafts, seed=seed) if guide else [True] * len(drafts), strict=True))
        counts["problems_input"] += len(part)
        counts["few_tests"] += len(part) - len(asked)
        for (record, _), problem in zip(asked, written, strict=True):
            fine = isinstance(problem, Problem) and valid[problem.id]
            counts["accepted" if fine else "guide_disagrees" if isinstance(problem, Problem) else problem] += 1
            if isinstance(problem, Problem) and fine:
                yield record, problem
