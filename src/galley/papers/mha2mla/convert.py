"""The conversion: move a Llama-type model's weights into the MLA layout.

arXiv:2502.14837, sections 2.1 and 2.2. Everything but attention is taken over unchanged; q rows are
reordered per head to [kept rotary rows | the rest], key rows are split alike, and the un-rotated key
rows with the value rows are factored to the latent (or kept whole when d_kv is None).
Deviations: none in the mathematics; the authors patch forward functions, here it is a model class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError, atomic_dir, manifest, write_json
from galley.models.mla import MlaAttention, MlaLlamaConfig, MlaLlamaForCausalLM
from galley.papers.mha2mla.low_rank import factor
from galley.papers.mha2mla.partial_rope import head_rows, select_pairs

CONVERTIBLE = ("llama", "qwen2", "mistral")
COPIED = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
    "rope_parameters",
    "attention_dropout",
]


def check_convertible(config: PreTrainedConfig, *, positions: int | None = None) -> None:
    """Refuse, with the reason, a configuration whose attention cannot be converted exactly for so many positions (default: its own)."""
    kind = config.model_type
    if kind == "mha2mla_llama":
        raise GalleyError("model is already an MHA2MLA model; give the original")
    if kind.startswith(("qwen3", "gemma3", "olmo2")):
        raise GalleyError(
            f"model type is {kind!r}, which normalises queries and keys (QK-norm) after their projection: the norm "
            "depends on the whole key, so the up-projection cannot be absorbed; give a model without QK-norm"
        )
    if kind not in CONVERTIBLE:
        raise GalleyError(f"model type is {kind!r}; convertible: {', '.join(CONVERTIBLE)}")
    if getattr(config, "quantization_config", None) is not None:
        raise GalleyError(
            "model is quantised (quantization_config in its config.json), and its rows must be moved; give the unquantised model"
        )
    n_h, n_kv, longest = config.num_attention_heads, config.num_key_value_heads, config.max_position_embeddings
    if n_h % n_kv:
        raise GalleyError(
            f"model has {n_h} query heads, which its {n_kv} KV heads do not divide; correct num_key_value_heads in config.json"
        )
    if positions is not None and not 2 <= positions <= longest:
        raise GalleyError(f"--positions is {positions}; it takes 2 to {longest}, what the model has (max_position_embeddings)")
    window, wanted = window_of(config), positions or longest
    for name, least in (("max_position_embeddings", longest), ("sliding_window", window)):
        if least is not None and least < 2:
            raise GalleyError(f"{name} in config.json is {least}, so no token has one before it; give a model that sees 2 or more")
    if window is not None and window < wanted:
        raise GalleyError(
            f"model sees the last {window} tokens only (sliding_window in its config.json), and {wanted} positions are asked for: a latent "
            f"cache keeps no window. Up to {window} positions full attention is the same: convert it for those with --positions {window}"
        )
    rope = config.rope_parameters or {}
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3"):
        raise GalleyError(
            f"rope_type is {rope['rope_type']!r}, which turns by the length of the text, or scales the scores too; "
            "convertible: default, linear, llama3"
        )
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise GalleyError(f"partial_rotary_factor is {rope['partial_rotary_factor']}: some pairs of a head have no rotation to keep; "
                          "give a model that rotates whole heads")  # fmt: skip


def head_size(config: PreTrainedConfig) -> int:
    """Return d_h, which a configuration names or implies."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def window_of(config: PreTrainedConfig) -> int | None:
    """Return the sliding window that some layer attends in, None where all see everything."""
    if not getattr(config, "use_sliding_window", config.model_type == "mistral"):
        return None
    layers = getattr(config, "layer_types", None)
    return None if layers and "sliding_attention" not in layers else getattr(config, "sliding_window", None)


