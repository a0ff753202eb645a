"""Answers as the paper takes them: the last Python fence, a program that reads with input() and prints; and how outputs are compared.

arXiv:2510.14620, section 4 (GTG), by the authors' rollout script: stripped equality, a list or other spacing accepted, then a
comparison as numbers. Deviation: numbers are compared exactly, as integers; the script's floats make distinct big terms equal.
"""

from __future__ import annotations

import re

FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
INTEGER = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?")
LONGEST = 4000  # characters of an output that may be a term; Python itself refuses integers of more than 4300 digits


def extract_program(text: str) -> str | None:
    """Return the program in the last Python fence of an answer; None when there is none."""
    found = FENCE.findall(text)
    return found[-1] if found else None


def as_integer(text: str) -> int | None:
    """Return the integer that an output is: signs, leading zeros, `.0`, brackets and spaces around it are allowed; else None."""
    plain = text.strip()[:LONGEST].strip("[]() \t\r\n")
    match = INTEGER.fullmatch(plain)
    return int(match[1] + match[2]) if match else None


def same_output(got: str, wanted: int) -> bool:
    """Say whether a printed output is the wanted term."""
    return got.strip() == str(wanted) or as_integer(got) == wanted


def stdin_program(expression: str, *, start: int = 0) -> str:
    """Return the program that reads an index i and prints an expression in n = i - start."""
    read = "int(input())" if start == 0 else f"int(input()) - {start}" if start > 0 else f"int(input()) + {-start}"
    return f"n = {read}\nprint({expression})\n"


def wrap_function(source: str, name: str) -> str:
    """Return the stdin program that calls a function on the index that it reads."""
    return f"{source.rstrip()}\n\n\nprint({name}(int(input())))\n"
