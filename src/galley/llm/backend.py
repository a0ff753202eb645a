"""What every text-generation backend takes and gives, and what does not depend on where the model runs.

Source: ours. A completion never holds its stop string. Seeds belong to (seed, prompt, number of the sample), so that a sample does
not change when prompts are added, left out or batched in another way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from galley.artifact import GalleyError

Messages = Sequence[Mapping[str, str]]  # [{"role": "user", "content": "..."}, ...]; a last assistant turn is continued
Prompt = str | Messages
Finish = Literal["stop", "length", "failed"]  # a stop string or end token; max_tokens; nothing usable came, and `reason` says why


@dataclass(frozen=True)
class Completion:
    """One sample: its text without the stop string, why it ended, and how many tokens were drawn (None: the server did not say)."""

    text: str
    finish: Finish
    tokens: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Sampling:
    """How a sample is drawn; temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Item:
    """One sample to draw: a prompt and the number of the sample."""

    prompt: Prompt
    number: int

    def seed(self, base: int) -> int:
        """Return the sample's own seed, 31 bits."""
        text = json.dumps([base, self.plain(), self.number], ensure_ascii=False)
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1

    def plain(self) -> str | list[dict[str, str]]:
        """Return the prompt as JSON can hold it."""
        return self.prompt if isinstance(self.prompt, str) else [dict(m) for m in self.prompt]


class Backend(Protocol):
    """A model behind a name; `identity` changes whenever its answers might."""

    name: str
    identity: str

    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, temperature: float = 0.0, top_p: float = 1.0,
        max_tokens: int = 512, stop: Sequence[str] = (), seed: int = 0,
    ) -> list[list[Completion]]:  # fmt: skip
        """Return n completions of each prompt, in order; what could not be had is a `failed` one with its reason."""
        ...


def checked(n: int, temperature: float, top_p: float, max_tokens: int, stop: Sequence[str], seed: int) -> Sampling:
    """Return the sampling settings; GalleyError names one that makes no sense."""
    if n < 1 or max_tokens < 1:
        raise GalleyError(f"n is {n} and max_tokens is {max_tokens}; both must be at least 1")
    if temperature < 0 or not 0 < top_p <= 1:
        raise GalleyError(f"temperature is {temperature} and top_p is {top_p}; they must be at least 0 and within (0, 1]")
    if n > 1 and temperature == 0:
        raise GalleyError(f"n is {n} at temperature 0: all samples would be the same; ask for one, or set a temperature")
    if isinstance(stop, str) or not all(stop):
        raise GalleyError(f"stop is {stop!r}; it must be a list of non-empty strings")
    return Sampling(temperature, top_p, max_tokens, tuple(stop), seed)


def items_of(prompts: Sequence[Prompt], n: int) -> list[Item]:
    """Return the samples to draw, n of each prompt in a row."""
    if isinstance(prompts, str):
        raise GalleyError("prompts is a string; it must be a list of prompts")
    return [Item(prompt, number) for prompt in prompts for number in range(n)]


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return the text before the first stop string, and whether there was one."""
    ends = [at for at in (text.find(s) for s in stop) if at >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
