"""The needle experiment: calibrate the channels, then read every prompt of the grids through every method's cache.

arXiv:2506.11886, section 4.2 and the ablations of section 5. Deviations: answer likelihood beside keyword hits (a 135M model
carries signal there), facts that cannot be guessed, channels calibrated on text that is never scored (the paper calibrates on
the needle prompts themselves).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from galley.artifact import GalleyError, atomic_path
from galley.caches.compressed import CompressedCache
from galley.caches.fourier import Fourier
from galley.caches.palu import second_moments
from galley.caches.prefill import Prefill, prefill
from galley.data.corpus import read_split
from galley.evaluate.cache_bytes import true_bytes
from galley.evaluate.cached_needles import NeedleItem, build_needle_grid, score_needles
from galley.evaluate.needlebench import needlebench_questions
from galley.evaluate.questions import require_room
from galley.models.loading import load_tokenizer
from galley.papers.fourier_attention.methods import SNAP_WINDOW
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.reader import Reader
from galley.papers.fourier_attention.selection import channel_errors
from galley.train.packing import pack


def calibration_prompts(model: PreTrainedModel, *, base: Path, corpus: Path, plan: Plan) -> list[Prefill]:
    """Return the calibration split's prompts, prefilled; GalleyError when the split is too short."""
    wanted = plan.calibration
    texts = [doc["text"] for doc in read_split(corpus, "calibration")]
    ids = pack(texts, load_tokenizer(base), seq_len=wanted.tokens, seed=plan.data_seed, max_tokens=wanted.prompts * wanted.tokens)
    if len(ids) < wanted.prompts:
        raise GalleyError(
            f"calibration.prompts is {wanted.prompts}, but the calibration split holds {len(ids)} of {wanted.tokens} tokens; "
            "lower calibration.prompts or .tokens, or raise corpus.max_bytes"
        )
    return [prefill(model, row[None].to(model.device), window=1) for row in ids[: wanted.prompts]]


def calibrate(model: PreTrainedModel, prompts: list[Prefill], *, out: Path, plan: Plan) -> dict[str, torch.Tensor]:
    """Write errors.safetensors and return it: the channel errors of our and of the authors' round trip, and Palu's moments."""
    layout = plan.layout(plan.calibration.tokens)
    errors = {}
    for mode in ("ours", "official"):
        by = Fourier(layout.sinks, layout.local, layout.orders, mode, plan.max_new_tokens, frozenset())
        errors[mode] = channel_errors(prompts, by=by)
    errors["moments"] = second_moments(model, prompts)
    errors = {name: tensor.cpu() for name, tensor in errors.items()}
    with atomic_path(out / "errors.safetensors") as part:
        save_file(errors, part)
    return errors


def held_out_text(corpus: Path) -> list[str]:
    """Return held-out text: essays where the machine has them, else all of the split."""
    documents = read_split(corpus, "heldout")
    essays = [doc["text"] for doc in documents if doc["source"] == "essays"]
    return essays or [doc["text"] for doc in documents]


def needle_items(tokenizer, *, corpus: Path, plan: Plan, context: int) -> list[NeedleItem]:
    """Return the scale's needle prompts over held-out text."""
    grid = plan.needles
    return build_needle_grid(
        held_out_text(corpus),
        tokenizer,
        context=context,
        lengths=grid.lengths,
        depths=grid.depths,
        repeats=grid.repeats,
        seed=plan.data_seed,
        wording=plan.words.wording,
    )


def run_needles(*, base: Path, corpus: Path, out: Path, plan: Plan, model_name: str, scale: str, shard: int, device: str = "auto") -> None:
    """Write needles-<shard>.items.parquet and .runs.csv: the needle grid and NeedleBench's, by every method."""
    reader = Reader.load(base, out=out, plan=plan, model_name=model_name, scale=scale, shard=shard, stage="needles", device=device)
    context = reader.model.config.max_position_embeddings
    items = needle_items(reader.tokenizer, corpus=corpus, plan=plan, context=context)
    bench = plan.needlebench
    questions = needlebench_questions(
        held_out_text(corpus), reader.tokenizer, lengths=bench.lengths, depths=bench.depths, repeats=bench.repeats,
        new_tokens=bench.new_tokens, seed=plan.data_seed, wording=plan.words.wording,
    )  # fmt: skip
    require_room(questions, context=context)
    mine = reader.deal(items)

    def score(item: NeedleItem) -> list[dict]:
        return score_needles(reader.model, [item], makers=reader.makers, window=SNAP_WINDOW, votes=reader.votes).to_dict("records")

    rows = reader.each("needle prompts", mine, score)
    chosen = reader.chosen(bench.methods)
    rows += reader.questions(questions, makers=chosen, generate=chosen)
    if shard == 0:
        rows += byte_rows(reader, mine[0])
    reader.write(rows, tokens=sum(len(i.prompt) for i in mine))


def byte_rows(reader: Reader, item: NeedleItem) -> list[dict]:
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
