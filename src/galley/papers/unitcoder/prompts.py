"""What the three language models are asked, in our words: tests for a function, a repair from feedback, a documented form.

arXiv:2502.11460, figure 2 and the released defaults: the test class is named TestCases; a debugger sees program, tests and
failure; a refiner documents without changing behaviour. Deviation: the wording is ours.
"""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, Any]]
WRITER = (
    "You write unit tests in Python. Answer with one fenced Python block that imports unittest and defines one class named TestCases. "
    "Cover ordinary, edge, boundary and invalid inputs. The function under test is defined already: call it by its name, do not copy it. "
    "Use no network and no files that the test does not make itself."
)
DEBUGGER = (
    "You repair Python functions. Answer with one fenced Python block: the whole program with its imports, the function under its old name "
    "and with its old parameters. Keep what is right. Do not touch the tests."
)
REFINER = (
    "You tidy Python functions without changing what they do. Answer with one fenced Python block: the whole program with its imports, the "
    "function under its old name, a docstring that says purpose, parameters, result and errors, and comments where the logic needs them."
)


def write_tests(code: str) -> Messages:
    """Return the request for a test class."""
    return _chat(WRITER, f"Write the tests of this function.\n\n{_block(code)}")


def debug(code: str, tests: str, said: str) -> Messages:
    """Return the request for a repair; `said` is the bounded feedback of the failed run."""
    return _chat(
        DEBUGGER, f"Program:\n\n{_block(code)}\n\nTests:\n\n{_block(tests)}\n\nWhat the run said:\n\n{said}\n\nRepair the program."
    )


def refine(code: str, tests: str) -> Messages:
    """Return the request for a documented form."""
    return _chat(REFINER, f"Program:\n\n{_block(code)}\n\nIts tests, which must still pass:\n\n{_block(tests)}")


def _block(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


def _chat(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
