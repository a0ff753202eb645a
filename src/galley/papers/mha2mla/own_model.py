"""A user's own model: load, calibrate, convert, score and write, with every refusal before the work.

Source: ours, around arXiv:2502.14837, section 2.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from galley import inputs, outputs
from galley.artifact import GalleyError, digest, room
from galley.data.corpus import pydoc_documents, stdlib_documents
from galley.evaluate.likelihood import heldout_windows
from galley.models.checkpoint import check_weights, read_config
from galley.models.likelihood import Windows, score_windows
from galley.models.loading import load_model, load_tokenizer, weight_bytes
from galley.models.mla import MlaLlamaForCausalLM
from galley.papers.mha2mla.accounting import counted_elements_per_token
from galley.papers.mha2mla.calibration import pair_norms, pair_scores
from galley.papers.mha2mla.convert import check_convertible, config_of, convert_mla, head_size, save_converted, window_of
from galley.papers.mha2mla.low_rank import BALANCES, METHODS
from galley.papers.mha2mla.partial_rope import STRATEGIES
from galley.tables.numbers import percent
from galley.train.packing import pack

# On SmolLM2-135M, 97 % of the pairs chosen from 8,192 tokens are those chosen from 16,384 others.
CALIBRATION_TOKENS, CALIBRATION_SEQ_LEN = 8192, 512
HELDOUT = "the topics of Python's language reference"  # which the default calibration never sees
HELDOUT_WINDOWS, HELDOUT_TOKENS = 8, 128  # a quarter of the calibration's work, for both models


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
    positions: int | None = None,
) -> str:
    """Convert a model directory or hub id into an MLA directory; return what to say of it: its path, its cost, how it is loaded."""
    for name, value, allowed in (
        ("--rope-strategy", strategy, STRATEGIES), ("--svd", svd, METHODS), ("--balance", balance, BALANCES),
        ("--dtype", dtype, ("float32", "bfloat16")),
    ):  # fmt: skip
        if value not in allowed:
            raise GalleyError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    _check_out(out, model=model)
    texts = _calibration_texts(calibration, strategy=strategy)
    source = _source(model, out=out, revision=revision)
    config = read_config(source)
    check_convertible(config, positions=positions)
    r = max(1, head_size(config) // 16) if r is None else r
    _check_widths(config, d_kv=d_kv, r=r, svd=svd, strategy=strategy, expand_gqa=expand_gqa)
    check_weights(source, config)
    n_kv = config.num_attention_heads if expand_gqa else config.num_key_value_heads
    shape: dict[str, Any] = {"d_kv": d_kv, "svd": svd, "positions": positions}
    room(out, _bytes_after(config, r=r, n_kv=n_kv, dtype=getattr(torch, dtype), **shape), what="the converted model")

    original, tokenizer = load_model(source, dtype=getattr(torch, dtype)), load_tokenizer(source)
    longest = positions or config.max_position_embeddings
    heldout = _heldout(tokenizer, longest=longest, source=source)
    _check_ids(heldout.ids, original, source=source)
    before = _bits_per_byte(original, heldout, of=f"--model is {model}")
    scores = _calibrate(original, tokenizer, texts, longest=longest, calibration=calibration, source=source) if texts else None
    settings = shape | {"strategy": strategy, "r": r, "balance": balance, "expand_gqa": expand_gqa}
    converted = convert_mla(original, scores=scores, **settings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
    found = {
        "cache_per_token": {"before": counted_elements_per_token(original), "after": counted_elements_per_token(converted)},
        "bits_per_byte": {"before": before, "after": _bits_per_byte(converted, heldout, of=f"the conversion of {model}")},
        "heldout": f"{HELDOUT_WINDOWS} windows of {heldout.ids.shape[1]} tokens from {HELDOUT}",
    }
    kept = settings | {"calibration": str(calibration or "the standard library's text"), "dtype": dtype}
    save_converted(converted, tokenizer, out, source=source, settings=kept, found=found)
    if source != Path(model):
        shutil.rmtree(source)
    return _said(out, found, window=window_of(config), longest=longest)


def _check_out(out: Path, *, model: str) -> None:
    """Refuse what the command line refuses of --out, for who calls from Python."""
    wrong = inputs.first_wrong([out], [outputs.made_anew()])
    how = outputs.overlap(out, Path(model)) if Path(model or "no name").is_dir() else None
    if wrong or how:
        raise GalleyError(f"--out is {out}, which {wrong[1] if wrong else f'{how} --model ({model})'}; name a new folder")


def _source(model: str, *, out: Path, revision: str | None) -> Path:
    """Return the folder of the original: the one named, or the hub's files at the commit."""
    folder = Path(model or "no name")  # Path("") is the folder that one is in
    if folder.is_dir():
        if revision is not None:
            raise GalleyError(f"--revision is {revision!r}, but --model is {model}, a folder here; leave --revision out")
        return folder
    if folder.exists():
        raise GalleyError(f"--model is {model}, which is a file; name the folder that holds config.json and the weights")
    if model.startswith((".", "/", "~")) or model.count("/") != 1 or not all(model.split("/")) or folder.is_symlink():
        raise GalleyError(f"--model is {model!r}, which is no folder here; name one, or a model of the hub as owner/name")
    from galley.models.hub import snapshot

    # Kept when the conversion fails, so that a second try does not download again.
    source = out.parent / f".{out.name}.{digest([model, revision])}.source"
    if not (source / "config.json").exists():
        snapshot(model, revision, source)
    return source


