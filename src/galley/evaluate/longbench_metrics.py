"""LongBench's metrics for its sixteen English tasks.

LongBench (Bai et al., 2023), as defined by its official `metrics.py`; written anew on rouge-score and difflib.
Each takes a prediction, one gold answer and the item's classes, and returns 0..1.
"""

from __future__ import annotations

import difflib
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence


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
    """F-measure of the longest common subsequence of words."""
    ours, theirs = prediction.split(), gold.split()
    if not ours or not theirs:
        return 0.0
    row = [0] * (len(theirs) + 1)
    for word in ours:
        previous = 0
        for j, other in enumerate(theirs, start=1):
            previous, row[j] = row[j], previous + 1 if word == other else max(row[j], row[j - 1])
    common = row[-1]
    if common == 0:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


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
