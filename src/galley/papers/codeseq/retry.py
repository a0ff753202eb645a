"""Case-based reflection on integer programs: a draft from too few values, its first failed case, a second try.

arXiv:2510.14620, sections 3.3 and 5 (the ablation without reflection). The programs here come in groups that agree on the two
values that a prompt shows, as the paper's problems show two examples; a draft is tested on all judged values, and the first case that
it fails is fed back: `0,7=7*n;3?21!0=` says that the draft gives 21 at n = 3 where 0 is right. Whole groups are held out, so
that a prompt of the test was never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from galley.artifact import GalleyError
from galley.models.answers import SftExample
from galley.stats import derangement
from galley.synthesize.sequence_families import JUDGED, Family, IntegerProgram, evaluate, is_correct, write_prompt

LONGEST = 90  # characters of a prompt with feedback
Complete = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Feedback:
    """A draft, the first index at which it is wrong, what it gives there and what is right."""

    draft: str
    index: int
    got: int
    expected: int

    def text(self) -> str:
        """Return the feedback as it follows a prompt."""
        return f"{self.draft};{self.index}?{self.got}!{self.expected}="


@dataclass(frozen=True)
class Tried:
    """What came of one held-out program: was its draft right, and was one of its two tries under each kind of feedback."""

    draft: bool
    true_feedback: bool
    other_feedback: bool


def ambiguous_programs(largest: int) -> list[IntegerProgram]:
    """Return eight programs for each a = 1 .. largest that begin with 0, a: the line a n, and a times n modulo 2 to 8."""
    programs = []
    for a in range(1, largest + 1):
        for form in ("n", *(f"(n%{m})" for m in range(2, 9))):
            expression = f"{a}*{form}"
            family: Family = "linear" if form == "n" else "periodic"
            values = evaluate(expression, JUDGED)
            assert values is not None
            programs.append(IntegerProgram(family, expression, values))
    return programs


def first_failure(draft: str, program: IntegerProgram) -> Feedback | None:
    """Return the first case that a draft fails; None when it fails none or cannot be evaluated."""
    values = evaluate(draft, JUDGED)
    if values is None:
        return None
    wrong = next((n for n in range(JUDGED) if values[n] != program.values[n]), None)
    return None if wrong is None else Feedback(draft, wrong, values[wrong], program.values[wrong])


def split_by_prompt(
    programs: Sequence[IntegerProgram], *, shown: int, held_out: int, seed: int
) -> tuple[list[IntegerProgram], list[IntegerProgram]]:
    """Return training and held-out programs; all that share their shown values are on one side, at least `held_out` are held out."""
    groups: dict[tuple[int, ...], list[IntegerProgram]] = {}
    for program in programs:
        groups.setdefault(program.values[:shown], []).append(program)
    keys = list(groups)
    out: list[IntegerProgram] = []
    chosen = set()
    for i in np.random.default_rng(seed).permutation(len(keys)):
        if len(out) >= held_out:
            break
        chosen.add(keys[i])
        out += groups[keys[i]]
    if len(out) >= len(programs):
        raise GalleyError(f"held_out is {held_out} of {len(programs)} programs; nothing would be left to train on")
    return [p for p in programs if p.values[:shown] not in chosen], out


def direct_examples(programs: Sequence[IntegerProgram], *, shown: int) -> list[SftExample]:
    """Return prompt -> program."""
    return [SftExample(write_prompt(p.values, shown=shown), p.expression) for p in programs]


def reflection_examples(programs: Sequence[IntegerProgram], *, shown: int, drafts: int, seed: int) -> list[SftExample]:
    """Return prompt, wrong draft, failed case -> program, for up to `drafts` programs that fit what is shown and are wrong later."""
    rng = np.random.default_rng(seed)
    alike: dict[tuple[int, ...], list[IntegerProgram]] = {}
    for program in programs:
        alike.setdefault(program.values[:shown], []).append(program)
    examples = []
    for program in programs:
        others = [p for p in alike[program.values[:shown]] if p is not program]
        for i in rng.permutation(len(others))[:drafts]:
            feedback = first_failure(others[i].expression, program)
            assert feedback is not None
            text = write_prompt(program.values, shown=shown) + feedback.text()
            if len(text) <= LONGEST:
                examples.append(SftExample(text, program.expression))
    return examples


def two_steps(programs: Sequence[IntegerProgram], complete: Complete, *, shown: int, seed: int) -> list[Tried]:
    """Draft, test, feed the first failed case back, and retry: once with the program's own feedback, once with another's."""
    prompts = [write_prompt(p.values, shown=shown) for p in programs]
    drafts = complete(prompts)
    right = [is_correct(d, p.values) for d, p in zip(drafts, programs, strict=True)]
    told = {i: f for i, p in enumerate(programs) if not right[i] and (f := first_failure(drafts[i], p)) is not None}
    ids = [i for i, f in told.items() if len(prompts[i]) + len(f.text()) <= LONGEST]
    fixed = dict.fromkeys(range(len(programs)), (False, False))
    if len(ids) >= 2:
        other = derangement(len(ids), seed=seed)
        own = complete([prompts[i] + told[i].text() for i in ids])
        exchanged = complete([prompts[i] + told[ids[j]].text() for i, j in zip(ids, other, strict=True)])
        for i, a, b in zip(ids, own, exchanged, strict=True):
            fixed[i] = (is_correct(a, programs[i].values), is_correct(b, programs[i].values))
    return [Tried(ok, ok or fixed[i][0], ok or fixed[i][1]) for i, ok in enumerate(right)]
