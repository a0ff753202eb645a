"""What the agents are asked: to write a problem, to answer its examples, to solve it, and to correct a program by a failed case.

arXiv:2510.14620, sections 3.2 to 3.4, in our own words: the story hides that it is a sequence, both examples keep their outputs, all
inputs may move by one common amount; a solver explains briefly and gives one Python fence that reads with input() and prints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from galley.papers.codeseq.problems import Pair, Problem
from galley.papers.codeseq.records import Record

Messages = list[dict[str, str]]
MOST_CONTENT = 6000  # characters of a record's comments, formulas and programs
FIELDS = ("description", "example", "input_requirement", "output_requirement")

WRITE = """You turn a mathematical fact into a programming exercise.

Below are a rule and two of its values, as input and output. Write a short story-like exercise whose answer is a program that reads
one integer and prints the value. The exercise must define the value exactly, must not say that it is a number sequence or name a
catalogue, and must keep both outputs as they are. You may add one and the same integer to both inputs where the story needs it.

Answer with one JSON object and nothing else: "description" (the exercise), "example" (a list of two objects with "input", "output"
and "explanation"), "input_requirement" and "output_requirement".

Rule:
{content}

Values: {examples}"""

CHECK = """Read the exercise and work out its output for the two inputs. Reason first. Then end with one JSON list of two integers, the
outputs in order, and nothing after it.

{text}

Inputs: {inputs}"""

SOLVE = """Solve the exercise with a Python program that reads its input with input() and prints its output with print(). Explain the
idea in a few sentences, then give the whole program in one ```python fence.

{text}"""

REFLECT = """Your program is wrong on a case:
input {given}
expected {expected}
got {got}

Say what the case shows about the mistake, then give the corrected program in one ```python fence."""


def problem_text(problem: Problem) -> str:
    """Return a problem as a solver reads it."""
    examples = "\n".join(f"Input: {i}\nOutput: {term}" for i, term in problem.examples)
    return f"{problem.description}\n\nInput: {problem.input_requirement}\nOutput: {problem.output_requirement}\n\nExamples\n{examples}"


def record_content(record: Record) -> str:
    """Return what is known of a sequence, cut to MOST_CONTENT characters."""
    parts = [record.name, *record.comments, *record.formulas, *record.programs, record.reference]
    return "\n".join(part for part in parts if part)[:MOST_CONTENT]


def write_prompt(record: Record, problem: Problem) -> Messages:
    """Return the request to write a problem."""
    examples = json.dumps([{"input": i, "output": term} for i, term in problem.examples])
    return [{"role": "user", "content": WRITE.format(content=record_content(record), examples=examples)}]


def check_prompt(problem: Problem) -> Messages:
    """Return the guiding agent's request: the text and the inputs of its examples, without their outputs."""
    text = f"{problem.description}\n\nInput: {problem.input_requirement}\nOutput: {problem.output_requirement}"
    inputs = ", ".join(str(i) for i, _ in problem.examples)
    return [{"role": "user", "content": CHECK.format(text=text, inputs=inputs)}]


def solve_prompt(problem: Problem) -> Messages:
    """Return the request to solve a problem."""
    return [{"role": "user", "content": SOLVE.format(text=problem_text(problem))}]


def feedback(case: Pair, got: str) -> str:
    """Return a failed case as the solver is told of it."""
    return REFLECT.format(given=case[0], expected=case[1], got=got)


def reflect_prompt(problem: Problem, turns: Sequence[tuple[str, Pair | None, str]]) -> Messages:
    """Return the conversation so far: each answer, the case that its program failed, and what it gave there."""
    messages = solve_prompt(problem)
    for text, case, got in turns:
        messages.append({"role": "assistant", "content": text})
        told = feedback(case, got) if case is not None else "The answer had no program in a ```python fence. Give one."
        messages.append({"role": "user", "content": told})
    return messages
