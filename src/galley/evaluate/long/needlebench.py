"""NeedleBench's single needle ("origin"): a fact between the lines of a long text, and an answer with partial credit.

Protocol of OpenCompass NeedleBench, "origin", as FourierAttention (arXiv:2506.11886) uses it: a system sentence, the document,
the question, and for base models an open answer; a text that names the keyword scores 1, any other
0.2 (1 - edit distance / longer length), white space left out.
Deviations: lengths are exact in the model's own tokens (the original counts GPT-4's and keeps 600 free); haystack and needles
are ours, since the original's files are on the hub; the wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.evaluate.long.needle import CITIES
from galley.evaluate.long.questions import Question
from galley.evaluate.long.wording import PLAIN, Wording

SYSTEM = "You read long documents and answer a question about them.\nThe document is: "
MISS = 0.2  # the most that an answer without the keyword can score


def edit_distance(first: str, second: str) -> int:
    """Return the least number of characters to insert, delete or change (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        corner, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (a != b))
    return row[-1]


def needlebench_score(text: str, *, reference: str, keyword: str) -> float:
    """Return 1 when the text has the keyword, else up to 0.2 by its likeness to the reference."""
    if keyword in text:
        return 1.0
    ours, theirs = ("".join(x.split()) for x in (text, reference))
    longest = max(len(ours), len(theirs))
    return MISS * (1 - edit_distance(ours, theirs) / longest) if longest else 0.0


def needlebench_questions(
    haystack: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    lengths: Sequence[int],
    depths: Sequence[float],
    repeats: int,
    new_tokens: int,
    seed: int,
    wording: Wording = PLAIN,
) -> list[Question]:
    """Return the grid's questions, `lengths` tokens with their answers; GalleyError for a length without room or a short haystack."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(high: int, low: int = 0) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def ids_of(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    questions = []
    for length in lengths:
        for depth in depths:
            for repeat in range(repeats):
                city, keyword, start = CITIES[drawn(len(CITIES))], str(drawn(100_000, 10_000)), drawn(len(haystack))
                reference = wording.fact.format(key=city, value=keyword)
                needle, answer = ids_of(f"\n{reference}\n"), ids_of(f" {keyword}")
                before = ids_of(SYSTEM)
                after = ids_of(f"\n\nQuestion: {wording.ask.format(key=city)} Answer: {wording.stub.format(key=city)}")
                new = max(new_tokens, len(answer))
                room = length - len(before) - len(needle) - len(after) - new
                if room < 16:
                    raise GalleyError(
                        f"needlebench length is {length} tokens, which leaves {room} for the text; use at least {length - room + 16}"
                    )
                hay: list[int] = []
                for text in [*haystack[start:], *haystack[:start]]:
                    hay += ids_of(text[: 12 * room])
                    if len(hay) >= room:
                        break
                if len(hay) < room:
                    raise GalleyError(f"needlebench length is {length} tokens, but the haystack has only {len(hay)}; give more text")
                at = int(room * depth)
                prompt = [*before, *hay[:at], *needle, *hay[at:room], *after]

                def grade(text: str, reference: str = reference, keyword: str = keyword) -> dict[str, float]:
                    return {"needlebench_score": needlebench_score(text, reference=reference, keyword=keyword),
                            "keyword_recall": float(keyword in text)}  # fmt: skip

                name = f"len={length},depth={depth},n={repeat}"
                questions.append(Question("needlebench", name, tuple(prompt), tuple(answer), new, grade))
    return questions