def convert_mla(
    model: PreTrainedModel,
    *,
    strategy: str,
    r: int,
    d_kv: int | None,
    svd: str = "joint",
    balance: str = "balanced",
    scores: torch.Tensor | None = None,
    expand_gqa: bool = False,
    positions: int | None = None,
) -> MlaLlamaForCausalLM:
    """Return the converted model, in the dtype of `model`, in eval mode; `model` is left as it was.

    `r` rotary pairs a head keep their rotation; `d_kv` is the latent's width per KV head, None for
    partial RoPE only; `expand_gqa` repeats KV heads to MHA first; `positions` is the longest context that the
    converted model is for (default: the model's). GalleyError when it cannot be done.
    """
    config = model.config
    check_convertible(config, positions=positions)
    d_h = head_size(config)
    repeat = config.num_attention_heads // config.num_key_value_heads if expand_gqa else 1
    n_kv = config.num_key_value_heads * repeat
    if d_kv is not None and d_kv < 1:
        raise GalleyError(f"d_kv is {d_kv}; it must be at least 1, or omitted for partial RoPE only")
    if scores is not None and repeat > 1:
        scores = scores.repeat_interleave(repeat, dim=1)
    pairs = select_pairs(strategy, r=r, d_h=d_h, n_kv=n_kv, n_layers=config.num_hidden_layers, scores=scores)
    mla_config = config_of(model, pairs=pairs, d_kv=d_kv, svd=svd, positions=positions)
    with torch.device("meta"):
        converted = MlaLlamaForCausalLM(mla_config)
    converted = converted.to(model.dtype).to_empty(device=model.device)
    kept = {name: tensor for name, tensor in model.state_dict().items() if ".self_attn." not in name}
    missing, unexpected = converted.load_state_dict(kept, strict=False)
    stray = [name for name in missing if ".self_attn." not in name] + list(unexpected)
    if stray:
        raise GalleyError(f"model has weights that a Llama does not: {', '.join(stray[:3])}; it cannot be converted")
    # Buffers are not in the state dict: RoPE's frequencies are taken from the original.
    converted.model.rotary_emb = type(converted.model.rotary_emb)(config=mla_config).to(model.device)
    with torch.no_grad():
        for i, layer in enumerate(converted.model.layers):
            _fill(layer.self_attn, model.model.layers[i].self_attn, pairs=pairs[i], repeat=repeat, balance=balance)
    converted.tie_weights()
    converted.generation_config = model.generation_config
    return converted.eval()


def config_of(model: PreTrainedModel, *, pairs: torch.Tensor, d_kv: int | None, svd: str, positions: int | None = None) -> MlaLlamaConfig:
    """Return the converted model's configuration: the original's, with the kept pairs (layers, kv heads, r) and the latent's width."""
    config, attention = model.config, model.model.layers[0].self_attn
    copied = {name: getattr(config, name) for name in COPIED if hasattr(config, name)}
    changed = {"num_key_value_heads": pairs.shape[1], "head_dim": head_size(config)}
    made = MlaLlamaConfig(
        **(copied | changed | ({"max_position_embeddings": positions} if positions else {})),
        attention_bias=attention.o_proj.bias is not None,
        mlp_bias=bool(getattr(config, "mlp_bias", False)),
        qkv_bias=attention.q_proj.bias is not None,
        rope_pairs=pairs.tolist(),
        d_kv=d_kv,
        svd=svd,
    )
    made._attn_implementation = config._attn_implementation
    return made


def _fill(new: MlaAttention, old: Any, *, pairs: torch.Tensor, repeat: int, balance: str) -> None:
    """Fill one layer's projections from the original's rows."""
    d_h, n_kv, config = new.head_dim, new.n_kv, new.config
    rows = [head_rows(pairs[j], d_h) for j in range(n_kv)]

    def heads(linear: torch.nn.Linear, *, times: int = 1) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight = linear.weight.unflatten(0, (-1, d_h)).repeat_interleave(times, dim=0)
        bias = None if linear.bias is None else linear.bias.unflatten(0, (-1, d_h)).repeat_interleave(times, dim=0)
        return weight, bias

    def put(linear: torch.nn.Linear, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        linear.weight.copy_(weight)
        if linear.bias is not None and bias is not None:
            linear.bias.copy_(bias)

    def take(x: torch.Tensor | None, which: int) -> torch.Tensor | None:
        return None if x is None else torch.cat([x[j, rows[j][which]] for j in range(n_kv)])

    w_q, b_q = heads(old.q_proj)
    order = [torch.cat(rows[h // new.num_key_value_groups]) for h in range(new.n_h)]
    put(
        new.q_proj,
        torch.cat([w_q[h, order[h]] for h in range(new.n_h)]),
        None if b_q is None else torch.cat([b_q[h, order[h]] for h in range(new.n_h)]),
    )
    w_k, b_k = heads(old.k_proj, times=repeat)
    w_v, b_v = heads(old.v_proj, times=repeat)
    k_nope, v = take(w_k, 1), w_v.flatten(0, 1)
    v_bias = None if b_v is None else b_v.flatten()
    assert k_nope is not None
    put(new.k_r_proj, take(w_k, 0), take(b_k, 0))  # type: ignore[arg-type]
    if config.latent_rank:
        parts = factor(k_nope.float(), v.float(), rank=config.latent_rank, method=config.svd, balance=balance)
        new.kv_down.weight.copy_(parts.down)
        put(new.k_up, parts.up_k, take(b_k, 1))
        put(new.v_up, parts.up_v, v_bias)
    else:
        put(new.k_nope_proj, k_nope, take(b_k, 1))
        put(new.v_proj, v, v_bias)
    put(new.o_proj, old.o_proj.weight, old.o_proj.bias)


def save_converted(
    model: MlaLlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    source: Path,
    settings: dict[str, Any],
    found: dict[str, Any] | None = None,
) -> None:
    """Write a Hugging Face directory, atomically, with a manifest: the settings, the digest of the source model, what was `found`."""
    facts = manifest(stage="convert-mla", config=settings, inputs={"model": source}) | (found or {})
    with atomic_dir(out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        write_json(part / "manifest.json", facts)
