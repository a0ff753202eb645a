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
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

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


class Writer(Protocol):
    """Something that writes a problem's text; `name` is the backend in every row."""

    name: str

    def write(self, record: Record, problem: Problem, *, seed: int) -> Problem | str:
        """Return the problem with its text and shift, or the reason for which it is dropped."""
        ...


class TemplateWriter:
    """Writes from a fixed set of stories; the rule is the record's own name."""

    name = "template"

    def write(self, record: Record, problem: Problem, *, seed: int) -> Problem | str:
        """Return the problem with its text; inputs become the OEIS indices, so that f(offset) is the first term."""
        story = STORIES[seed_of("story", seed, record.id) % len(STORIES)]
        rule = record.name.rstrip(".")
        moved = shifted(problem, record.offset - 1)
        return replace(
            moved, description=story.format(rule=rule), input_requirement=f"one integer, at least {record.offset}",
            output_requirement="one integer", writer=self.name,
        )  # fmt: skip


class ModelWriter:
    """Asks a language model for the story (a backend of galley.llm)."""

    def __init__(self, backend: Any, *, temperature: float = 1.0, max_tokens: int = 4096) -> None:
        self.backend, self.temperature, self.max_tokens = backend, temperature, max_tokens
        self.name = backend.name

    def write(self, record: Record, problem: Problem, *, seed: int) -> Problem | str:
        """Return the problem with the model's text, or why it is dropped."""
        messages = write_prompt(record, problem)
        answer = self.backend.generate(
            [messages], temperature=self.temperature, max_tokens=self.max_tokens, seed=seed_of("write", seed, record.id) % 2**31
        )[0][0]
        if answer.finish == "failed":
            return "endpoint_failed"
        return accept(answer.text, problem, writer=self.name)


def accept(text: str, problem: Problem, *, writer: str) -> Problem | str:
    """Return the problem that a writer's JSON describes, or the reason for which it is dropped."""
    start, end = text.find("{"), text.rfind("}")
    try:
        row = json.loads(text[start : end + 1])
        shown = [(as_integer(str(e["input"])), as_integer(str(e["output"]))) for e in row["example"]]
        fields = {name: str(row[name]).strip() for name in ("description", "input_requirement", "output_requirement")}
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not_json"
    if len(shown) != 2 or not all(fields.values()):
        return "not_json"
    if [term for _, term in shown] != [term for _, term in problem.examples]:
        return "wrong_example_output"
    shifts = {None if i is None else i - own for (i, _), (own, _) in zip(shown, problem.examples, strict=True)}
    shift = shifts.pop()
    if shifts or shift is None:
        return "unequal_shift"
    return replace(shifted(problem, shift), **fields, writer=writer)


class Guide:
    """The guiding agent: a second model call that must find both example outputs from the text alone, with one retry."""

    def __init__(self, backend: Any, *, max_tokens: int = 4096) -> None:
        self.backend, self.max_tokens = backend, max_tokens

    def valid(self, problem: Problem, *, seed: int) -> bool:
        """Say whether the agent's answers are the true terms."""
        wanted = [term for _, term in problem.examples]
        for attempt in range(2):
            answer = self.backend.generate(
                [check_prompt(problem)], temperature=1.0, max_tokens=self.max_tokens, seed=seed_of("guide", seed, problem.id, attempt) % 2**31
            )[0][0]
            if answer.finish != "failed" and answers_in(answer.text) == wanted:
                return True
        return False


def answers_in(text: str) -> list[int | None]:
    """Return the integers of the list that ends a reply; empty when there is none."""
    found = LEAST_REPLY.search(text.strip().removesuffix("```").strip())
    return [] if found is None else [as_integer(part) for part in found[0].strip("[] \n").split(",")]


def write_problems(
    records: Iterable[Record], writer: Writer, *, guide: Guide | None, seed: int, counts: Counter[str]
) -> Iterator[tuple[Record, Problem]]:
    """Yield the accepted problems with their records; `counts` gets `problems_input`, `accepted` and the dropped by reason."""
    for record in records:
        counts["problems_input"] += 1
        bare = bare_problem(record, seed=seed)
        written = "few_tests" if bare is None else writer.write(record, bare, seed=seed)
        if not isinstance(written, str) and guide is not None and not guide.valid(written, seed=seed):
            written = "guide_disagrees"
        counts["accepted" if isinstance(written, Problem) else str(written)] += 1
        if isinstance(written, Problem):
            yield record, written
