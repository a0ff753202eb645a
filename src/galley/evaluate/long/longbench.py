"""LongBench with the official prompts, by the official truncation or by the paper's.

official (THUDM/LongBench): token ids over max_length lose their middle; samsum stops at a newline.
paper (arXiv:2502.14837's longbench.py): the context is first cut to its first and last 4 max_tokens characters,
then ids to the first and last halves of max_tokens - answer length; no chat template, no newline stop.
Deviation: only new tokens are decoded. The authors slice the last answer_len ids of a row, which leaks prompt
text when a batch stops early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.evaluate.likelihood import not_run
from galley.evaluate.long.longbench_metrics import METRICS, score
from galley.progress import progress

PROTOCOLS = ("official", "paper")


def middle_cut(ids: list[int], limit: int) -> list[int]:
    """Keep the first and last halves of `limit` ids, the first one longer when it is odd."""
    if len(ids) <= limit:
        return ids
    half = limit // 2
    return ids[: limit - half] + ids[len(ids) - half :]


def build_prompt(
    item: dict[str, Any],
    template: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    protocol: str,
    max_length: int,
    answer_tokens: int,
    side: str = "middle",
) -> list[int]:
    """Return the prompt's ids, truncated by the protocol.

    Audits: `side` end cuts the end off instead, as a tokenizer does, and start cuts the start off.
    """
    if protocol not in PROTOCOLS:
        raise GalleyError(f"longbench protocol is {protocol!r}; allowed: {', '.join(PROTOCOLS)}")
    fields = {"input": item["input"], "context": item["context"]}
    if protocol == "paper":
        keep = 4 * max_length
        if len(fields["context"]) > 2 * keep:
            fields["context"] = fields["context"][:keep] + fields["context"][-keep:]
        limit = max_length - answer_tokens
    else:
        limit = max_length - 500
    if limit < 2:
        raise GalleyError(f"longbench max_length is {max_length}, which leaves no room for the prompt; raise it")
    ids = tokenizer(template.format(**fields), add_special_tokens=True)["input_ids"]
    if side != "middle":
        return ids[:limit] if side == "end" else ids[-limit:]
    if protocol == "official" and len(ids) > limit:
        # The official script decodes the two halves and tokenises the text again.
        half = limit // 2
        text = tokenizer.decode(ids[:half], skip_special_tokens=True) + tokenizer.decode(ids[-half:], skip_special_tokens=True)
        return tokenizer(text, add_special_tokens=True)["input_ids"]
    return middle_cut(ids, limit)


def evaluate_longbench(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task_items: dict[str, list[dict[str, Any]] | None],
    prompts: dict[str, str],
    maxlen: dict[str, int],
    protocol: str,
    limit: int,
    max_length: int,
    make_cache: Callable[[], Cache] | None = None,
) -> pd.DataFrame:
    """Return one row per item of each English task; tasks without data or prompts are `not_run`.

    GalleyError when prompts of `max_length` tokens would not fit the model's context.
    """
    context = model.config.max_position_embeddings
    if max_length > context:
        raise GalleyError(f"longbench max_length is {max_length} tokens, but the model's context is {context}; lower it")
    rows: list[dict[str, Any]] = []
    for task in METRICS:
        items = task_items.get(task)
        if not items or task not in prompts or limit == 0:
            reason = "limit is 0" if items and task in prompts else "data: out of reach (neither mirror nor hub)"
            rows.append(not_run(f"longbench_{task}", "score", "fraction", reason))
            continue
        for i, item in enumerate(progress(items[:limit], what=task)):
            ids = build_prompt(item, prompts[task], tokenizer, protocol=protocol, max_length=max_length, answer_tokens=maxlen[task])
            text = _generate(model, tokenizer, ids, new_tokens=maxlen[task], newline_stop=protocol == "official" and task == "samsum",
                             make_cache=make_cache)  # fmt: skip
            value = score(task, text, item["answers"], item.get("all_classes") or ())
            rows.append({"benchmark": f"longbench_{task}", "metric": "score", "unit": "fraction", "item_id": str(i), "score": value,
                         "weight": 1.0, "status": "ok", "reason": ""})  # fmt: skip
    return pd.DataFrame(rows)


def _generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[int], *, new_tokens: int, newline_stop: bool,
    make_cache: Callable[[], Cache] | None,
) -> str:  # fmt: skip
    prompt = torch.tensor([ids], device=model.device)
    extra: dict[str, Any] = {"past_key_values": make_cache()} if make_cache else {}
    if newline_stop:
        newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
        extra |= {"eos_token_id": [tokenizer.eos_token_id, newline], "min_new_tokens": 1}
    with torch.no_grad():
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new_tokens, do_sample=False, temperature=None,
            top_p=None, pad_token_id=tokenizer.eos_token_id, **extra,
        )  # fmt: skip
    return tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)
