"""RULER's synthetic tasks as texts: one function a task, from a generator and a size to prompt and answers.

Source: RULER (arXiv:2404.06654), sections 3.1 to 3.3 and appendix B: what is hidden in what, how many of it, and what is asked.
Ours: the wording, the lists of names, and the essays. A key is a city or a part of one, a value a seven-digit number or a UUID.
Deviation: no worked example stands before common words and variable tracking (the original shows one).
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from galley.data.places import PARTS, PLACES
from galley.evaluate.long.wording import Wording

NOISE = "The wind is warm. The road is long. The river runs. We walk on. There and home again."
SYLLABLES = tuple(c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou")


@dataclass(frozen=True)
class Sample:
    """One prompt, the answers that must all be said, and the text that says them in order."""

    prompt: str
    answers: tuple[str, ...]
    said: str


Build = Callable[[int], Sample]  # from a number of haystack units
Task = Callable[[random.Random, Sequence[str], Wording], Build]  # from a generator and essays (as sentences)


def keys(rng: random.Random, count: int) -> list[str]:
    """Return `count` different places."""
    if count <= len(PLACES):
        return rng.sample(PLACES, count)
    places = [f"{city} {part}" for city in PLACES for part in PARTS]
    return rng.sample(places, min(count, len(places)))


def number(rng: random.Random) -> str:
    """Return a seven-digit number."""
    return str(rng.randint(1_000_000, 9_999_999))


def identifier(rng: random.Random) -> str:
    """Return a random UUID."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def hide(sentences: Sequence[str], needles: Sequence[str], rng: random.Random) -> str:
    """Return the sentences with the needles at random places, in random order."""
    at = sorted(rng.sample(range(len(sentences) + 1), min(len(needles), len(sentences) + 1)))
    at += [len(sentences)] * (len(needles) - len(at))
    parts, last = [], 0
    for place, needle in zip(at, rng.sample(list(needles), len(needles)), strict=True):
        parts += [*sentences[last:place], needle]
        last = place
    return " ".join([*parts, *sentences[last:]])


def needles(*, haystack: str, n_keys: int = 1, n_values: int = 1, n_asked: int = 1, key: str = "word", value: str = "number") -> Task:
    """Return a task of hidden facts: `n_keys` keys with `n_values` values each, of which `n_asked` keys are asked for.

    `haystack` is noise (one sentence again and again), essay, or facts (other keys' facts, as many as fit).
    """

    def task(rng: random.Random, essays: Sequence[str], wording: Wording) -> Build:
        seed = rng.getrandbits(32)
        start = rng.randrange(max(1, len(essays)))

        def build(size: int) -> Sample:
            r = random.Random(seed)
            new_value = identifier if value == "uuid" else number
            own = n_keys + (size if haystack == "facts" else 0)
            names = [identifier(r) for _ in range(own)] if key == "uuid" else keys(r, own)
            facts = {name: [new_value(r) for _ in range(n_values)] for name in names}
            asked = names[:n_asked]
            if haystack == "facts":
                hay, hidden = [wording.fact.format(key=n, value=facts[n][0]) for n in names[n_asked:]], asked
            elif haystack == "noise":
                hay, hidden = [NOISE] * size, names
            else:
                hay, hidden = [essays[(start + i) % len(essays)] for i in range(size)], names
            body = hide(hay, [wording.fact.format(key=n, value=v) for n in hidden for v in facts[n]], r)
            order = [v for n in asked for v in sorted(facts[n], key=body.index)]
            who = ", ".join(asked)
            tell, stub = (wording.ask_all, wording.stub_all) if len(order) > 1 else (wording.ask, wording.stub)
            ask, stub = tell.format(key=who), stub.format(key=who)
            return Sample(f"{body}\n\nQuestion: {ask} Answer: {stub}", tuple(order), " " + ", ".join(order))

        return build

    return task


