"""The needle experiment: every prompt of the grids, read through every method's cache.

arXiv:2506.11886, section 4.2 and the ablations of section 5. Deviations: answer likelihood beside keyword hits (a 135M model
carries signal there), facts that cannot be guessed.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from pathlib import Path

import torch

from galley.caches.compressed import CompressedCache
from galley.caches.prefill import prefill
from galley.evaluate.cache_bytes import true_bytes
from galley.evaluate.long.cached_needles import NeedleItem, build_needle_grid, score_needles
from galley.evaluate.long.needlebench import needlebench_questions
from galley.evaluate.long.questions import require_room
from galley.papers.fourier_attention.methods import SNAP_WINDOW
from galley.papers.fourier_attention.reader import Reader
from galley.stage import Job
from galley.tables.ledger import Rows


def run_needles(job: Job, *, base: Path, corpus: Path, errors: Path, device: str) -> None:
    """Write needles-<shard>.items.parquet and .runs.csv: the needle grid and NeedleBench's, by every method."""
    plan, reader = job.plan, Reader.load(job, base, corpus=corpus, errors=errors, device=device)
    context, grid, bench = reader.model.config.max_position_embeddings, plan.needles, plan.needlebench
    items = build_needle_grid(
        reader.texts, reader.tokenizer, context=context, lengths=grid.lengths, depths=grid.depths, repeats=grid.repeats,
        seed=plan.data_seed, wording=plan.words.wording,
    )  # fmt: skip
    questions = needlebench_questions(
        reader.texts, reader.tokenizer, lengths=bench.lengths, depths=bench.depths, repeats=bench.repeats,
        new_tokens=bench.new_tokens, seed=plan.data_seed, wording=plan.words.wording,
    )  # fmt: skip
    require_room(questions, context=context)
    mine, chosen, item_id = job.mine(items), reader.chosen(bench.methods), attrgetter("item_id")

    def score(item: NeedleItem) -> Rows:
        return score_needles(reader.model, [item], makers=reader.makers, window=SNAP_WINDOW, votes=reader.votes).to_dict("records")

    rows = reader.ledger.each("needle prompts", mine, score, name=item_id)
    rows += reader.questions("NeedleBench", questions, makers=chosen, generate=chosen)
    rows += reader.ledger.each("cache bytes", items[:1] if job.shard == 0 else [], partial(byte_rows, reader), name=item_id)
    reader.leave(rows, tokens=sum(len(i.prompt) for i in mine))


def byte_rows(reader: Reader, item: NeedleItem) -> Rows:
    """Return each method's kept share of the cache after one prompt: bytes of the live tensors over the full cache's."""
    ids = torch.tensor([item.prompt[:-1]], device=reader.model.device)
    prompt = prefill(reader.model, ids, window=SNAP_WINDOW, votes=reader.votes)
    full = sum(x.nbytes for x in (*prompt.keys, *prompt.values))
    rows = []
    for name, make in reader.makers.items():
        cache = make(prompt, item)
        size = cache.nbytes() if isinstance(cache, CompressedCache) else true_bytes(cache)
        rows.append({"method": name, "benchmark": "bytes", "metric": "kept_fraction", "unit": "fraction",
                     "item_id": f"len={item.length}", "score": size / full})  # fmt: skip
    return rows
