"""What the conversion saves: cache elements, quantised savings and parameter counts.

arXiv:2502.14837, sections 2.3 and 4.1, Table 4. Per token and layer a GQA model caches 2 n_kv d_h elements,
the converted one n_kv (d_r + d_kv); Int4 multiplies what is kept by 4/16. The printed savings ignore
scales, zeros and the full-precision residual: `honest_saving` counts them (claim A6, ours).
"""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from galley.models.mla import MlaLlamaConfig, MlaLlamaForCausalLM
from galley.papers.mha2mla.partial_rope import select_pairs

# Table 4's models: hidden, ff, layers, heads, KV heads, vocabulary, whether embeddings are tied, d_kv column.
TABLE4 = {
    "SmolLM-135M": ((576, 1536, 30, 9, 3, 49152, True), (32, 16, 8), "params_M"),
    "SmolLM-360M": ((960, 2560, 32, 15, 5, 49152, True), (32, 16, 8), "params_M"),
    "SmolLM-1B7": ((2048, 8192, 24, 32, 32, 49152, True), (32, 16, 8), "params_B"),
    "Llama2-7B": ((4096, 11008, 32, 32, 32, 32000, False), (64, 32, 16), "params_B"),
}


def kept_fraction(*, d_h: int, d_r: int, d_kv: int) -> float:
    """Return (d_r + d_kv) / (2 d_h), the kept fraction of the cache."""
    return (d_r + d_kv) / (2 * d_h)


def counted_elements_per_token(model: PreTrainedModel, *, tokens: int = 5) -> float:
    """Return the elements per token that a real forward pass leaves in the cache, over all layers."""
    ids = torch.zeros(1, tokens, dtype=torch.long)
    with torch.no_grad():
        cache = model(ids, use_cache=True).past_key_values
    return sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers) / tokens


def int4_nominal_saving(*, d_h: int, d_r: int, d_kv: int, nbits: int = 4) -> float:
    """Return the paper's saving with `nbits` per element against 16: 1 - kept * nbits / 16."""
    return 1 - kept_fraction(d_h=d_h, d_r=d_r, d_kv=d_kv) * nbits / 16


def honest_saving(*, d_h: int, d_r: int, d_kv: int, group: int, residual: int, n_tokens: int, nbits: int = 4) -> float:
    """Return the saving with a bf16 scale and zero per group and `residual` tokens in 16 bits."""
    bits = nbits + 32 / group
    quantised = max(0, n_tokens - residual)
    kept_bits = kept_fraction(d_h=d_h, d_r=d_r, d_kv=d_kv) * (quantised * bits + (n_tokens - quantised) * 16)
    return 1 - kept_bits / (16 * n_tokens)


def table4_rows() -> list[dict]:
    """Return the 16 parameter counts of Table 4, counted on models built on the meta device.

    d_r is d_h/8; Llama2-7B leaves out its input embedding, which reproduces the printed digits.
    """
    rows = []
    for name, (shape, widths, metric) in TABLE4.items():
        unit = 1e6 if metric == "params_M" else 1e9
        for d_kv in (None, *widths):
            count = count_parameters(shape, d_kv=d_kv)
            if name == "Llama2-7B":
                count -= shape[0] * shape[5]
            method = "base" if d_kv is None else f"d_kv={d_kv}"
            rows.append(
                {
                    "model": name,
                    "method": method,
                    "setting": "",
                    "metric": metric,
                    "unit": metric[-1],
                    "score": count / unit,
                }
            )
    return rows


def count_parameters(shape: tuple[int, int, int, int, int, int, bool], *, d_kv: int | None) -> int:
    """Return the parameters of a model of this shape, converted to width d_kv or not (None)."""
    d, d_ff, layers, n_h, n_kv, vocab, tied = shape
    common = {
        "hidden_size": d, "intermediate_size": d_ff, "num_hidden_layers": layers, "num_attention_heads": n_h,
        "num_key_value_heads": n_kv, "vocab_size": vocab, "tie_word_embeddings": tied,
    }  # fmt: skip
    d_h = d // n_h
    pairs = select_pairs("high", r=d_h // 16, d_h=d_h, n_kv=n_kv, n_layers=layers)
    with torch.device("meta"):
        if d_kv is None:
            model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**common))
        else:
            model = MlaLlamaForCausalLM(MlaLlamaConfig(**common, head_dim=d_h, rope_pairs=pairs.tolist(), d_kv=d_kv))
    return sum(p.numel() for p in model.parameters())
