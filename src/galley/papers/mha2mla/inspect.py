"""What needs the base model alone, or none: caches counted, parameters built, logits compared, factors tried before any training.

arXiv:2502.14837, sections 2 and 4.1 and Tables 2 and 4. Each number is one row; the claims file says
what it must equal. Every claim has a control, a broken variant that must fail it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model
from galley.papers.mha2mla import accounting, audits
from galley.papers.mha2mla.calibration import calibration_text, pair_norms, pair_scores, save_norms
from galley.papers.mha2mla.convert import convert_mla, head_size
from galley.papers.mha2mla.low_rank import joint_minus_split_errors
from galley.papers.mha2mla.plan import Plan
from galley.stage import Job
from galley.tables.items import Rows, scored
from galley.tables.ledger import leave

WHOLE_LIMIT = 2**30  # parameters above which the float64 check takes the first layers only
FIRST_LAYERS = 4
ACTIVATIONS = (32, 256)  # sequences and tokens at most on which the factors are tried
INT4 = {64: "92.19", 32: "95.31", 16: "96.87"}  # per cent saved, Table 2, by d_kv of Llama2-7B
KEPT = {2: "31.25", 4: "18.75", 8: "12.50"}  # per cent kept, by d_h / d_kv: Table 1's savings of 68.75, 81.25 and 87.50
CONTEXT, RESIDUAL = 4096, 128  # tokens: Llama2-7B's, and the window that quantised caches keep in 16 bits
BUDGETS = {  # billions of tokens: sequences x steps x length of the paper's appendix, the printed total
    "SmolLM-135M": (64 * 18000 * 2048 / 1e9, "2.25"),
    "SmolLM-360M": (64 * 18000 * 2048 / 1e9, "2.25"),
    "SmolLM-1B7": (256 * 12000 * 2048 / 1e9, "6"),
    "Llama2-7B": (256 * 12000 * 4096 / 1e9, "6"),
}


def inspect_base(job: Job, *, base: Path, corpus: Path, device: str) -> None:
    """Write norms.safetensors, inspect.items.parquet and inspect.runs.csv of one base model."""
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    original = load_model(base, dtype=torch.float32, device=where)
    text = calibration_text(base=base, corpus=corpus, plan=job.plan)
    norms = pair_norms(original, text.split(4), progress=True)
    save_norms(norms, job.out / "norms.safetensors")
    scores = pair_scores(norms)
    rows = [*cache_rows(original, scores=scores), *saving_rows(), *parameter_rows(), *budget_rows()]
    rows += [*logit_rows(original), *factorisation_rows(original, plan=job.plan)]
    sequences, tokens = ACTIVATIONS
    rows += activation_rows(original, text[:sequences, :tokens], scores=scores, plan=job.plan)
    rows += attention_rows(original, plan=job.plan)
    leave(job, rows, backend="torch", device=device_name(where))


def cache_rows(original: PreTrainedModel, *, scores: torch.Tensor) -> Rows:
    """A1: the kept fraction of the cache, counted on the tensors that a forward pass leaves in it, against what the paper prints.

    Of the base model converted in full (2-norm pairs, joint SVD), and of one layer of each of the paper's models, at its own head size.
    """
    rows: Rows = []

    def add(model: str, d_h: int, d_kv: int, converted: PreTrainedModel, full: float) -> None:
        about = {"setting": f"d_kv={d_kv}", **({"model": model} if model else {})}
        for method in ("2-norm+joint", "control:full_cache"):
            one = converted if method == "2-norm+joint" else audits.cache_full_heads(converted)
            kept = accounting.counted_elements_per_token(one) / full
            off = accounting.off_by_digits(100 * kept, KEPT[d_h // d_kv])
            rows.append(scored(method, "cache", "kept_fraction", kept, **about))
            rows.append(scored(method, "cache", "off_by_digits", off, **about))

    for model, shape in accounting.SHAPES.items():
        d_h = shape["hidden_size"] // shape["num_attention_heads"]
        full = accounting.counted_elements_per_token(LlamaForCausalLM(LlamaConfig(**shape, **accounting.SMALL)).eval())
        for part in KEPT:
            add(model, d_h, d_h // part, accounting.one_layer(shape, d_kv=d_h // part), full)
    d_h, full = head_size(original.config), accounting.counted_elements_per_token(original)
    for part in KEPT:
        add("", d_h, d_h // part, convert_mla(original, strategy="2-norm", r=d_h // 16, d_kv=d_h // part, scores=scores), full)
    return rows


def saving_rows() -> Rows:
    """A6: the printed savings with Int4 against 4 bits an element, and the bytes of a live Int4 cache."""
    rows: Rows = []
    for d_kv, printed in INT4.items():
        about = {"model": "Llama2-7B", "setting": f"d_kv={d_kv},int4"}
        nominal = accounting.int4_nominal_saving(d_h=128, d_r=16, d_kv=d_kv)
        no_latent = accounting.int4_nominal_saving(d_h=128, d_r=128, d_kv=128)
        rows.append(scored("2-norm+joint", "cache", "nominal_saving", nominal, **about))
        rows.append(scored("2-norm+joint", "int4_cache", "off_by_digits", accounting.off_by_digits(100 * nominal, printed), **about))
        rows.append(scored("control:no_latent", "int4_cache", "off_by_digits", accounting.off_by_digits(100 * no_latent, printed), **about))
    shape = accounting.SHAPES["Llama2-7B"]
    live = accounting.live_saving(shape=shape, d_kv=64, backend="quanto", n_tokens=CONTEXT, residual=RESIDUAL)
    about = {"model": "Llama2-7B", "setting": "d_kv=64,int4"}
    rows.append(scored("2-norm+joint", "live_cache", "true_saving", live["all"], **about))
    rows.append(scored("control:codes_alone", "live_cache", "true_saving", live["codes"], **about))
    return rows


def parameter_rows() -> Rows:
    """A2: the parameter counts of Table 4, from models built on the meta device, and how far they are from the printed ones."""
    rows: Rows = []
    for model, method, metric, printed, counts in accounting.table4_counts():
        rows.append(scored(method, "params", metric, counts["as_printed"], model=model))
        for how, count in counts.items():
            off = accounting.off_by_digits(count, printed)
            rows.append(scored(f"control:{how}" if how == "split" else how, "table4", "off_by_digits", off, model=model, setting=method))
    return rows


def budget_rows() -> Rows:
    """A7: the fine-tuning tokens of the paper's own batch, steps and length over the printed total."""
    rows: Rows = []
    for model, (tokens, printed) in BUDGETS.items():
        rows.append(scored("appendix", "budget", "over_printed", tokens / float(printed), model=model))
        # A step of half the length, which the printed total of the 7B model would follow from
        rows.append(scored("control:half_length", "budget", "over_printed", tokens / 2 / float(printed), model=model))
    return rows


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def _probe(model: PreTrainedModel, *, tokens: int = 48) -> torch.Tensor:
    return torch.randint(0, model.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(0)).to(model.device)


