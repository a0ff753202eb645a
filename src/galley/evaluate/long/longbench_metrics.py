"""LongBench's metrics for its sixteen English tasks.

LongBench (Bai et al., 2023), as defined by its official `metrics.py`, written anew without the `rouge` and
`fuzzywuzzy` packages that it calls. Each takes a prediction, one gold answer and the item's classes, and returns 0..1.

Source: the benchmark's definitions.
"""

from __future__ import annotations

import difflib
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence


def normalise(text: str) -> str:
    """Lower-case, drop punctuation and articles, and fold white space."""
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def qa_f1(prediction: str, gold: str, classes: Sequence[str] = ()) -> float:
    """Token F1 of normalised texts."""
    ours, theirs = normalise(prediction).split(), normalise(gold).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def rouge_l(prediction: str, gold: str, classes: Sequence[str] = ()) -> float:
    """ROUGE-L at summary level: F of the distinct words in any common subsequence of two sentences.

    This is what the `rouge` package computes, and differs from the usual ROUGE-L: sentences end at full
    stops, a repeated word counts once, and the empty text after a full stop and a space is a word of its own.
    """
    ours, theirs = _sentences(prediction), _sentences(gold)
    if not ours or not theirs:
        return 0.0
    common: set[str] = set()
    for sentence in theirs:
        for candidate in ours:
            common.update(_common_subsequence(sentence, candidate))
    precision = len(common) / len({word for sentence in ours for word in sentence})
    recall = len(common) / len({word for sentence in theirs for word in sentence})
    return 2 * precision * recall / (precision + recall + 1e-8)


def _sentences(text: str) -> list[list[str]]:
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _common_subsequence(first: list[str], second: list[str]) -> list[str]:
    """Return a longest common subsequence; among equals the one that drops words of `second` first."""
    lengths = [[0] * (len(second) + 1)]
    for word in first:
        above, row = lengths[-1], [0]
        for j, other in enumerate(second):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        lengths.append(row)
    words: list[str] = []
    i, j = len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            words.append(first[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return words


def classification(prediction: str, gold: str, classes: Sequence[str] = ()) -> float:
    """1/n if the gold class is among the n classes named, where a class inside the gold's name does not count."""
    named = [c for c in classes if c in prediction]
    named = [c for c in named if not (c in gold and c != gold)]
    return 1.0 / len(named) if gold in named else 0.0


def retrieval(prediction: str, gold: str, classes: Sequence[str] = ()) -> float:
    """Share of the numbers in the prediction that are the gold paragraph's."""
    wanted = re.findall(r"Paragraph (\d+)", gold)
    return _share(prediction, wanted[0] if wanted else gold)


def count(prediction: str, gold: str, classes: Sequence[str] = ()) -> float:
    """Share of the numbers in the prediction that equal the gold count."""
    return _share(prediction, str(gold))


def _share(prediction: str, wanted: str) -> float:
    numbers = re.findall(r"\d+", prediction)
    return sum(n == wanted for n in numbers) / len(numbers) if numbers else 0.0


def code_similarity(prediction: str, gold: str, classes: Sequence[str] = ()) -> float:
    """Edit similarity of the first line that is code (no comment, no fence), rounded to whole per cents."""
    lines = prediction.lstrip("\n").split("\n")
    line = next((l for l in lines if not any(mark in l for mark in ("`", "#", "//"))), "")
    return round(100 * difflib.SequenceMatcher(None, line, gold).ratio()) / 100


METRICS: dict[str, Callable[..., float]] = {
    **dict.fromkeys(("narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique", "triviaqa"), qa_f1),
    **dict.fromkeys(("gov_report", "qmsum", "multi_news", "samsum"), rouge_l),
    "trec": classification,
    "passage_retrieval_en": retrieval,
    "passage_count": count,
    **dict.fromkeys(("lcc", "repobench-p"), code_similarity),
}
FIRST_LINE = ("trec", "triviaqa", "samsum")


def score(task: str, prediction: str, answers: Sequence[str], classes: Sequence[str] = ()) -> float:
    """Return the best score over the gold answers, after the official first-line cut."""
    if task in FIRST_LINE:
        prediction = prediction.lstrip("\n").split("\n")[0]
    return max((METRICS[task](prediction, gold, classes) for gold in answers), default=0.0)


SAMPLES = {"multifieldqa_en": 150, "lcc": 500, "repobench-p": 500}  # of the sixteen English tasks; the others have 200


def sample_weighted(scores: Mapping[str, float]) -> float:
    """Return the mean of the tasks' scores weighted by their number of samples, as OpenCompass prints it."""
    weights = {task: SAMPLES.get(task, 200) for task in scores}
    return sum(scores[task] * weight for task, weight in weights.items()) / sum(weights.values())
