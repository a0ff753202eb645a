"""The claims that need one prompt and no scoring: E1 to E5 on real keys and values or on shapes (D1 to D3 are in measures.py).

arXiv:2506.11886, section 3. Each number is one row; the claims file says what it must be. Every claim has a control, a broken variant that
must fail it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from galley.artifact import atomic_path
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.fourier import Fourier, FourierCache, FourierLayer, synthesis_weights, transform
from galley.caches.prefill import Prefill, prefill
from galley.kernels.flash_fourier import cost
from galley.kernels.flash_fourier.reference import rebuild, reference, spectral
from galley.kernels.flash_fourier.step import FourierStep, basis
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model
from galley.papers.fourier_attention.measures import basis_rows, selection_rows, spread_rows
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.selection import calibrate, calibration_prompts, choose_channels, compressed_shares
from galley.stage import Job
from galley.tables.ledger import leave

LLAMA_8B = {"n_h": 32, "n_kv": 8, "d_h": 128}
ENDS, LOCAL, REALS = 1024, 1020, 1024  # the authors' 4 + 1,020 whole tokens and 512 orders
LIVE = 16384  # tokens up to which the cache is filled, not only counted
STEPS = 6  # tokens fed after the prompt where logits are compared


def inspect_base(job: Job, *, base: Path, corpus: Path, device: str) -> None:
    """Write errors.safetensors (the calibrated channels), inspect.items.parquet and inspect.runs.csv."""
    plan = job.plan
    where = resolve_device(device, model=job.model, gpus=job.spec.gpus)
    model = load_model(base, dtype=getattr(torch, job.spec.dtype), device=where)
    prompts = calibration_prompts(model, base=base, corpus=corpus, plan=plan)
    errors = calibrate(model, prompts, plan=plan)
    with atomic_path(job.out / "errors.safetensors") as part:
        save_file(errors, part)
    prompt = prompts[0]
    rows = [
        *push_rows(prompt),
        *projection_rows(),
        *step_rows(model, prompt, errors=errors, plan=plan),
        *shape_rows(),
        *basis_rows(prompt, plan=plan),
        *spread_rows(prompts, plan=plan),
        *selection_rows(prompts, plan=plan),
        *logit_rows(model.double(), prompt),  # last: the model is turned to float64
    ]
    leave(job, rows, backend="torch", device=device_name(where))


def push_rows(prompt: Prefill) -> list[dict]:
    """E1: coefficients of tokens pushed one by one against F X, relative to the largest one; the authors' two slips beside it."""
    keys, values = prompt.keys[0], prompt.values[0]
    every = torch.arange(keys.shape[1] * keys.shape[3])
    sinks, local, first = 4, 8, 60
    rows = []
    # A window of 93 tokens is one of those whose int(1 / (1 / 93)) is 92.
    for method, audits in (("pushed", ()), ("control:off_by_one", ("off_by_one",)), ("control:int_period", ("int_period",))):
        by = Fourier(sinks, local, 16, "official", 93 - first, frozenset(audits))
        layer = FourierLayer(by=by, k_channels=every, v_channels=every, hold=False)
        n = sinks + first + local
        layer.update(keys[..., :n, :], values[..., :n, :])
        for t in range(n, n + 30):
            layer.update(keys[..., t : t + 1, :], values[..., t : t + 1, :])
        assert layer.middle is not None
        whole = transform(keys[..., sinks : sinks + first + 30, :].transpose(1, 2).flatten(2), orders=16, period=93)
        gap = (layer.middle[0].state - whole).abs().max() / whole.abs().max()
        rows.append({"method": method, "benchmark": "coefficients", "metric": "max_rel_diff", "score": float(gap)})
    return rows


