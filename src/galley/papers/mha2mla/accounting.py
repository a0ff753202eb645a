"""What the conversion saves: cache elements, quantised savings and parameter counts.

arXiv:2502.14837, sections 2.3 and 4.1, Table 4. Per token and layer a GQA model caches 2 n_kv d_h elements,
the converted one n_kv (d_r + d_kv); Int4 multiplies what is kept by 4/16. The printed savings ignore
scales, zeros and the full-precision residual: `live_saving` has them, in a real cache's bytes (claim A6.live, ours).
"""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from galley.caches.quantized import make_quantized_cache
from galley.evaluate.cache_bytes import true_bytes
from galley.models.mla import MlaLlamaConfig, MlaLlamaForCausalLM
from galley.papers.mha2mla.partial_rope import select_pairs

# Table 4's models: hidden, ff, layers, heads, KV heads, vocabulary, whether embeddings are tied; the figure printed for each d_kv.
TABLE4 = {
    "SmolLM-135M": ((576, 1536, 30, 9, 3, 49152, True), {None: "134.52", 32: "130.99", 16: "129.64", 8: "128.97"}, "params_M"),
    "SmolLM-360M": ((960, 2560, 32, 15, 5, 49152, True), {None: "361.82", 32: "351.38", 16: "347.38", 8: "345.39"}, "params_M"),
    "SmolLM-1B7": ((2048, 8192, 24, 32, 32, 49152, True), {None: "1.71", 32: "1.67", 16: "1.59", 8: "1.56"}, "params_B"),
    "Llama2-7B": ((4096, 11008, 32, 32, 32, 32000, False), {None: "6.61", 64: "6.37", 32: "5.99", 16: "5.79"}, "params_B"),
}

Shape = dict[str, int]
SHAPES: dict[str, Shape] = {  # one layer of each family, at its own head sizes: what the cache holds per token does not depend on depth
    "SmolLM-135M": {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3},
    "SmolLM-360M": {"hidden_size": 960, "num_attention_heads": 15, "num_key_value_heads": 5},
    "SmolLM-1B7": {"hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 32},
    "Llama2-7B": {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32},
}
SMALL = {"num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 64, "tie_word_embeddings": True}  # what is not attention's


def one_layer(shape: Shape, *, d_kv: int) -> MlaLlamaForCausalLM:
    """Return one converted layer of a shape with random weights: what is cached does not depend on them."""
    d_h, n_kv = shape["hidden_size"] // shape["num_attention_heads"], shape["num_key_value_heads"]
    pairs = select_pairs("high", r=d_h // 16, d_h=d_h, n_kv=n_kv, n_layers=1).tolist()
    config = MlaLlamaConfig(**shape, **SMALL, max_position_embeddings=8192, rope_pairs=pairs, d_kv=d_kv)
    return MlaLlamaForCausalLM(config).eval()


def kept_fraction(*, d_h: int, d_r: int, d_kv: int) -> float:
    """Return (d_r + d_kv) / (2 d_h), the kept fraction of the cache."""
    return (d_r + d_kv) / (2 * d_h)


def counted_elements_per_token(model: PreTrainedModel, *, tokens: int = 5) -> float:
    """Return the elements per token that a real forward pass leaves in the cache, over all layers."""
    ids = torch.zeros(1, tokens, dtype=torch.long, device=model.device)
    with torch.no_grad():
        cache = model(ids, use_cache=True).past_key_values
    return sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers) / tokens


def int4_nominal_saving(*, d_h: int, d_r: int, d_kv: int, nbits: int = 4) -> float:
    """Return the paper's saving with `nbits` per element against 16: 1 - kept * nbits / 16."""
    return 1 - kept_fraction(d_h=d_h, d_r=d_r, d_kv=d_kv) * nbits / 16


def off_by_digits(value: float, printed: str) -> float:
    """Return how far a value is from a printed number, in units of its last digit: at most a half where it rounds to it."""
    decimals = len(printed.partition(".")[2])
    return round(abs(value - float(printed)) * 10**decimals, 6)  # what is binary in a decimal fraction is no distance


def live_saving(*, shape: Shape, d_kv: int, backend: str, n_tokens: int, residual: int, nbits: int = 4) -> dict[str, float]:
    """Return the saving of a live quantised latent cache against 16 bits, in bytes of its tensors: `all` of them, and the `codes` alone.

    One layer of the shape, with random weights, in bfloat16: it reads all but residual - 1 tokens, then those, which stay in 16 bits.
    """
    d_h, n_kv = shape["hidden_size"] // shape["num_attention_heads"], shape["num_key_value_heads"]
    model = one_layer(shape, d_kv=d_kv).to(torch.bfloat16)
    cache = make_quantized_cache(model, backend=backend, nbits=nbits, residual_length=residual)
    ids = torch.zeros(1, n_tokens, dtype=torch.long)
    with torch.no_grad():
        for part in ids.split([n_tokens - residual + 1, residual - 1], dim=1):
            model(part, past_key_values=cache, use_cache=True, logits_to_keep=1)
    full = n_tokens * 2 * n_kv * d_h * 2
    elements = n_tokens * n_kv * (model.config.d_kv + 2 * len(model.config.rope_pairs[0][0]))
    assert cache.get_seq_length() == n_tokens
    return {"all": 1 - true_bytes(cache) / full, "codes": 1 - elements * nbits / 8 / full}


def table4_counts() -> list[tuple[str, str, str, str, dict[str, float]]]:
    """Return model, method, metric, printed figure and counts of each of Table 4's 16 figures, counted on models built on the meta device.

    Of the counts `all` is every parameter; `as_printed` leaves out Llama2-7B's input embedding, without which its four figures come out;
    `split` are those of the split SVD's up-projections in the joint one's place (a control). d_r is d_h/8.
    """
    rows = []
    for name, (shape, printed, metric) in TABLE4.items():
        unit = 1e6 if metric == "params_M" else 1e9
        left_out = 0 if shape[-1] else shape[0] * shape[5]
        for d_kv, figure in printed.items():
            whole, split = count_parameters(shape, d_kv=d_kv), count_parameters(shape, d_kv=d_kv, svd="split")
            counts = {"all": whole / unit, "as_printed": (whole - left_out) / unit, "split": (split - left_out) / unit}
            rows.append((name, "base" if d_kv is None else f"d_kv={d_kv}", metric, figure, counts))
    return rows


def count_parameters(shape: tuple[int, int, int, int, int, int, bool], *, d_kv: int | None, svd: str = "joint") -> int:
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
            model = MlaLlamaForCausalLM(MlaLlamaConfig(**common, head_dim=d_h, rope_pairs=pairs.tolist(), d_kv=d_kv, svd=svd))
    return sum(p.numel() for p in model.parameters())
