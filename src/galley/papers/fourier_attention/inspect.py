"""The claims that need one prompt and no scoring: E1 to E6 exactly, D1 to D3 on real keys and values.

arXiv:2506.11886, sections 3 and 5 and Figure 6. Each number is one row; the claims file says what it must be. Every claim
has a control, a broken variant that must fail it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from galley.artifact import atomic_path
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.caches.fourier import Fourier, FourierCache, FourierLayer, analyse, synthesis_weights, transform
from galley.caches.prefill import Prefill, prefill
from galley.evaluate.long.longbench_metrics import sample_weighted
from galley.kernels.flash_fourier import cost
from galley.kernels.flash_fourier.reference import expand, rebuild, reference, spectral
from galley.kernels.flash_fourier.step import FourierStep, basis
from galley.models.device import device_name, resolve_device
from galley.models.loading import load_model
from galley.papers.fourier_attention.legt import legt_round_trip
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.selection import calibrate, calibration_prompts, choose_channels, compressed_shares
from galley.stage import Job
from galley.tables.ledger import leave
from galley.tables.paper_values import read_paper_values

LLAMA_8B = {"n_h": 32, "n_kv": 8, "d_h": 128}
ENDS, LOCAL, REALS = 1024, 1020, 1024  # the authors' 4 + 1,020 whole tokens and 512 orders
STEPS = 6  # tokens fed after the prompt where logits are compared


def inspect_base(job: Job, *, base: Path, corpus: Path, paper: Path, device: str) -> None:
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
        *average_rows(paper),
        *basis_rows(prompt, plan=plan),
        *spread_rows(prompt, plan=plan),
        *selection_rows(errors["ours"], n_kv=prompt.keys[0].shape[1], seed=plan.data_seed),
        *logit_rows(model.double(), prompt),  # last: the model is turned to float64
    ]
    leave(job, rows, backend="torch", device=device_name(where))


def _middle(x: torch.Tensor, *, plan: Plan, tokens: int | None = None) -> torch.Tensor:
    """Return a prompt's middle of one layer's keys or values as (1, M, n_kv d_h)."""
    layout = plan.layout(x.shape[-2])
    inner = x[..., layout.sinks : x.shape[-2] - layout.local, :].transpose(1, 2).flatten(2)
    return inner[:, :tokens]


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
    """E2: what (1/k) F^T F does to a harmonic and to a constant, as multiples of T/(2k) and T/k; whether a round trip is a projection."""
    orders, rows = 16, []
    for period in (256, 255):
        f = basis(orders, period, period, dtype=torch.float64)
        trips = {mode: f.mT @ (synthesis_weights(orders, period, mode=mode)[:, None] * f) for mode in ("paper", "ours")}
        common = {"benchmark": "projection", "item_id": f"T={period}"}
        harmonic = float((trips["paper"] @ f[3])[0] / f[3][0]) / (period / (2 * orders))
        constant = float((trips["paper"] @ f[0])[0]) / (period / orders)
        rows += [{**common, "method": "printed", "metric": "harmonic_gain", "score": harmonic},
                 {**common, "method": "printed", "metric": "constant_gain", "score": constant}]  # fmt: skip
        rows.append({**common, "method": "weighted", "metric": "harmonic_gain", "score": float((trips["ours"] @ f[3])[0] / f[3][0])})
        rows.append({**common, "method": "weighted", "metric": "constant_gain", "score": float((trips["ours"] @ f[0])[0])})
        for method, trip in (("printed", trips["paper"]), ("weighted", trips["ours"])):
            rows.append({**common, "method": method, "metric": "idempotence_error", "score": float((trip @ trip - trip).abs().max())})
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
    for method, ids_of, orders in (
        ("nothing_compressed", none, 4),
        ("every_order", every, n_middle // 2 + 1),
        ("control:mean_only", every, 1),
    ):
        cache = FourierCache(model.config, channels=[(ids_of, ids_of)] * layers, orders=orders, sinks=sinks, local=local)
        gap = float((logits(cache) - want).abs().max())
        rows.append({"method": method, "benchmark": "logits", "metric": "max_abs_diff", "score": gap})
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
        ways["control:window"] = spectral(wrong, transform="matmul")
        size = float(want.abs().max())
        rows += [{"method": name, "benchmark": "decode", "metric": "max_rel_diff", "item_id": f"layer={index}",
                  "score": float((out - want).abs().max()) / size} for name, out in ways.items()]  # fmt: skip
    return rows


def shape_rows() -> list[dict]:
    """E5: compressed shares, kept cache and decode FLOPs of the paper's models from shapes; the cache at 4k from live tensors too."""
    rows = []
    for layers in (32, 28):
        for scheme in ("pyramid", "layer_inverse"):
            shares = compressed_shares(layers, scheme=scheme)
            rows.append({"method": scheme, "benchmark": "shape", "metric": "compressed_share", "setting": f"layers={layers}",
                         "score": sum(map(sum, shares)) / (2 * layers)})  # fmt: skip
        rows.append({"method": "control:first_layers", "benchmark": "shape", "metric": "compressed_share", "setting": f"layers={layers}",
                     "score": sum(compressed_shares(layers)[0]) / 2})  # fmt: skip
    for tokens in (4096, 8192, 16384, 32768, 65536, 131072):
        for method, element in (("fp32 coefficients", 4), ("fp16 coefficients", 2)):
            rows.append({"method": method, "benchmark": "shape", "metric": "kept_cache", "setting": f"N={tokens}",
                         "score": kept_cache(tokens, state_bytes=element)})  # fmt: skip
    rows.append(
        {"method": "live tensors", "benchmark": "shape", "metric": "kept_cache", "setting": "N=4096", "score": live_kept_cache(4096)}
    )
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


