"""Needle in a haystack: a fact at a depth of a long text, read back by likelihood and by greedy decoding.

Protocol of gkamradt/LLMTest_NeedleInAHaystack (length x depth grid over essays), with the prompt built in the
model's tokens. Deviation: the fact is a random city and five-digit number, so that it cannot be guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import pandas as pd
import torch
from torch.nn import functional as F
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.evaluate.long.wording import PLAIN, Wording
from galley.progress import progress

CITIES = ("Lisbon", "Oslo", "Kyoto", "Quito", "Tunis", "Perth", "Lima", "Riga", "Accra", "Turin")
ANSWER_TOKENS = 12  # kept free of every length, so that the answer fits
LOOK_BACK = 128  # tokens searched for a sentence end


def build_needle_prompt(
    haystack: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    length: int,
    depth: float,
    city: str,
    number: int,
    wording: Wording = PLAIN,
) -> tuple[list[int], list[int]]:
    """Return (prompt ids, answer ids): `length` - ANSWER_TOKENS ids with the needle at `depth` of the haystack, and the number's.

    GalleyError for a depth outside 0..1, a length without room, or too short a haystack.
    """
    if not 0 <= depth <= 1:
        raise GalleyError(f"needle depth is {depth}; it must lie between 0 (start) and 1 (end of the text)")

    def ids_of(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    needle = ids_of(f" {wording.fact.format(key=city, value=number)} ")
    question = ids_of(f"\n\nQuestion: {wording.ask.format(key=city)} Answer: {wording.stub.format(key=city)}")
    answer = ids_of(f" {number}")
    room = length - len(needle) - len(question) - ANSWER_TOKENS
    if room < 16:
        raise GalleyError(f"needle length is {length} tokens, which leaves {room} for the haystack; use at least {length - room + 16}")
    hay: list[int] = []
    for text in haystack:
        hay += ids_of(text[: 12 * room])
        if len(hay) >= room:
            break
    if len(hay) < room:
        raise GalleyError(f"needle length is {length} tokens, but the haystack has only {len(hay)}; give more text")
    at = _sentence_end(hay, round(depth * room), room=room, stop=ids_of(".")[-1])
    return hay[:at] + needle + hay[at:room] + question, answer


def _sentence_end(hay: list[int], depth: int, *, room: int, stop: int) -> int:
    """Return the last sentence end before `depth`, as in the original protocol; `depth` itself when none is near."""
    if depth in (0, room):
        return depth
    near = range(depth, max(0, depth - LOOK_BACK), -1)
    return next((at for at in near if hay[at - 1] == stop), 0 if depth <= LOOK_BACK else depth)


def evaluate_needles(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    haystack: Sequence[str],
    lengths: Sequence[int],
    depths: Sequence[float],
    seed: int,
    make_cache: Callable[[], Cache] | None = None,
) -> pd.DataFrame:
    """Return keyword_recall (0 or 1) and answer_nll (nats a token) per length and depth; prefill once for both."""
    context = model.config.max_position_embeddings
    too_long = [n for n in lengths if n > context]
    if too_long:
        raise GalleyError(f"needle length is {too_long[0]} tokens, but the model's context is {context}; lower it")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length, depth in progress(list(product(lengths, depths)), what="needles"):
        city = CITIES[int(torch.randint(len(CITIES), (), generator=generator))]
        number = int(torch.randint(10_000, 100_000, (), generator=generator))
        prompt, answer = build_needle_prompt(haystack, tokenizer, length=length, depth=depth, city=city, number=number)
        hit, nll = _read_back(model, tokenizer, prompt, answer, number=number, cache=make_cache() if make_cache else None)
        for metric, unit, value in (("keyword_recall", "fraction", hit), ("answer_nll", "nats/token", nll)):
            rows.append({"benchmark": "needle", "metric": metric, "unit": unit, "item_id": f"len={length},depth={depth}",
                         "score": value, "weight": 1.0, "status": "ok", "reason": ""})  # fmt: skip
    return pd.DataFrame(rows)


def _read_back(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    answer: list[int],
    *,
    number: int,
    cache: Cache | None,
) -> tuple[float, float]:
    """Prefill, then feed the gold answer: greedy decoding agrees with it exactly when every argmax does."""
    with torch.no_grad():
        out = model(torch.tensor([prompt], device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
        gold = torch.tensor(answer, device=model.device)
        logits = [out.logits[0, -1]]
        for token in answer[:-1]:
            out = model(torch.tensor([[token]], device=model.device), past_key_values=out.past_key_values, use_cache=True)
            logits.append(out.logits[0, -1])
    stacked = torch.stack(logits).float()
    return float(bool((stacked.argmax(dim=-1) == gold).all())), float(F.cross_entropy(stacked, gold))
