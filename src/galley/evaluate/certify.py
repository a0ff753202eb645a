"""Certificates: every evaluator's score on gold answers and on corrupted ones, before its numbers are believed.

Source: ours. Scores use the evaluators themselves, real items where they are in reach, and language models whose
behaviour is known: one that copies what followed the same words before, one that repeats a token, one that
prefers the gold option, one that finds all tokens alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from galley.artifact import GalleyError
from galley.data import benchmarks as readers
from galley.data.corpus import folder_documents, pydoc_documents
from galley.data.fetched import present
from galley.evaluate import commonsense
from galley.evaluate.certificates import COLUMNS, write_table
from galley.evaluate.certificates import not_run as _absent
from galley.evaluate.certificates import row as _row
from galley.evaluate.code.certify import certify_code
from galley.evaluate.likelihood import heldout_windows
from galley.evaluate.long import longbench_metrics
from galley.evaluate.long.certify import certify_haystacks
from galley.evaluate.long.needle import evaluate_needles
from galley.models.likelihood import score_windows
from galley.models.scratch import build_llama, train_tokenizer

CODE_LIMIT = 8  # tasks per code benchmark here; `galley code-certify` runs all of them
NEEDLE_LENGTHS, NEEDLE_DEPTHS = (256, 512), (0.0, 0.5, 1.0)


def write_certificates(*, sources: Path, out: Path, limit: int = 50) -> None:
    """Write all certificates to `out`; GalleyError, after writing, that names an evaluator which failed."""
    write_table(certify(sources=sources, limit=limit), out)


def certify(*, sources: Path, limit: int) -> pd.DataFrame:
    """Return one row per evaluator and answer kind, on at most `limit` real items; absent data is `not_run`."""
    if limit < 2:
        raise GalleyError(f"limit is {limit}; it must be at least 2, so that answers can be exchanged between items")
    prose = (
        folder_documents(sources / "paul_graham_essays", source="essays", max_bytes=300_000)
        if present(sources / "paul_graham_essays")
        else []
    )
    prose = prose or pydoc_documents(max_bytes=300_000)
    rows = certify_longbench(sources, limit=limit) + certify_commonsense(sources, limit=limit)
    texts = [d["text"] for d in prose]
    rows += certify_needle(texts) + certify_haystacks(texts) + certify_likelihood(prose)
    rows += certify_code(sources, limit=min(limit, CODE_LIMIT))
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def certify_longbench(sources: Path, *, limit: int) -> list[dict[str, Any]]:
    """Score gold, empty and exchanged answers of every LongBench task in reach."""
    rows = []
    for task in longbench_metrics.METRICS:
        name = f"longbench_{task}"
        if not present(sources / name):
            rows.append(_absent(name, "score"))
            continue
        items = readers.read_longbench(sources / name, task)[:limit]
        gold = [item["answers"][0] for item in items]
        answers = {"gold": gold, "corrupted:empty": [""] * len(items), "corrupted:exchanged": gold[1:] + gold[:1]}
        for method, texts in answers.items():
            scores = [longbench_metrics.score(task, text, item["answers"], item.get("all_classes") or ())
                      for text, item in zip(texts, items, strict=True)]  # fmt: skip
            # Other summaries share common words with the gold one: far below it, though not nothing.
            low, high = {"gold": (0.999, 1.0), "corrupted:empty": (0.0, 0.0)}.get(method, (0.0, 0.25))
            rows.append(_row(name, "score", method, sum(scores) / len(scores), n=len(scores), low=low, high=high))
    return rows


class KnowingLM(LM):
    """An lm-eval model that prefers the gold option (`right`) or every other one; no other skill."""

    def __init__(self, *, right: bool) -> None:
        super().__init__()
        self.right = right

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return -1 a character for preferred options and -2 for the rest."""
        return [(-len(r.args[1].lstrip()) * (1.0 if (r.idx == r.doc["gold"]) == self.right else 2.0), False) for r in requests]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Refuse: cloze tasks do not ask for it."""
        raise NotImplementedError

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Refuse: cloze tasks do not ask for it."""
        raise NotImplementedError


