"""How hidden facts are worded: what needle, NeedleBench and RULER prompts share.

Source: ours. Light on purpose: recipes name a wording, and the Snakefile reads recipes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """How a fact is told, asked for, and how its answer begins; `{key}` and `{value}` are filled in."""

    fact: str = "The secret number of {key} is {value}."
    ask: str = "What is the secret number of {key}?"
    stub: str = "The secret number of {key} is"
    ask_all: str = "What are all the secret numbers of {key}?"
    stub_all: str = "The secret numbers of {key} are"


PLAIN = Wording()
