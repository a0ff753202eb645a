"""A user's own model: load, calibrate, convert and write, with every refusal before the work.

Source: ours, around arXiv:2502.14837, section 2.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from galley.artifact import GalleyError, digest
from galley.models.loading import load_model, load_tokenizer
from galley.papers.mha2mla.calibration import pair_norms, pair_scores
from galley.papers.mha2mla.convert import check_convertible, convert_mla, save_converted
from galley.papers.mha2mla.low_rank import factor
from galley.papers.mha2mla.partial_rope import select_pairs
from galley.train.packing import pack

# On SmolLM2-135M, 97 % of the pairs chosen from 8,192 tokens are those chosen from 16,384 others.
CALIBRATION_TOKENS, CALIBRATION_SEQ_LEN = 8192, 512


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
    if calibration is not None and not calibration.exists():
        raise GalleyError(f"calibration is {calibration}, which does not exist; give a .txt or .jsonl file")
    source = Path(model)
    if not source.is_dir():
        if model.startswith((".", "/")) or model.count("/") != 1:
            raise GalleyError(f"model is {model}, which is neither a folder here nor a hub id such as owner/name")
        from galley.models.hub import snapshot

        # Kept when the conversion fails, so that a second try does not download again.
        source = out.parent / f".{out.name}.{digest([model, revision])}.source"
        if not (source / "config.json").exists():
            snapshot(model, revision, source)
    check_options(source, d_kv=d_kv, strategy=strategy, r=r, svd=svd, balance=balance, expand_gqa=expand_gqa)
    original = load_model(source, dtype=getattr(torch, dtype))
    tokenizer = load_tokenizer(source)
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    scores = None
    if strategy == "2-norm":
        seq_len = min(CALIBRATION_SEQ_LEN, config.max_position_embeddings)
        data = pack(_calibration_texts(calibration), tokenizer, seq_len=seq_len, seed=0, max_tokens=CALIBRATION_TOKENS + seq_len)
        scores = pair_scores(pair_norms(original, data[: CALIBRATION_TOKENS // seq_len].split(2), progress=True))
    pairs = r if r is not None else max(1, d_h // 16)
    settings: dict[str, Any] = {"strategy": strategy, "r": pairs, "d_kv": d_kv, "svd": svd, "balance": balance, "expand_gqa": expand_gqa}
    converted = convert_mla(original, scores=scores, **settings)
    kept = {**settings, "calibration": str(calibration or "the standard library's text"), "dtype": dtype}
    save_converted(converted, tokenizer, out, source=source, settings=kept)
    if source != Path(model):
        shutil.rmtree(source)


def check_options(source: Path, *, d_kv: int | None, strategy: str, r: int | None, svd: str, balance: str, expand_gqa: bool) -> None:
    """Refuse what the conversion would refuse, from the configuration alone, before a weight is loaded."""
    if not (source / "config.json").exists():
        raise GalleyError(f"no model at {source}: it has no config.json; name a Hugging Face directory or a hub id")
    check_convertible(source)
    config = AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=True)
    n_h = config.num_attention_heads
    n_kv = n_h if expand_gqa else config.num_key_value_heads
    d_h = getattr(config, "head_dim", None) or config.hidden_size // n_h
    scores = torch.zeros(1, n_kv, d_h // 2)
    r = max(1, d_h // 16) if r is None else r
    select_pairs(strategy, r=r, d_h=d_h, n_kv=n_kv, n_layers=1, scores=scores)
    if d_kv is None:
        return
    full = 2 * d_h - 2 * r
    if not 1 <= d_kv <= full:
        raise GalleyError(f"d_kv is {d_kv}; allowed: 1 to {full} (the keys and values of a head), or omit it for partial RoPE only")
    rows = torch.zeros(2, 2)
    factor(rows, rows, rank=n_kv * d_kv, method=svd, balance=balance)


def _calibration_texts(path: Path | None) -> list[str]:
    if path is None:
        from galley.data.corpus import stdlib_documents

        return [doc["text"] for doc in stdlib_documents(max_bytes=400_000)]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line)["text"] for line in text.splitlines()]
    return [text]
