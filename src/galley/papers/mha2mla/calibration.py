"""Calibration of S_2-norm: the mean norm of every rotary pair of queries and keys.

arXiv:2502.14837, section 2.1: |<q, k>| <= ||q|| ||k|| bounds what a pair can contribute, so pairs
are ranked by mean ||q_k|| times mean ||k_k|| (a product of means, as in the authors' code). A rotation
keeps norms, so they are read before RoPE, from the outputs of q_proj and k_proj.
Settled: queries are averaged within a group (paper); the authors' sum ranks the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from galley.artifact import GalleyError, atomic_path
from galley.data.corpus import read_split
from galley.models.checkpoint import load_tensors
from galley.models.loading import load_tokenizer
from galley.papers.mha2mla.plan import Plan
from galley.train.packing import pack


def calibration_text(*, base: Path, corpus: Path, plan: Plan) -> torch.Tensor:
    """Return the plan's calibration text packed, (sequences, tokens); GalleyError when the corpus holds too little of it."""
    settings = plan.calibration
    texts = [doc["text"] for doc in read_split(corpus, "calibration")]
    wanted = settings.sequences * settings.seq_len
    data = pack(texts, load_tokenizer(base), seq_len=settings.seq_len, seed=plan.data_seed, max_tokens=wanted)[: settings.sequences]
    if len(data) < settings.sequences:
        raise GalleyError(
            f"calibration.sequences is {settings.sequences}, but the calibration split holds only {len(data)} "
            f"sequences of {settings.seq_len} tokens; lower it or raise corpus.max_bytes"
        )
    return data


def calibrate(original: PreTrainedModel, *, base: Path, corpus: Path, plan: Plan) -> dict[str, torch.Tensor]:
    """Return the mean pair norms over the plan's calibration text."""
    return pair_norms(original, calibration_text(base=base, corpus=corpus, plan=plan).split(4), progress=True)


def pair_norms(model: PreTrainedModel, batches: Iterable[torch.Tensor], *, progress: bool = False) -> dict[str, torch.Tensor]:
    """Return mean pair norms {'q', 'k'}, each (layers, kv heads, d_h/2), over batches of ids (batch, tokens)."""
    config = model.config
    n_kv, n_h = config.num_key_value_heads, config.num_attention_heads
    d_h = getattr(config, "head_dim", None) or config.hidden_size // n_h
    shape = (config.num_hidden_layers, n_kv, d_h // 2)
    sums = {name: torch.zeros(shape, dtype=torch.float64, device=model.device) for name in "qk"}
    n_tokens = 0

    def reader(name: str, layer: int):
        def hook(_module, _inputs, output: torch.Tensor) -> None:
            halves = output.detach().float().unflatten(-1, (n_kv, -1, 2, d_h // 2))  # (batch, tokens, kv, group, 2, pairs)
            norms = halves.square().sum(dim=-2).sqrt().mean(dim=-2)
            sums[name][layer] += norms.sum(dim=(0, 1)).double()

        return hook

    hooks = []
    for i, block in enumerate(model.model.layers):
        hooks.append(block.self_attn.q_proj.register_forward_hook(reader("q", i)))
        hooks.append(block.self_attn.k_proj.register_forward_hook(reader("k", i)))
    try:
        with torch.no_grad():
            for ids in tqdm(list(batches), desc="calibrate", disable=None if progress else True):
                model.model(ids.to(model.device), use_cache=False)
                n_tokens += ids.numel()
    finally:
        for hook in hooks:
            hook.remove()
    if n_tokens == 0:
        raise GalleyError("calibration text is empty; give at least one sequence")
    return {name: (total / n_tokens).float().cpu() for name, total in sums.items()}


def pair_scores(norms: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the ranking scores (layers, kv heads, d_h/2): mean query norm times mean key norm."""
    return norms["q"] * norms["k"]


def save_norms(norms: dict[str, torch.Tensor], path: Path) -> None:
    """Write norms as safetensors, atomically."""
    with atomic_path(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in norms.items()}, part)


def load_norms(path: Path) -> dict[str, torch.Tensor]:
    """Read what `save_norms` wrote; GalleyError when it is not whole."""
    return load_tensors(path, "q", "k")
