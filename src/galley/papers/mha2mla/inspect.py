"""The exact claims A1 to A6, checked on real tensors: caches counted, parameters built, logits compared.

arXiv:2502.14837, sections 2 and 4.1 and Table 4. Each number is one row; the claims file says
what it must equal. Every claim has a control, a broken variant that must fail it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model
from galley.models.mla import MlaLlamaConfig, MlaLlamaForCausalLM
from galley.papers.mha2mla import accounting, audits
from galley.papers.mha2mla.calibration import calibrate, save_norms
from galley.papers.mha2mla.convert import convert_mla
from galley.papers.mha2mla.low_rank import joint_minus_split_errors
from galley.papers.mha2mla.partial_rope import select_pairs
from galley.papers.mha2mla.plan import Plan
from galley.stage import Job
from galley.tables.ledger import leave

WHOLE_LIMIT = 2**30  # parameters above which the float64 check takes the first layers only
FIRST_LAYERS = 4
SHAPES = {  # one layer of each family, at its own head sizes: what the cache holds per token does not depend on depth
    "SmolLM-135M": {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3},
    "SmolLM-360M": {"hidden_size": 960, "num_attention_heads": 15, "num_key_value_heads": 5},
    "SmolLM-1B7": {"hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 32},
    "Llama2-7B": {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32},
}


def inspect_base(job: Job, *, base: Path, corpus: Path, device: str) -> None:
    """Write norms.safetensors, inspect.items.parquet and inspect.runs.csv of one base model."""
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    original = load_model(base, dtype=torch.float32, device=where)
    save_norms(calibrate(original, base=base, corpus=corpus, plan=job.plan), job.out / "norms.safetensors")
    rows = [*cache_rows(), *saving_rows(), *parameter_rows()]
    rows += [*logit_rows(original), *factorisation_rows(original, plan=job.plan), *attention_rows(original, plan=job.plan)]
    leave(job, rows, backend="torch", device=device_name(where))


def cache_rows() -> list[dict]:
    """A1: the kept fraction of the cache, counted on the tensors that a forward pass left in it."""
    rows = []
    for model, shape in SHAPES.items():
        d_h, n_kv = shape["hidden_size"] // shape["num_attention_heads"], shape["num_key_value_heads"]
        common = dict(**shape, num_hidden_layers=1, intermediate_size=64, vocab_size=64, tie_word_embeddings=True)
        full = accounting.counted_elements_per_token(LlamaForCausalLM(LlamaConfig(**common)).eval())
        pairs = select_pairs("high", r=d_h // 16, d_h=d_h, n_kv=n_kv, n_layers=1).tolist()
        for d_kv in (d_h // 2, d_h // 4, d_h // 8):
            # The weights do not matter for what is cached, so none are decomposed here.
            converted = MlaLlamaForCausalLM(MlaLlamaConfig(**common, rope_pairs=pairs, d_kv=d_kv)).eval()
            kept = accounting.counted_elements_per_token(converted) / full
            row = {
                "model": model,
                "benchmark": "cache",
                "metric": "kept_fraction",
                "unit": "fraction",
                "setting": f"d_kv={d_kv}",
            }
            rows.append({**row, "method": "2-norm+joint", "score": kept})
            leaky = accounting.counted_elements_per_token(audits.cache_full_heads(converted)) / full
            rows.append({**row, "method": "control:full_cache", "score": leaky})
    return rows


def saving_rows() -> list[dict]:
    """A6: the printed savings with Int4, beside honest ones with scales, zeros and the residual window."""
    rows = []
    for d_kv in (64, 32, 16):
        row = {
            "model": "Llama2-7B",
            "method": "2-norm+joint",
            "benchmark": "cache",
            "unit": "fraction",
            "setting": f"d_kv={d_kv},int4",
        }
        nominal = accounting.int4_nominal_saving(d_h=128, d_r=16, d_kv=d_kv)
        true = accounting.honest_saving(d_h=128, d_r=16, d_kv=d_kv, group=64, residual=128, n_tokens=4096)
        rows.append({**row, "metric": "nominal_saving", "score": nominal})
        rows.append({**row, "metric": "true_saving", "score": true})
    return rows


def parameter_rows() -> list[dict]:
    """A2: the parameter counts of Table 4, from models built on the meta device."""
    return [{"benchmark": "params", **row} for row in accounting.table4_rows()]


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def _probe(model: PreTrainedModel, *, tokens: int = 48) -> torch.Tensor:
    return torch.randint(0, model.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(0)).to(model.device)


def logit_rows(original: PreTrainedModel) -> list[dict]:
    """A3: with every pair kept and full rank the logits are the original's; two wrong masks must not be."""
    ids = _probe(original)
    reference = _logits(original, ids)
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    full = {"strategy": "high", "r": d_h // 2}
    rows = []

    def add(method: str, setting: str, model: PreTrainedModel) -> None:
        gap = float((_logits(model, ids) - reference).abs().max())
        rows.append({"method": method, "setting": setting, "benchmark": "logits", "metric": "max_abs_diff", "score": gap})

    add("identity", "all_pairs", convert_mla(original, **full, d_kv=None))
    add("identity", "full_rank", convert_mla(original, **full, d_kv=2 * d_h))
    add("identity", "full_rank_gqa2mha", convert_mla(original, **full, d_kv=2 * d_h, expand_gqa=True))
    for setting in ("all_pairs", "full_rank", "full_rank_gqa2mha"):
        d_kv = None if setting == "all_pairs" else 2 * d_h
        expand = setting.endswith("gqa2mha")
        add(
            "control:contiguous_dims",
            setting,
            audits.contiguous_dims(convert_mla(original, **full, d_kv=d_kv, expand_gqa=expand)),
        )
        add(
            "control:wrong_theta",
            setting,
            audits.wrong_theta(convert_mla(original, **full, d_kv=d_kv, expand_gqa=expand)),
        )
    return rows


def factorisation_rows(original: PreTrainedModel, *, plan: Plan) -> list[dict]:
    """A4: per layer, the joint SVD's squared error minus the split's, at an equal cache and at the audit's double one."""
    errors = joint_minus_split_errors(original, rope_fraction=plan.rope_fraction, d_kv_fraction=0.25)
    row = {"benchmark": "factorisation", "metric": "joint_minus_split_error", "unit": "relative squared error"}
    rows = []
    for layer, (equal, double) in enumerate(errors):
        rows.append({**row, "method": "joint_vs_split", "item_id": str(layer), "score": equal})
        rows.append({**row, "method": "control:double_cache_split", "item_id": str(layer), "score": double})
    return rows


def attention_rows(original: PreTrainedModel, *, plan: Plan) -> list[dict]:
    """A5: absorbed equals expanded attention and decoding token by token equals prefill, for each strategy.

    In float64 (but for the norms, which transformers computes in float32): a converted model that is not yet trained amplifies float32
    rounding over 30 layers to 6e-3 in logits of size 30, which would hide a real fault of that size.
    """
    original = float64_copy(original)
    ids = _probe(original, tokens=12)
    config = original.config
    d_h = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    r = max(1, round(plan.rope_fraction * d_h))
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(config.num_hidden_layers, config.num_key_value_heads, d_h // 2, generator=generator)
    rows = []
    for strategy in ("high", "low", "uniform", "2-norm"):
        model = convert_mla(original, strategy=strategy, r=r, d_kv=d_h // 4, scores=scores)
        expanded = _forced(model, ids, how="expanded")
        variants = {
            (strategy, "absorbed_vs_expanded"): _forced(model, ids, how="absorbed"),
            (strategy, "stepwise_vs_prefill"): _stepwise(model, ids),
        }
        if strategy == "2-norm":
            wrong = audits.latent_scale(model)
            variants["control:latent_scale", "absorbed_vs_expanded"] = _forced(wrong, ids, how="absorbed")
            variants["control:latent_scale", "stepwise_vs_prefill"] = _stepwise(wrong, ids)
        for (method, setting), logits in variants.items():
            gap = float((logits - expanded).abs().max())
            rows.append({"method": method, "setting": setting, "benchmark": "attention", "metric": "max_abs_diff", "score": gap})
        del model  # the next is made beside the original alone
    return rows


def float64_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy in float64; of a big model its first layers only, since the check holds layer by layer and copies must fit."""
    layers = model.model.layers
    if sum(p.numel() for p in model.parameters()) <= WHOLE_LIMIT:
        return copy.deepcopy(model).double()
    model.model.layers = layers[:FIRST_LAYERS]
    try:
        shorter = copy.deepcopy(model)
    finally:
        model.model.layers = layers
    shorter.config.num_hidden_layers = len(shorter.model.layers)
    return shorter.double()


def _forced(model: PreTrainedModel, ids: torch.Tensor, *, how: str) -> torch.Tensor:
    before, model.config.attn_impl = model.config.attn_impl, how
    try:
        return _logits(model, ids)
    finally:
        model.config.attn_impl = before


def _stepwise(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    cache, out = None, []
    with torch.no_grad():
        for t in range(ids.shape[1]):
            step = model(ids[:, t : t + 1], past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            out.append(step.logits)
    return torch.cat(out, dim=1)
