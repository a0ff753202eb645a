"""LongBench and RULER through every method's cache, one prefill a prompt.

arXiv:2506.11886, Tables 1 and 2 (LongBench), Table 3 (RULER's MK1 to MK3 and MV at 4k). What a scale has no data for is
`not_run`, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.data import benchmarks as readers
from galley.data.fetched import present
from galley.evaluate.long.longbench_metrics import METRICS
from galley.evaluate.long.longbench_questions import MIDDLE, absent_average_rows, absent_rows, asked_of, average_rows, longbench_questions
from galley.evaluate.long.questions import Question, require_room
from galley.evaluate.long.ruler import ablation_rows, ruler_questions, unreached_rows
from galley.papers.fourier_attention.plan import LongBench, Plan
from galley.papers.fourier_attention.reader import Reader
from galley.stage import Job

Tasks = Mapping[str, Sequence[Mapping[str, Any]] | None]
FETCHED = ("longbench_config", "hub_longbench", *(f"longbench_{task}" for task in METRICS))


def run_tasks(job: Job, *, base: Path, corpus: Path, errors: Path, sources: Path, device: str) -> None:
    """Write tasks-<shard>.items.parquet and .runs.csv; finished questions of an interrupted run are kept."""
    plan, ruler = job.plan, job.plan.ruler
    fetched = {name: sources / name for name in FETCHED if present(sources / name)}
    reader = Reader.load(job, base, corpus=corpus, errors=errors, device=device, **fetched)
    data = longbench_data(sources)
    asked = longbench_asked(data, reader.tokenizer, sources=sources, wanted=plan.longbench)
    puzzles = ruler_questions(
        reader.texts, reader.tokenizer, tasks=ruler.tasks, length=ruler.length, limit=ruler.limit, new_tokens=ruler.new_tokens,
        seed=plan.data_seed, wording=plan.words.wording,
    )  # fmt: skip
    require_room([*asked, *puzzles], context=reader.model.config.max_position_embeddings)
    require_window([*asked, *puzzles], plan=plan)
    plain, audits = ([q for q in asked if (q.setting == MIDDLE) == middle] for middle in (True, False))
    long = plan.longbench
    rows = reader.questions("LongBench", plain, makers=reader.chosen(long.methods), generate=reader.chosen(long.generate))
    rows += reader.questions("LongBench", audits, makers=reader.chosen(long.audit), generate=())
    counts = asked_of(asked)
    rows += average_rows(rows, counts=counts)
    solved = reader.questions("RULER", puzzles, makers=reader.chosen(ruler.methods), generate=reader.chosen(ruler.generate))
    rows += solved + ablation_rows(solved)
    if job.shard == 0:
        everyone = ["every method"]
        rows += absent_rows(data, methods=everyone) + unreached_rows(methods=everyone, length=ruler.length)
        rows += absent_average_rows(counts=counts, methods=everyone)
    reader.leave(rows, tokens=sum(len(q.prompt) for q in job.mine([*asked, *puzzles])))


def longbench_data(sources: Path) -> Tasks:
    """Return the items of the English tasks that the hub or another source gave, None for the others."""
    data: dict[str, Sequence[Mapping[str, Any]] | None] = dict.fromkeys(METRICS)
    for task in METRICS:
        for folder in (sources / "hub_longbench", sources / f"longbench_{task}"):
            if data[task] is None and present(folder):
                data[task] = readers.read_longbench(folder, task)
    return data


def longbench_asked(data: Tasks, tokenizer: PreTrainedTokenizerBase, *, sources: Path, wanted: LongBench) -> list[Question]:
    """Return the scale's LongBench questions; none without the official prompts."""
    if not present(sources / "longbench_config"):
        return []
    prompts, maxlen = readers.read_longbench_config(sources / "longbench_config")
    return longbench_questions(
        data, tokenizer, prompts=prompts, maxlen=maxlen, protocol=wanted.protocol, limit=wanted.limit, max_length=wanted.max_length,
        gold_tokens=wanted.gold_tokens, new_tokens=wanted.new_tokens, audit=bool(wanted.audit),
    )  # fmt: skip


def require_window(questions: Sequence[Question], *, plan: Plan) -> None:
    """Refuse answers that go past the spectral window of the modes paper and official, before any work."""
    if not any(m.cache == "fourier" and m.mode != "ours" for m in plan.methods):
        return
    for q in questions:
        need = max(len(q.answer), q.new_tokens)
        if need > plan.max_new_tokens:
            raise GalleyError(
                f"{q.benchmark} {q.item_id} has {need} answer tokens, but the spectral window has room for max_new_tokens = "
                f"{plan.max_new_tokens}; raise it in the recipe"
            )