def variable_tracking(rng: random.Random, essays: Sequence[str], wording: Wording, *, hops: int = 4) -> Build:
    """A chain of assignments in noise: which variables hold the first one's number?"""
    names = rng.sample([a + b + c for a in "ABCDEFGH" for b in "JKLMNPQR" for c in "STUVWXYZ"], hops + 1)
    value, seed = str(rng.randint(10_000, 99_999)), rng.getrandbits(32)

    def build(size: int) -> Sample:
        r = random.Random(seed)
        lines = [f"VAR {names[0]} = {value}.", *(f"VAR {b} = VAR {a}." for a, b in pairwise(names))]
        places = sorted(r.randrange(size + 1) for _ in lines)  # a chain is told in its order
        parts, last = [], 0
        for place, line in zip(places, lines, strict=True):
            parts += [NOISE] * (place - last) + [line]
            last = place
        body = " ".join(parts + [NOISE] * (size - last))
        ask = f"Question: Which variables hold the value {value}? Answer: The variables that hold the value {value} are"
        return Sample(f"{body}\n\n{ask}", tuple(names), " " + ", ".join(names))

    return build


def made_up_words(rng: random.Random, count: int, *, syllables: int = 3) -> list[str]:
    """Return `count` different words that no text has."""
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(SYLLABLES) for _ in range(syllables))] = None
    return list(words)


def common_words(rng: random.Random, essays: Sequence[str], wording: Wording, *, n_common: int = 10) -> Build:
    """A numbered list in which ten words stand 30 times each and all others 3 times (short lists: 10 times and once)."""
    pool, seed = made_up_words(rng, 4000), rng.getrandbits(32)

    def build(size: int) -> Sample:
        often, rarely = (30, 3) if size >= 300 else (10, 1)  # a unit of the size is one word of the list
        common = pool[:n_common]
        others = pool[n_common : n_common + max(1, (size - often * n_common) // rarely)]
        words = [w for w in common for _ in range(often)] + [w for w in others for _ in range(rarely)]
        random.Random(seed).shuffle(words)
        body = " ".join(f"{i}. {w}" for i, w in enumerate(words, start=1))
        first = sorted(common, key=words.index)
        ask = f"Question: Which {n_common} words are most common in the list? Answer: The most common words are"
        return Sample(f"List: {body}\n\n{ask}", tuple(first), " " + ", ".join(first))

    return build


def frequent_words(rng: random.Random, essays: Sequence[str], wording: Wording, *, alpha: float = 2.0) -> Build:
    """Made-up words whose counts fall as 1 / rank^2, among dots: which three are most frequent?"""
    pool, seed = made_up_words(rng, 500), rng.getrandbits(32)

    def build(size: int) -> Sample:
        total = sum(rank**-alpha for rank in range(1, len(pool) + 1))
        counts = [max(1, round(size * rank**-alpha / total)) for rank in range(1, len(pool) + 1)]
        for i in (2, 1, 0):  # short texts: the first three still differ from each other and from the rest
            counts[i] = max(counts[i], counts[i + 1] + 1)
        words = [w for w, n in zip(pool, counts, strict=True) for _ in range(n)][: max(size, sum(counts[:3]) + 1)]
        random.Random(seed).shuffle(words)
        body = " ".join(w if i % 7 else f"... {w}" for i, w in enumerate(words, start=1))
        ask = "Question: Which three coded words are most frequent? Answer: The three most frequent coded words are"
        return Sample(f"Coded text: {body}\n\n{ask}", tuple(pool[:3]), " " + ", ".join(pool[:3]))

    return build


TASKS: dict[str, Task] = {
    "niah_single_1": needles(haystack="noise"),
    "niah_single_2": needles(haystack="essay"),
    "niah_single_3": needles(haystack="essay", value="uuid"),
    "niah_multikey_1": needles(haystack="essay", n_keys=4),
    "niah_multikey_2": needles(haystack="facts"),
    "niah_multikey_3": needles(haystack="facts", key="uuid", value="uuid"),
    "niah_multivalue": needles(haystack="essay", n_values=4),
    "niah_multiquery": needles(haystack="essay", n_keys=4, n_asked=4),
    "vt": variable_tracking,
    "cwe": common_words,
    "fwe": frequent_words,
}
UNREACHED = {"qa_1": "SQuAD's paragraphs", "qa_2": "HotpotQA's paragraphs"}
