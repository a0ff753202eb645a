"""Samples as training data: split, prompt and answer, the variant without names, the control with another function's cases.

Source: arXiv:2407.12504, section 3. Ours: the split is by group (equal syntax trees up to names, or equal outputs on a fixed probe
set), so that no twin of a held-out function is trained on; a name such as `roman_to_int` says the answer, hence a variant in which
every function is called f.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from galley.artifact import GalleyError, atomic_path
from galley.models.answers import SftExample
from galley.papers.case2code.prompts import LEAD_IN, answer, write_prompt
from galley.papers.case2code.select import Case, Selection, select
from galley.papers.case2code.synthesis import Sample
from galley.stats import derangement

ANONYMOUS = "f"


@dataclass(frozen=True)
class Item:
    """A sample with the cases that are shown."""

    sample: Sample
    selection: Selection

    @property
    def shown(self) -> list[Case]:
        """Return the shown cases, in their order."""
        return [self.sample.cases[i] for i in self.selection.shown]

    @property
    def hidden(self) -> list[Case]:
        """Return the hidden cases."""
        return [self.sample.cases[i] for i in self.selection.hidden]


def split_of(group: str, *, seed: int, heldout: float) -> str:
    """Return the split of a group, from a hash: more functions move none."""
    point = int(hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()[:8], 16) / 2**32
    return "heldout" if point < heldout else "train"


def write_samples(samples: Iterable[Sample], path: Path) -> int:
    """Write samples as JSON lines, one at a time; return how many."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as out:
        return sum(out.write(json.dumps(asdict(sample), ensure_ascii=False) + "\n") > 0 for sample in samples)


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a file; GalleyError names the first line that is none."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                sample = Sample.read(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise GalleyError(f"{path}:{number}: no sample ({error}); make it again with `galley case2code synthesize`") from None
            yield sample


def stream_items(path: Path, split: str, *, seed: int, heldout: float, min_hidden: int) -> Iterator[Item]:
    """Yield a split's samples with their selections, one at a time."""
    for sample in read_samples(path):
        if split_of(sample.group, seed=seed, heldout=heldout) == split:
            yield Item(sample, select(sample.cases, seed=f"{seed}:{sample.id}", min_hidden=min_hidden))


def read_items(path: Path, split: str, *, seed: int, heldout: float, min_hidden: int, limit: int | None = None) -> list[Item]:
    """Return the first `limit` items of a split, or all."""
    return list(islice(stream_items(path, split, seed=seed, heldout=heldout, min_hidden=min_hidden), limit))


def anonymous(item: Item) -> Item:
    """Return the item with its function called f."""
    sample = item.sample
    return replace(item, sample=replace(sample, name=ANONYMOUS, code=rename(sample.code, sample.name, ANONYMOUS)))


def rename(code: str, old: str, new: str) -> str:
    """Return a function's source with its name changed wherever it is defined or called."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == old:
            node.name = new
        elif isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree) + "\n"


def export_rows(items: Iterable[Item], *, seed: int) -> Iterator[dict]:
    """Yield training rows: prompt and answer, and all that says how they were made."""
    for item in items:
        s = item.sample
        prompt = write_prompt(s.name, item.shown, seed=f"{seed}:{s.id}:prompt")
        if prompt is not None and s.code not in prompt:
            drawn = {"shown": list(item.selection.shown), "hidden": list(item.selection.hidden), "seed": seed}
            made = {"writer": s.writer, "package": s.package, "group": s.group}
            yield {"id": s.id, "prompt": prompt, "answer": answer(s.code), **drawn, **made}


def examples(items: Sequence[Item], *, seed: int, cases: str = "own", draw: int = 0) -> list[SftExample]:
    """Return fine-tuning examples whose answer is the function alone: the lead-in is part of the prompt, so that it earns nothing.

    `cases` is one of the plan's arms: own, shuffled (the cases of another function; another `draw` gives yet another one's), none (the
    name alone), mixed and mixed_shuffled (half with cases, half without), and text, text_mixed, text_shuffled, in which all is learnt:
    the function as text, in half of the latter two with the prompt before it.
    """
    other = derangement(len(items), seed=seed + draw) if "shuffled" in cases else range(len(items))
    made = []
    for item, j in zip(items, other, strict=True):
        s = item.sample
        drawn = cases not in ("none", "text") and random.Random(f"{seed}:{s.id}:half").random() < 0.5
        with_cases = cases in ("own", "shuffled") or drawn
        prompt = f"{write_prompt(s.name, items[j].shown if with_cases else [], seed=f'{seed}:{s.id}:prompt') or ''}\n\n{LEAD_IN}"
        if not cases.startswith("text"):
            made.append(SftExample(prompt, f"{s.code}```"))
        else:  # a first token that is given, since nothing stands before it to be learnt from
            made.append(SftExample("\n", f"{prompt}{s.code}```" if with_cases else s.code))
    return made
