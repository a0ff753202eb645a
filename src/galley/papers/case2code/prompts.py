"""Prompts: an instruction, the function's name and examples, in random order, form and spacing.

Source: arXiv:2407.12504, the structure and the probabilities of its released prompt builder (Apache-2.0): headers with probability
0.8, raw forms (input and output as text or tuples) and call forms (doctest-, assert-, arrow-like), keyword or positional calls at
even odds, raw inputs as `k: v`, bare values or dict(k=v). Deviation: the wording is ours and there are fewer variants (12 instructions,
8 example headers, 5 name headers, 6 raw and 5 call forms, 4 spacings; the release has 28, 20, 8, 8, 5 and 8).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from galley.papers.case2code.select import Case

LIMIT = 32_768  # characters; longer prompts are dropped, as in the release
LEAD_IN = "The function is:\n\n```python\n"
INSTRUCTIONS = (
    "Write a Python function that maps each input below to its output.",
    "Find the function behind these cases and write it in Python.",
    "The cases come from one Python function. Write that function.",
    "Give Python code for a function that agrees with all the cases.",
    "What function produces these results? Answer with its Python code.",
    "Recover the program from what it returns.",
    "Infer the rule that links inputs and outputs, and implement it in Python.",
    "Please implement a function which returns the given output for every given input.",
    "Study the behaviour shown and write a Python function that behaves alike.",
    "Your task: a Python function that reproduces the examples and generalises beyond them.",
    "From the observed calls, reconstruct the function's source code.",
    "Write code whose results match the ones shown.",
)
EXAMPLE_HEADERS = (
    "Examples:",
    "Cases:",
    "Inputs and outputs:",
    "Observed:",
    "Known results:",
    "Here are some cases:",
    "Behaviour:",
    "Tests:",
)
NAME_HEADERS = ("Function: {name}", "Name: {name}", "The function is called {name}.", "Function name: `{name}`", "def {name}")
RAW = ("Input: {i}, Output: {o}", "{i} -> {o}", "({i}, {o})", "in: {i}\nout: {o}", "Given {i}, it returns {o}", "* {i} gives {o}")
CALL = ("{c} -> {o}", ">>> {c}\n{o}", "assert {c} == {o}", "{c}  # {o}", "{c} returns {o}")
SPACES = ("\n", "\n\n", "\n\n\n", "\n---\n")


def write_prompt(name: str, cases: Sequence[Case], *, seed: str) -> str | None:
    """Return a randomised training prompt that shows the cases; None when it is over LIMIT characters. The same seed is the same text."""
    rng = random.Random(seed)
    if rng.random() < len(RAW) / (len(RAW) + len(CALL)):
        form, style = rng.choice(RAW), rng.choice(["pairs", "bare", "dict"])
        lines = [form.format(i=raw_input(case, style), o=case.output) for case in cases]
    else:
        form, keywords = rng.choice(CALL), rng.random() < 0.5
        lines = [form.format(c=call(name, case, keywords=keywords), o=case.output) for case in cases]
    block = "\n".join(lines)
    if rng.random() < 0.8:
        block = f"{rng.choice(EXAMPLE_HEADERS)}\n{block}"
    parts = [rng.choice(INSTRUCTIONS), block]
    if rng.random() < 0.8:
        parts.append(rng.choice(NAME_HEADERS).format(name=name))
    rng.shuffle(parts)
    text = rng.choice(SPACES).join(parts)
    return text if len(text) <= LIMIT else None


def raw_input(case: Case, style: str) -> str:
    """Return a case's arguments as `k: v` pairs, bare values or dict(k=v)."""
    items = case.inputs.items()
    if style == "pairs":
        return ", ".join(f"{k}: {v}" for k, v in items)
    return ", ".join(case.inputs.values()) if style == "bare" else f"dict({', '.join(f'{k}={v}' for k, v in items)})"


def call(name: str, case: Case, *, keywords: bool) -> str:
    """Return a case's call as source."""
    return f"{name}({', '.join(f'{k}={v}' if keywords else v for k, v in case.inputs.items())})"


def answer(code: str) -> str:
    """Return the training answer: a fixed lead-in and the function in a python fence."""
    return f"{LEAD_IN}{code}```"