def projection_rows() -> list[dict]:
    """E2: what a round trip with the printed weights 1/k, and with ours, does to a harmonic and to a constant; whether it projects.

    Gains are multiples of T/(2k) and T/k, of either round trip alike: the printed one's are 1, the weighted one's 2k/T and k/T.
    """
    orders, rows = 16, []
    for period in (256, 255):
        f = basis(orders, period, period, dtype=torch.float64)
        for method, mode in (("printed", "paper"), ("weighted", "ours")):
            trip = f.mT @ (synthesis_weights(orders, period, mode=mode)[:, None] * f)
            about = {"method": method, "benchmark": "projection", "item_id": f"T={period}"}
            harmonic, constant = float((trip @ f[3])[0] / f[3][0]), float((trip @ f[0])[0])
            rows += [{**about, "metric": "harmonic_gain", "score": harmonic / (period / (2 * orders))},
                     {**about, "metric": "constant_gain", "score": constant / (period / orders)},
                     {**about, "metric": "idempotence_error", "score": float((trip @ trip - trip).abs().max())}]  # fmt: skip
    return rows


def logit_rows(model: PreTrainedModel, prompt: Prefill) -> list[dict]:
    """E3: decode logits against the full cache, in float64: nothing compressed, every order kept, and only the mean kept."""
    tokens = min(120, prompt.ids.shape[1] - STEPS)
    ids, follow = prompt.ids[:, :tokens], prompt.ids[:, tokens : tokens + STEPS]
    short = prefill(model, ids, window=1)
    sinks, local = 4, 16
    n_middle, total = tokens - sinks - local, short.keys[0].shape[1] * short.keys[0].shape[3]
    none, every = torch.empty(0, dtype=torch.long), torch.arange(total)
    layers = model.config.num_hidden_layers

    def logits(cache: CompressedCache) -> torch.Tensor:
        cache.fill(short)
        with torch.no_grad():
            return torch.cat([model(t[:, None], past_key_values=cache, use_cache=True).logits for t in follow.T], dim=1)

    want = logits(CompressedCache(layers=[CompressedLayer() for _ in range(layers)]))
    rows = []
    for method, setting, ids_of, orders in (
        ("lossless", "nothing compressed", none, 4),
        ("lossless", "every order", every, n_middle // 2 + 1),
        ("control:mean_only", "one order", every, 1),
    ):
        cache = FourierCache(model.config, channels=[(ids_of, ids_of)] * layers, orders=orders, sinks=sinks, local=local)
        gap = float((logits(cache) - want).abs().max())
        rows.append({"method": method, "benchmark": "logits", "metric": "max_abs_diff", "setting": setting, "score": gap})
    return rows


def step_rows(model: PreTrainedModel, prompt: Prefill, *, errors: dict[str, torch.Tensor], plan: Plan) -> list[dict]:
    """E4: one decode step on real tensors in spectral space and by rebuilding, against the slow reference; a wrong window beside it."""
    layout = plan.layout(prompt.ids.shape[1])
    channels = choose_channels(errors["ours"], scheme="pyramid", choice="mse", sides="kv", seed=plan.data_seed)
    rows = []
    for index in sorted({0, len(channels) // 2, len(channels) - 1}):
        cache = FourierCache(
            model.config, channels=channels, orders=layout.orders, sinks=layout.sinks, local=layout.local, mode="official",
            max_new_tokens=plan.max_new_tokens,
        )  # fmt: skip
        layer = cache.layers[index]
        assert isinstance(layer, FourierLayer)
        layer.update(prompt.keys[index], prompt.values[index])
        assert layer.middle is not None
        k, v = layer.middle
        query = prompt.queries[index][..., -1, :].float()
        step = FourierStep(query, layer.keys.float(), layer.values.float(), k, v, layer.period, query.shape[-1] ** -0.5)
        want = reference(step)
        ways = {"spectral_fft": spectral(step, transform="fft"), "spectral_matmul": spectral(step, transform="matmul"),
                "rebuild": rebuild(step), "rebuild_shared": rebuild(step, share=True)}  # fmt: skip
        wrong = FourierStep(query, step.k_plain, step.v_plain, k, v, layer.period + 1, step.scale)
        ways["window one too long"] = spectral(wrong, transform="matmul")
        size = float(want.abs().max())
        rows += [{"method": "control:window" if "window" in way else "fast_step", "benchmark": "decode", "metric": "max_rel_diff",
                  "setting": way, "item_id": f"layer={index}", "score": float((out - want).abs().max()) / size}
                 for way, out in ways.items()]  # fmt: skip
    return rows


def shape_rows() -> list[dict]:
    """E5: compressed shares, kept cache and decode FLOPs of the paper's models from shapes; the cache of live tensors minus that."""
    rows = []
    for layers in (32, 28):
        for scheme in ("pyramid", "layer_inverse"):
            shares = compressed_shares(layers, scheme=scheme)
            rows.append({"method": scheme, "benchmark": "shape", "metric": "compressed_share", "setting": f"layers={layers}",
                         "score": sum(map(sum, shares)) / (2 * layers)})  # fmt: skip
        rows.append({"method": "control:first_layers", "benchmark": "shape", "metric": "compressed_share", "setting": f"layers={layers}",
                     "score": sum(compressed_shares(layers)[0]) / 2})  # fmt: skip
    for tokens in (4096, 8192, 16384, 32768, 65536, 131072):
        about = {"benchmark": "shape", "setting": f"N={tokens}"}
        by_element = {element: kept_cache(tokens, state_bytes=element) for element in (4, 2)}
        rows += [{**about, "method": f"fp{8 * element} coefficients", "metric": "kept_cache", "score": kept}
                 for element, kept in by_element.items()]  # fmt: skip
        if tokens <= LIVE:
            live = live_kept_cache(tokens)
            rows += [{**about, "method": method, "metric": "kept_cache_gap", "score": live - by_element[element]}
                     for method, element in (("live tensors", 4), ("control:fp16", 2))]  # fmt: skip
    tokens, total = 32768, LLAMA_8B["n_kv"] * LLAMA_8B["d_h"]
    flops = {"rebuilt": 0.0, "spectral": 0.0}
    for k, v in compressed_shares(32):
        shape = cost.Shape(**LLAMA_8B, n_plain=ENDS, n_middle=tokens - ENDS, period=tokens - ENDS + 500, orders=REALS // 2,
                           k_compressed=int(k * total), v_compressed=int(v * total))  # fmt: skip
        flops["rebuilt"] += cost.rebuild_flops(shape)
        flops["spectral"] += cost.spectral_flops(shape, transform="matmul")
    rows += [{"method": name, "benchmark": "shape", "metric": "tflop_per_token", "setting": f"N={tokens}", "score": value / 1e12}
             for name, value in flops.items()]  # fmt: skip
    return rows


def kept_cache(tokens: int, *, state_bytes: int) -> float:
    """Return the share of a 16-bit cache of 32 layers that stays, with coefficients of `state_bytes` bytes."""
    total, kept, full = LLAMA_8B["n_kv"] * LLAMA_8B["d_h"], 0.0, 0.0
    for shares in compressed_shares(32):
        for share in shares:
            n_c = int(share * total)
            kept += 2 * (ENDS * total + (tokens - ENDS) * (total - n_c)) + state_bytes * REALS * n_c
            full += 2 * tokens * total
    return kept / full


def live_kept_cache(tokens: int) -> float:
    """Return the same from the tensors of one layer of each kind, filled with zeros in float16."""
    total, kept, full = LLAMA_8B["n_kv"] * LLAMA_8B["d_h"], 0, 0
    shares = compressed_shares(32)
    zeros = torch.zeros(1, LLAMA_8B["n_kv"], tokens, LLAMA_8B["d_h"], dtype=torch.float16)
    by = Fourier(ENDS - LOCAL, LOCAL, REALS // 2, "ours", 0, frozenset())
    for pair in sorted(set(shares)):
        k, v = (torch.arange(int(share * total)) for share in pair)
        layer = FourierLayer(by=by, k_channels=k, v_channels=v, hold=False)
        layer.update(zeros, zeros)
        kept += shares.count(pair) * sum(x.nbytes for x in layer.stored())
        full += shares.count(pair) * 2 * zeros.nbytes
    return kept / full
