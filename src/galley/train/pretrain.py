"""Pre-training of a small model from scratch, on the corpus or on copying: the smoke scale's base models.

Source: ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from galley.artifact import atomic_dir, digest, manifest, write_json
from galley.models.induction import start_as_copier
from galley.models.scratch import build_llama, train_tokenizer
from galley.train.copying import SHORTEST, copy_sequences, key_value_lines
from galley.train.loop import TrainConfig, train
from galley.train.packing import pack


def pretrain_scratch(
    corpus: Path,
    *,
    out: Path,
    seed: int,
    vocab_size: int,
    d_model: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int,
    d_ff: int,
    context: int,
    steps: int,
    batch_size: int,
    lr: float,
    task: str = "text",
    rope_theta: float = 1e4,
    keys: Sequence[str] = (),
) -> None:
    """Train a tokenizer and a Llama on the corpus's train split; write a Hugging Face directory and losses.csv.

    With task copy the model starts as a copier and sees sequences that repeat instead of text; `keys` become single tokens.
    """
    lines = (corpus / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    copies = task == "copy"
    lines_of = [*key_value_lines(keys, seed=seed)] if copies else []
    length = 2_000 if copies else 20_000
    tokenizer = train_tokenizer([*lines_of, *(text[:length] for text in texts)], vocab_size=vocab_size, split_digits=not copies)
    tokenizer.model_max_length = context
    model = build_llama(
        vocab_size=len(tokenizer), d_model=d_model, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=d_ff,
        context=context, seed=seed,
        rope_theta=rope_theta,
    )  # fmt: skip
    if copies:
        start_as_copier(model, seed=seed)
        data = copy_sequences(steps * batch_size, tokens=context, periods=(SHORTEST, context // 2), vocab_size=len(tokenizer), seed=seed)
    else:
        data = pack(texts, tokenizer, seq_len=context, seed=seed, max_tokens=2 * steps * batch_size * context)
    config = TrainConfig(
        steps=steps, batch_size=batch_size, seq_len=context, lr=lr, warmup_steps=max(1, steps // 20), decay_steps=steps // 5,
        weight_decay=0.0 if copies else 0.1, dtype="float32", seed=seed, state_every=100,
    )  # fmt: skip
    state = out.parent / f".{out.name}.state-{digest([config, model.config.to_dict(), int(data.sum())])}"
    losses = train(model, data, config, state=state)
    facts = manifest(stage="train-scratch", config=config.__dict__, inputs={"train": corpus / "train.jsonl"}, seed=seed)
    with atomic_dir(out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        losses.to_csv(part / "losses.csv", index=False)
        write_json(part / "manifest.json", facts)
