"""A user's own model: load, calibrate, convert and write, with every refusal before the work.

Source: ours, around arXiv:2502.14837, section 2.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from galley.artifact import GalleyError
from galley.models.loading import load_model, load_tokenizer
from galley.papers.mha2mla.calibration import pair_norms, pair_scores
from galley.papers.mha2mla.convert import check_convertible, convert_mla, save_converted
from galley.train.packing import pack


def convert_own_model(
    model: str,
    *,
    out: Path,
    d_kv: int | None,
    strategy: str,
    r: int | None,
    svd: str,
    balance: str,
    expand_gqa: bool,
    calibration: Path | None,
    dtype: str,
    revision: str | None,
) -> None:
    """Convert a model directory or hub id into an MLA directory that transformers loads after `import galley`."""
    if out.exists() and any(out.iterdir()):
        raise GalleyError(f"out is {out}, which is not empty; name a new folder")
    if dtype not in ("float32", "bfloat16"):
        raise GalleyError(f"dtype is {dtype!r}; allowed: float32, bfloat16")
    source = Path(model)
    if not source.is_dir():
        from galley.models.hub import snapshot

        source = out.parent / f".{out.name}.source"
        snapshot(model, revision, source)
    check_convertible(source)
    original = load_model(source, dtype=getattr(torch, dtype))
    tokenizer = load_tokenizer(source)
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    scores = None
    if strategy == "2-norm":
        data = pack(_calibration_texts(calibration), tokenizer, seq_len=512, seed=0)[:64]
        scores = pair_scores(pair_norms(original, data.split(2), progress=True))
    converted = convert_mla(
        original, strategy=strategy, r=r if r is not None else d_h // 16, d_kv=d_kv, svd=svd, balance=balance, scores=scores,
        expand_gqa=expand_gqa,
    )  # fmt: skip
    save_converted(converted, tokenizer, out)


def _calibration_texts(path: Path | None) -> list[str]:
    if path is None:
        from galley.data.corpus import stdlib_documents

        return [doc["text"] for doc in stdlib_documents(max_bytes=400_000)]
    if not path.exists():
        raise GalleyError(f"calibration is {path}, which does not exist; give a .txt or .jsonl file")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line)["text"] for line in text.splitlines()]
    return [text]
