"""The six commonsense tasks as cloze multiple choice through lm-eval, normalised by characters.

arXiv:2502.14837, section 4.1, and the authors' lighteval tasks: zero-shot, options scored as full text,
log-likelihood divided by the option's characters without its leading space. lm-eval does the scoring
requests; a task whose data is out of reach is `not_run`, never zero.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.evaluate.likelihood import not_run

TASKS = ("mmlu", "arc", "piqa", "hellaswag", "openbookqa", "winogrande")
METRIC, UNIT = "acc_norm_nospace", "fraction"


def cloze(task: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as {prompt, choices, gold}; choices carry their leading space."""
    if task == "piqa":
        choices = [item["sol1"], item["sol2"]]
        return {
            "prompt": f"Question: {item['goal']}\nAnswer:",
            "choices": [f" {c}" for c in choices],
            "gold": item["label"],
        }
    if task == "hellaswag":
        # The authors capitalise the context's second part; files that have it joined already stay as they are.
        context = f"{item['ctx_a']} {item['ctx_b'].capitalize()}" if "ctx_b" in item else item["ctx"]
        text = clean(f"{item['activity_label']}: {context}")
        return {
            "prompt": text,
            "choices": [f" {clean(e)}" for e in item["endings"]],
            "gold": int(item["label"] if "label" in item else item["expected_index"]),
        }
    if task == "winogrande":
        start, end = item["sentence"].split("_")
        return {
            "prompt": start.rstrip(),
            "choices": [f" {item[f'option{n}']}{end}" for n in (1, 2)],
            "gold": int(item["answer"]) - 1,
        }
    if task == "openbookqa":
        labels, texts = item["choices"]["label"], item["choices"]["text"]
        return {
            "prompt": item["question_stem"],
            "choices": [f" {t}" for t in texts],
            "gold": labels.index(item["answerKey"]),
        }
    if task == "arc":
        labels, texts = item["choices"]["label"], item["choices"]["text"]
        return {"prompt": f"Question: {item['question']}\nAnswer:", "choices": [f" {t}" for t in texts],
                "gold": labels.index(item["answerKey"])}  # fmt: skip
    subject = item["subject"].replace("_", " ")
    prompt = f"The following are questions about {subject}.\nQuestion: {item['question']}\nAnswer:"
    return {"prompt": prompt, "choices": [f" {c}" for c in item["choices"]], "gold": item["answer"]}


def clean(text: str) -> str:
    """Remove HellaSwag's bracketed artefacts and doubled spaces."""
    return re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).replace("  ", " ").strip()


def evaluate_commonsense(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    data: dict[str, list[dict[str, Any]] | None],
    limit: int,
    batch_size: int = 8,
) -> pd.DataFrame:
    """Return one row per item, 1 if the gold option has the highest character-normalised log-likelihood."""
    from lm_eval.models.huggingface import HFLM

    length = min(2048, model.config.max_position_embeddings)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=length, backend="causal")
    return score_tasks(lm, data=data, limit=limit)


def score_tasks(lm: Any, *, data: dict[str, list[dict[str, Any]] | None], limit: int) -> pd.DataFrame:
    """Score the tasks with any lm-eval model object; see `evaluate_commonsense`."""
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        items = data.get(task)
        if not items or limit == 0:
            reason = "limit is 0" if items else "data: out of reach (neither mirror nor hub)"
            rows.append(not_run(task, METRIC, UNIT, reason))
            continue
        docs = [cloze(task, item) for item in items[:limit]]
        for i, hit in enumerate(_hits(lm, docs, name=task)):
            rows.append({"benchmark": task, "metric": METRIC, "unit": UNIT, "item_id": str(i), "score": float(hit),
                         "weight": 1.0, "status": "ok", "reason": ""})  # fmt: skip
    return pd.DataFrame(rows)


def _hits(lm: Any, docs: list[dict[str, Any]], *, name: str) -> list[bool]:
    """Run one task through lm-eval and decide each item from its log-likelihoods."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "docs.jsonl"
        file.write_text("\n".join(json.dumps(doc) for doc in docs))
        task = {
            "task": f"galley_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": folder},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{prompt}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{gold}}",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}],
        }
        manager = TaskManager(include_defaults=False)
        result = lm_eval.simple_evaluate(model=lm, tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=True)
    samples = sorted(result["samples"][f"galley_{name}"], key=lambda s: s["doc_id"])
    hits: list[bool] = []
    for sample, doc in zip(samples, docs, strict=True):
        scores = [float(answer[0]) / max(1, len(choice.lstrip())) for answer, choice in
                  zip(sample["filtered_resps"], doc["choices"], strict=True)]  # fmt: skip
        if any(math.isnan(score) for score in scores):  # of which the first would be the greatest
            raise GalleyError(f"{METRIC} of {name} {len(hits)} cannot be told: the model finds an answer's likelihood to be NaN; "
                              "take weights and a config.json that work together, or an earlier checkpoint")  # fmt: skip
        hits.append(max(range(len(scores)), key=scores.__getitem__) == doc["gold"])
    return hits