def certify_commonsense(sources: Path, *, limit: int) -> list[dict[str, Any]]:
    """Score a model that prefers gold and one that prefers anything else, on the tasks in reach."""
    data: dict[str, list[dict[str, Any]] | None] = {}
    for task, source, read in (("piqa", "piqa_valid", readers.read_piqa), ("hellaswag", "hellaswag_fixture", readers.read_hellaswag)):
        data[task] = read(sources / source) if present(sources / source) else None
    rows = []
    for method, right in (("gold", True), ("corrupted:anti-gold", False)):
        scored = commonsense.score_tasks(KnowingLM(right=right), data=data, limit=limit)
        for task in commonsense.TASKS:
            mine = scored[scored["benchmark"] == task]
            if (mine["status"] == "not_run").all():
                if right:
                    rows.append(_absent(task, commonsense.METRIC))
                continue
            rows.append(_row(task, commonsense.METRIC, method, mine["score"].mean(), n=len(mine), low=float(right), high=float(right)))
    return rows


class KnownModel:
    """A causal LM's forward pass for batch 1, from a function of all tokens so far to the next token."""

    device = torch.device("cpu")

    def __init__(self, rule: Callable[[list[int]], int], *, vocab_size: int, context: int) -> None:
        self.rule, self.vocab_size = rule, vocab_size
        self.config = SimpleNamespace(max_position_embeddings=context)

    def __call__(self, ids: torch.Tensor, *, past_key_values: list[int] | None = None, **kwargs: Any) -> SimpleNamespace:
        """Return the last position's logits (1, 1, vocab), certain of one token; the cache is the list of tokens."""
        tokens = (past_key_values or []) + ids[0].tolist()
        logits = torch.full((1, 1, self.vocab_size), -30.0)
        logits[0, 0, self.rule(tokens)] = 30.0
        return SimpleNamespace(logits=logits, past_key_values=tokens)


def copy_next(tokens: list[int], *, longest: int = 24) -> int:
    """Return the token that followed the longest earlier match of the last tokens (an induction head)."""
    ends = [i for i in range(len(tokens) - 1) if tokens[i] == tokens[-1]]

    def match(end: int) -> int:
        n = 0
        while n < longest and n <= end and tokens[end - n] == tokens[-1 - n]:
            n += 1
        return n

    return tokens[max(ends, key=match) + 1] if ends else tokens[-1]


def certify_needle(haystack: Sequence[str]) -> list[dict[str, Any]]:
    """Read needles back with a model that copies and one that repeats itself; every cell of the grid counts."""
    tokenizer = train_tokenizer(haystack[:20], vocab_size=512)
    rules = {"gold": copy_next, "corrupted:no_recall": lambda tokens: tokens[-1]}
    rows = []
    for method, rule in rules.items():
        model: Any = KnownModel(rule, vocab_size=len(tokenizer), context=max(NEEDLE_LENGTHS))
        items = evaluate_needles(model, tokenizer, haystack=haystack, lengths=NEEDLE_LENGTHS, depths=NEEDLE_DEPTHS, seed=0)
        hits = items[items["metric"] == "keyword_recall"]
        expected = float(method == "gold")
        for item in hits.itertuples():
            rows.append(_row("needle", "keyword_recall", method, item.score, n=1, low=expected, high=expected, setting=item.item_id))
    return rows


def certify_likelihood(prose: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Score a uniform model (bits known exactly), a model against itself and against another."""
    tokenizer = train_tokenizer([d["text"] for d in prose[:20]], vocab_size=512)
    windows = heldout_windows(prose, tokenizer, n_windows=4, window_tokens=128, seed=0)
    model, other, uniform = (
        build_llama(vocab_size=512, d_model=32, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=32, context=128, seed=seed).eval()
        for seed in (0, 1, 2)
    )
    with torch.no_grad():
        uniform.lm_head.weight.zero_()
    exact = math.log2(512) * 127 * len(windows.ids) / float(windows.token_bytes[:, 1:].sum())
    bits = _mean(score_windows(uniform, windows), "bits_per_byte")
    same = _mean(score_windows(model, windows, reference=model), "kl_to_original")
    differ = _mean(score_windows(other, windows, reference=model), "kl_to_original")
    n = len(windows.ids)
    return [
        _row("heldout", "bits_per_byte", "gold:uniform", bits, n=n, low=exact * (1 - 1e-6), high=exact * (1 + 1e-6), unit="bits/byte"),
        _row("heldout", "kl_to_original", "gold:itself", same, n=n, low=0.0, high=0.0, unit="nats/token"),
        _row("heldout", "kl_to_original", "corrupted:other", differ, n=n, low=1e-3, high=math.inf, unit="nats/token"),
    ]


def _mean(items: pd.DataFrame, metric: str) -> float:
    mine = items[items["metric"] == metric]
    return float((mine["score"] * mine["weight"]).sum() / mine["weight"].sum())