def average_rows(paper: Path) -> list[dict]:
    """E6: the paper's sixteen printed scores of Llama-3.1-8B, averaged by samples and plainly, minus its printed average."""
    cells = read_paper_values(paper)
    cells = cells[(cells["table"] == "v1-T1/2") & (cells["model"] == "Llama-3.1-8B")]
    rows = []
    for method, mine in cells.groupby("method"):
        scores = mine[mine["benchmark"] != "LongBench"].set_index("benchmark")["value"].to_dict()
        if len(scores) < 16:
            continue  # the card of this paper has all cells of two methods only
        printed = float(mine[mine["benchmark"] == "LongBench"]["value"].iloc[0])
        for way, value in (("sample_weighted", sample_weighted(scores)), ("plain", sum(scores.values()) / len(scores))):
            rows.append({"method": way, "benchmark": "average", "metric": "minus_printed", "setting": "", "item_id": str(method),
                         "score": value - printed})  # fmt: skip
    return rows


def basis_rows(prompt: Prefill, *, plan: Plan, channels: int = 48) -> list[dict]:
    """D1: reconstruction error of random real channels through FourierT and LegT at equal reals, relative to their variance."""
    generator = torch.Generator().manual_seed(plan.data_seed)
    n_middle = _middle(prompt.keys[0], plan=plan).shape[1]
    rows = []
    for layer in range(len(prompt.keys)):
        for side, x in (("k", prompt.keys[layer]), ("v", prompt.values[layer])):
            tokens = n_middle if layer % 2 else n_middle // 2
            orders = max(2, round(plan.reals_fraction * tokens / 2))
            flat = _middle(x, plan=plan, tokens=tokens).double()
            chosen = flat[..., torch.randperm(flat.shape[-1], generator=generator)[:channels]]
            by = Fourier(0, 1, orders, "ours", 0, frozenset())
            every = torch.arange(chosen.shape[-1], device=chosen.device)
            trips = {"FourierT": expand(analyse(chosen, every, by=by), 1, tokens)[0, 0],
                     "LegT": legt_round_trip(chosen[0], reals=2 * orders), "control:zero": torch.zeros_like(chosen[0])}  # fmt: skip
            variance = chosen[0].var(dim=0, correction=0).mean()
            rows += [{"method": name, "benchmark": "basis", "metric": "relative_mse", "item_id": f"layer={layer},{side},M={tokens}",
                      "score": float((back - chosen[0]).square().mean() / variance)} for name, back in trips.items()]  # fmt: skip
    return rows


def spread_rows(prompt: Prefill, *, plan: Plan) -> list[dict]:
    """D2: mean standard deviation over time of keys and values by layer, halves of the depth paired, and roles drawn by lot beside."""
    generator = torch.Generator().manual_seed(plan.data_seed)
    std = torch.tensor(
        [[float(_middle(x[i], plan=plan)[0].std(dim=0).mean()) for x in (prompt.keys, prompt.values)] for i in range(len(prompt.keys))]
    )
    rows = []
    for layer, pair in enumerate(std.tolist()):
        drawn = torch.randperm(2, generator=generator).tolist()
        for names, order in ((("K", "V"), (0, 1)), (("control:drawn_K", "control:drawn_V"), drawn)):
            rows += [{"method": name, "benchmark": "spread", "metric": "std", "item_id": f"layer={layer}", "score": pair[at]}
                     for name, at in zip(names, order, strict=True)]  # fmt: skip
    half = len(std) // 2
    for column, side in enumerate("KV"):
        for pair_of in range(half):
            low, high = float(std[pair_of, column]), float(std[half + pair_of, column])
            drawn = torch.randperm(2, generator=generator).tolist()
            values = {f"{side}:lower": low, f"{side}:upper": high}
            values |= {f"control:drawn_{side}:lower": (low, high)[drawn[0]], f"control:drawn_{side}:upper": (low, high)[drawn[1]]}
            rows += [{"method": name, "benchmark": "spread_by_depth", "metric": "std", "item_id": f"pair={pair_of}", "score": value}
                     for name, value in values.items()]  # fmt: skip
    return rows


def selection_rows(errors: torch.Tensor, *, n_kv: int, seed: int) -> list[dict]:
    """D3: share of the fast and of the slow half of the rotary pairs that is compressed, by layer; a random choice beside."""
    d_h = errors.shape[-1] // n_kv
    fast = (torch.arange(errors.shape[-1]) % d_h) % (d_h // 2) < d_h // 4
    rows = []
    for choice, prefix in (("mse", ""), ("random", "control:random_")):
        for layer, (k, _) in enumerate(choose_channels(errors, scheme="pyramid", choice=choice, sides="kv", seed=seed)):
            taken = torch.zeros(errors.shape[-1])
            taken[k] = 1
            for name, half in (("fast_pairs", fast), ("slow_pairs", ~fast)):
                rows.append({"method": prefix + name, "benchmark": "selection", "metric": "compressed_share", "item_id": f"layer={layer}",
                             "score": float(taken[half].mean())})  # fmt: skip
    return rows
