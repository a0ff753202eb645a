"""From a model's answer to a program: the fenced block of a chat answer, then evalplus's sanitiser.

Source: evalplus.sanitize (the longest span of lines that parses, then imports and the definitions that the entry point reaches);
BigCodeBench (arXiv:2406.15877) also drops what follows the function and mentions it. Deviation: of an answer over 100 lines, one
that parses is left as it is and another is cut before, since the sanitiser tries every pair of lines.
"""

from __future__ import annotations

import ast
import re

MAX_LINES = 100  # evalplus parses every span of lines, twice: 100 lines take a second
FENCE = re.compile(r"```(?:python|py|Python)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def fenced(answer: str, entry_point: str = "") -> str:
    """Return the first fenced block that defines the entry point, else the first block, else the answer as it is."""
    blocks: list[str] = FENCE.findall(answer)
    if not blocks:
        return answer
    return next((block for block in blocks if entry_point and f"def {entry_point}" in block), blocks[0])


def sanitise(program: str, entry_point: str) -> str:
    """Return the part of a program that its entry point needs: imports, helpers, the function; prose and trailing calls are dropped."""
    from evalplus.sanitize import sanitize

    lines = program.splitlines()
    if len(lines) > MAX_LINES and _parses(program):
        return program
    short = "\n".join(lines[:MAX_LINES])
    try:
        return sanitize(short, entrypoint=entry_point)
    except (ValueError, RecursionError):  # a null character, a thousand brackets: nothing that could be taken out of it
        return short


def drop_trailing_calls(program: str, entry_point: str) -> str:
    """Return a program without the top-level statements after the entry point's definition that mention it (BigCodeBench)."""
    if not _parses(program):
        return program
    body = ast.parse(program).body
    at = next((i for i, node in enumerate(body) if isinstance(node, ast.FunctionDef) and node.name == entry_point), None)
    if at is None:
        return program
    lines = program.splitlines()
    for node in reversed(body[at + 1 :]):
        mentions = any(isinstance(n, ast.Name) and n.id == entry_point for n in ast.walk(node))
        if mentions and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines) + "\n"


def _parses(program: str) -> bool:
    try:
        ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