def logit_rows(original: PreTrainedModel) -> Rows:
    """A3: with every pair kept and full rank the logits are the original's; two wrong masks must not be."""
    ids = _probe(original)
    reference = _logits(original, ids)
    d_h = head_size(original.config)
    breaks = {"": lambda m: m, "control:contiguous_dims": audits.contiguous_dims, "control:wrong_theta": audits.wrong_theta}
    kept: dict[tuple[str, str], dict[str, Any]] = {
        ("all_pairs", ""): {"d_kv": None},
        ("full_rank", "gqa"): {"d_kv": 2 * d_h},
        ("full_rank", "gqa2mha"): {"d_kv": 2 * d_h, "expand_gqa": True},
    }
    rows: Rows = []
    for (what, setting), how in kept.items():
        for name, broken in breaks.items():
            model = broken(convert_mla(original, strategy="high", r=d_h // 2, **how))
            gap = float((_logits(model, ids) - reference).abs().max())
            rows.append(scored(name or "identity", what, "max_abs_diff", gap, setting=setting))
    return rows


def factorisation_rows(original: PreTrainedModel, *, plan: Plan) -> Rows:
    """A4: per layer, the joint SVD's squared error minus the split's, at an equal cache and at the audit's double one."""
    rows: Rows = []
    for layer, (equal, double) in enumerate(joint_minus_split_errors(original, rope_fraction=plan.rope_fraction, d_kv_fraction=0.25)):
        for method, value in (("joint_vs_split", equal), ("control:double_cache_split", double)):
            rows.append(scored(method, "factorisation", "joint_minus_split_error", value, item_id=str(layer)))
    return rows


def activation_rows(original: PreTrainedModel, text: torch.Tensor, *, scores: torch.Tensor, plan: Plan) -> Rows:
    """A4: how far each factorisation's keys and values are from the original's on real activations, before any training.

    Squared error over the squared size, mean over layers, an item a sequence of text: of un-rotated keys and values together
    (`activations`), and of the values alone (`values`).
    """
    d_h = head_size(original.config)
    kept: dict[str, Any] = {"strategy": "2-norm", "r": max(1, round(plan.rope_fraction * d_h)), "scores": scores}
    made = {svd: convert_mla(original, **kept, d_kv=d_h // 4, svd=svd) for svd in ("joint", "split")}
    variants = {
        "2-norm+joint": made["joint"],
        "2-norm+split": made["split"],
        "control:random_basis": audits.random_basis(copy.deepcopy(made["joint"]), seed=0),
        "control:swapped_halves": audits.swapped_halves(copy.deepcopy(made["split"])),
    }
    whole = convert_mla(original, **kept, d_kv=None)
    parts = text.split(4)
    errors: dict[str, list[torch.Tensor]] = {name: [] for name in variants}
    for part in parts:
        inputs = _attention_inputs(original, part.to(original.device))
        for name, model in variants.items():
            errors[name].append(torch.stack([_relative_errors(model, whole, i, x) for i, x in enumerate(inputs)]).mean(dim=0))
    rows: Rows = []
    for name, per_part in errors.items():
        for item, (both, values) in enumerate(torch.cat(per_part, dim=1).T.tolist()):
            about = {"setting": "d_kv=16,start", "item_id": str(item), "trained": name == "control:random_basis"}
            rows.append(scored(name, "activations", "rebuild_error", both, **about))
            rows.append(scored(name, "values", "rebuild_error", values, **about))
    return rows


def _attention_inputs(model: PreTrainedModel, ids: torch.Tensor) -> list[torch.Tensor]:
    """Return what each layer's key projection reads, (sequences, tokens, d)."""
    found: list[torch.Tensor] = []
    hooks = [layer.self_attn.k_proj.register_forward_pre_hook(lambda _m, args: found.append(args[0])) for layer in model.model.layers]
    try:
        with torch.no_grad():
            model.model(ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _relative_errors(model: PreTrainedModel, whole: PreTrainedModel, layer: int, x: torch.Tensor) -> torch.Tensor:
    """Return one layer's errors of keys and values together and of values, (2, sequences)."""
    ours, theirs = model.model.layers[layer].self_attn, whole.model.layers[layer].self_attn
    with torch.no_grad():
        c_k, c_v = ours._parts(ours.kv_down(x))
        pairs = ((ours.k_up(c_k), theirs.k_nope_proj(x)), (ours.v_up(c_v), theirs.v_proj(x)))
        k, v = ((a - b).square().sum(dim=(1, 2)) for a, b in pairs)
        k_size, v_size = (b.square().sum(dim=(1, 2)) for _, b in pairs)
    return torch.stack([(k + v) / (k_size + v_size), v / v_size])


def attention_rows(original: PreTrainedModel, *, plan: Plan) -> Rows:
    """A5: absorbed equals expanded attention and decoding token by token equals prefill, for each strategy and factorisation.

    In float64 (but for the norms, which transformers computes in float32): a converted model that is not yet trained amplifies float32
    rounding over 30 layers to 6e-3 in logits of size 30, which would hide a real fault of that size.
    """
    original = float64_copy(original)
    ids = _probe(original, tokens=12)
    config = original.config
    d_h = head_size(config)
    r = max(1, round(plan.rope_fraction * d_h))
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(config.num_hidden_layers, config.num_key_value_heads, d_h // 2, generator=generator)
    rows: Rows = []
    for strategy, svd in (("high", "joint"), ("low", "joint"), ("uniform", "joint"), ("2-norm", "joint"), ("2-norm", "split")):
        model = convert_mla(original, strategy=strategy, r=r, d_kv=d_h // 4, svd=svd, scores=scores)
        expanded = _forced(model, ids, how="expanded")
        for method in ("absorbed", "control:latent_scale"):
            if method.startswith("control:"):
                audits.latent_scale(model)
            checks = {"absorbed_vs_expanded": _forced(model, ids, how="absorbed"), "stepwise_vs_prefill": _stepwise(model, ids)}
            for check, logits in checks.items():
                gap = float((logits - expanded).abs().max())
                rows.append(scored(method, "attention", "max_abs_diff", gap, setting=f"{strategy}+{svd},{check}"))
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