def _check_widths(config: PreTrainedConfig, *, d_kv: int | None, r: int, svd: str, strategy: str, expand_gqa: bool) -> None:
    """Refuse kept pairs or a latent that a head has no room for."""
    d_h = head_size(config)
    n_kv = config.num_attention_heads if expand_gqa else config.num_key_value_heads
    if not 0 <= r <= d_h // 2:
        raise GalleyError(f"--rope-pairs is {r}; it takes 0 (no position at all) to {d_h // 2}, the pairs of a head of size {d_h}")
    if strategy == "uniform" and r and d_h // 2 % r:
        raise GalleyError(f"--rope-pairs is {r}, which does not divide the {d_h // 2} pairs of a head, as uniform needs; give a divisor")
    full, least = 2 * d_h - 2 * r, 1 if n_kv > 1 else 2
    if d_kv is not None and not least <= d_kv <= full:
        raise GalleyError(f"--d-kv is {d_kv}; it takes {least} to {full} (the keys and values of a head), or omit it for partial RoPE only")
    if d_kv is not None and svd == "split" and n_kv * d_kv % 2:
        raise GalleyError(f"--d-kv is {d_kv}, and {n_kv} KV heads make an odd latent, which --svd split cannot halve; give an even --d-kv")


def _bytes_after(
    config: PreTrainedConfig, *, r: int, n_kv: int, d_kv: int | None, svd: str, positions: int | None, dtype: torch.dtype
) -> int:
    """Return the bytes of the converted weights, counted on a model without any."""
    pairs = torch.zeros(config.num_hidden_layers, n_kv, r, dtype=torch.long)
    with torch.device("meta"):
        original = AutoModelForCausalLM.from_config(config, dtype=dtype)
        return weight_bytes(MlaLlamaForCausalLM(config_of(original, pairs=pairs, d_kv=d_kv, svd=svd, positions=positions)).to(dtype))


def _calibration_texts(path: Path | None, *, strategy: str) -> list[str]:
    """Return the calibration's documents; GalleyError for a file that is none, or a strategy that reads none."""
    if path is None:
        return [doc["text"] for doc in stdlib_documents(max_bytes=400_000)] if strategy == "2-norm" else []
    if strategy != "2-norm":
        raise GalleyError(f"--calibration is {path}, but --rope-strategy {strategy} looks at no text; leave one of them out")
    check = inputs.json_lines(text=str) if path.suffix == ".jsonl" else inputs.text
    wrong = inputs.first_wrong([path], [check])
    if wrong:
        raise GalleyError(f"--calibration is {path}, which {wrong[1]}; give a .txt file, or a .jsonl file with a field text in every line")
    text = path.read_text(encoding="utf-8")
    return [json.loads(line)["text"] for line in text.split("\n") if line] if path.suffix == ".jsonl" else [text]


def _calibrate(
    original: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], *, longest: int, calibration: Path | None, source: Path
) -> torch.Tensor:
    """Return the ranking scores of the pairs over the calibration's text."""
    seq_len = min(CALIBRATION_SEQ_LEN, longest)
    try:
        data = pack(texts, tokenizer, seq_len=seq_len, seed=0, max_tokens=CALIBRATION_TOKENS + seq_len)
    except GalleyError as error:
        raise GalleyError(f"--calibration is {calibration}: {error}; give more text") from None
    _check_ids(data, original, source=source)
    return pair_scores(pair_norms(original, data[: CALIBRATION_TOKENS // seq_len].split(2), progress=True))


def _heldout(tokenizer: PreTrainedTokenizerBase, *, longest: int, source: Path) -> Windows:
    """Return the held-out text in the model's own tokens; GalleyError for a tokenizer that cannot end a text."""
    if tokenizer.eos_token_id is None:
        raise GalleyError(f"the tokenizer at {source} names no end of text; give eos_token in its tokenizer_config.json")
    tokens = min(HELDOUT_TOKENS, longest)
    texts = pydoc_documents(max_bytes=1_000_000)
    return heldout_windows(texts, tokenizer, n_windows=HELDOUT_WINDOWS, window_tokens=tokens, seed=0)


def _check_ids(ids: torch.Tensor, model: PreTrainedModel, *, source: Path) -> None:
    """Refuse tokens that the model has no embedding for."""
    largest, vocabulary = int(ids.max()), model.config.vocab_size
    if largest >= vocabulary:
        raise GalleyError(
            f"the tokenizer at {source} makes token {largest}, and the model has {vocabulary} (vocab_size in its config.json); "
            "take the tokenizer and the model from one place"
        )


def _bits_per_byte(model: PreTrainedModel, windows: Windows, *, of: str) -> float:
    try:
        rows = score_windows(model, windows)
    except GalleyError as error:
        raise GalleyError(f"{of}: {error}") from None
    return float((rows["score"] * rows["weight"]).sum() / rows["weight"].sum())


def _said(out: Path, found: dict[str, Any], *, window: int | None, longest: int) -> str:
    cache, bits = found["cache_per_token"], found["bits_per_byte"]
    kept, numbers = percent(cache["after"] / cache["before"]), f"{cache['after']:,.0f} of {cache['before']:,.0f} numbers a token"
    lines = [
        f"Wrote {out}.",
        f"Cache: {kept} of the original's is kept ({numbers}).",
        f"Held-out text ({found['heldout']}): {bits['before']:.4f} bits per byte before, {bits['after']:.4f} after.",
    ]
    if window is not None:
        lines.append(f"It is for at most {longest} positions, in which the original's window of {window} tokens cuts nothing off.")
    if bits["after"] > bits["before"] + 0.01:
        lines.append("Fine-tune it as you would the original: a conversion alone loses something, which training wins back.")
    lines.append(f'Load it in Python:  import galley; AutoModelForCausalLM.from_pretrained("{out}")')
    lines.append(f"Score it:  galley lm-eval --model hf --model_args pretrained={out} --tasks piqa")
    return "\n".join(lines)
