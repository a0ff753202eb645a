"""The needle experiment: calibrate the channels, then read every prompt of the grid through every method's cache.

arXiv:2506.11886, section 4.2 and the ablations of section 5. Deviations: answer likelihood beside keyword hits (a 135M model
carries signal there), facts that cannot be guessed, channels calibrated on text that is never scored (the paper calibrates on
the needle prompts themselves).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from galley.artifact import GalleyError, Stopwatch, atomic_path, code_digest, digest
from galley.caches.compressed import CompressedCache
from galley.caches.fourier import Fourier
from galley.caches.palu import second_moments
from galley.caches.prefill import Prefill, prefill
from galley.caches.rope import require_rope_attention
from galley.data.corpus import read_split
from galley.evaluate.cache_bytes import true_bytes
from galley.evaluate.cached_needles import NeedleItem, build_needle_grid, score_needles
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model, load_tokenizer
from galley.models.spec import spec_of
from galley.papers.fourier_attention.methods import SNAP_WINDOW, Maker, make_makers
from galley.papers.fourier_attention.plan import Plan, asks_for_votes
from galley.papers.fourier_attention.selection import channel_errors
from galley.tables.rows import item_frame, write_items, write_runs
from galley.train.packing import pack

PAPER = "fourier_attention"


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
    with atomic_path(out / "errors.safetensors") as part:
        save_file({mode: error.cpu() for mode, error in errors.items()}, part)
    return {mode: error.cpu() for mode, error in errors.items()}


def needle_items(*, base: Path, corpus: Path, plan: Plan, context: int) -> list[NeedleItem]:
    """Return the scale's needle prompts over held-out text: essays where the machine has them, else all of the split."""
    documents = read_split(corpus, "heldout")
    essays = [doc["text"] for doc in documents if doc["source"] == "essays"]
    grid = plan.needles
    return build_needle_grid(
        essays or [doc["text"] for doc in documents], load_tokenizer(base), context=context, lengths=grid.lengths,
        depths=grid.depths, repeats=grid.repeats, seed=plan.data_seed,
    )  # fmt: skip


def run_needles(*, base: Path, corpus: Path, out: Path, plan: Plan, model_name: str, scale: str, shard: int, device: str = "auto") -> None:
    """Write needles-<shard>.items.parquet and .runs.csv; prompts that an interrupted run had finished are kept."""
    if shard >= plan.shards:
        raise GalleyError(f"shard is {shard}; this scale has shards 0 to {plan.shards - 1}")
    spec = spec_of(plan.models, model_name)
    watch = Stopwatch()
    where = resolve_device(device, model=model_name, gpus=spec.gpus)
    model = load_model(base, dtype=getattr(torch, spec.dtype), device=where)
    require_rope_attention(model.config)
    items = needle_items(base=base, corpus=corpus, plan=plan, context=model.config.max_position_embeddings)
    mine = items[shard :: plan.shards]
    errors = load_file(out / "errors.safetensors")
    makers = make_makers(model, errors, plan)
    methods = [m.model_dump() for m in plan.methods]
    kept = {mode: e.double().sum().item() for mode, e in errors.items()}
    key = digest([code_digest(__name__), plan.model_dump(), model_name, kept, where.type])
    frames = []
    for item in tqdm(mine, desc="needle prompts", mininterval=10):  # in a log file too: a grid takes minutes
        done = out / "state" / key / f"{item.item_id}.parquet"
        if not done.exists():
            frame = score_needles(model, [item], makers=makers, window=SNAP_WINDOW, votes=asks_for_votes(plan))
            with atomic_path(done) as part:
                frame.to_parquet(part)
        frames.append(pd.read_parquet(done))
    run_id = digest([key, methods, shard])
    common = {"run_id": run_id, "paper": PAPER, "scale": scale, "model": model_name, "backend": "torch", "device": device_name(where)}
    rows = pd.concat(frames, ignore_index=True).to_dict("records")
    if shard == 0:
        rows += byte_rows(model, mine[0], makers=makers, votes=asks_for_votes(plan))
    write_items(item_frame(rows, **common), out / f"needles-{shard}.items.parquet")
    facts = {"stage": "needles", "method": "", "setting": "", "seed": 0, "threads": torch.get_num_threads()}
    run = {k: v for k, v in common.items() if k != "backend"} | facts | watch.read() | {"tokens": sum(len(i.prompt) for i in mine)}
    write_runs(pd.DataFrame([run]), out / f"needles-{shard}.runs.csv")


def byte_rows(model: PreTrainedModel, item: NeedleItem, *, makers: dict[str, Maker], votes: bool) -> list[dict]:
    """Return each method's kept share of the cache after one prompt: bytes of the live tensors over the full cache's."""
    prompt = prefill(model, torch.tensor([item.prompt[:-1]], device=model.device), window=SNAP_WINDOW, votes=votes)
    full = sum(x.nbytes for x in (*prompt.keys, *prompt.values))
    rows = []
    for name, make in makers.items():
        cache = make(prompt, item)
        size = cache.nbytes() if isinstance(cache, CompressedCache) else true_bytes(cache)
        rows.append({"method": name, "benchmark": "bytes", "metric": "kept_fraction", "unit": "fraction",
                     "item_id": f"len={item.length}", "score": size / full})  # fmt: skip
    return rows
