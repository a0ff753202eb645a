"""What the paper says of keys and values themselves (D1 to D3): how well a basis holds them, how they spread, which channels go.

arXiv:2506.11886, sections 2 and 3.3, Figure 6. An item of D2 and D3 is a window of the calibration text, its score a mean over layers:
another text would give another score, another layer of the same model is no other sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from galley.caches.fourier import Fourier, analyse
from galley.caches.prefill import Prefill
from galley.kernels.flash_fourier.reference import expand
from galley.papers.fourier_attention.legt import legt_round_trip
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.selection import choose_channels, round_trip_errors
from galley.tables.items import Rows, scored

Pair = tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]
WINDOWS = 16  # of all calibration prompts together, or one a prompt where there are more


def middle(x: torch.Tensor, *, plan: Plan, tokens: int | None = None) -> torch.Tensor:
    """Return a prompt's middle of one layer's keys or values as (1, M, n_kv d_h)."""
    layout = plan.cut(x.shape[-2])
    inner = x[..., layout.sinks : x.shape[-2] - layout.local, :].transpose(1, 2).flatten(2)
    return inner[:, :tokens]


def windows(prompts: Sequence[Prefill], *, plan: Plan) -> Iterator[tuple[str, list[Pair]]]:
    """Yield a name and, by layer, what returns the keys and the values (M, n_kv d_h) of each window: equal parts of the prompts' middles.

    A window is made when it is asked for, one layer and side at a time: all of a long prompt's would be as large as its cache again.
    """
    for number, prompt in enumerate(prompts):
        parts = max(1, math.ceil(WINDOWS / len(prompts)))
        width = plan.cut(prompt.ids.shape[1]).n_middle // parts
        for part in range(parts):
            take = partial(_window, plan=plan, start=part * width, width=width)
            pairs = zip(prompt.keys, prompt.values, strict=True)
            yield f"prompt={number},window={part}", [(partial(take, k), partial(take, v)) for k, v in pairs]


def _window(x: torch.Tensor, *, plan: Plan, start: int, width: int) -> torch.Tensor:
    return middle(x, plan=plan)[0, start : start + width].float()


def basis_rows(prompt: Prefill, *, plan: Plan, channels: int = 48) -> Rows:
    """D1: log2 of the reconstruction error of random real channels through FourierT and LegT at equal reals, over their variance.

    An item is a draw of channels of one layer and side, at the whole middle or half of it. Beside it the error of the mean alone.
    """
    generator = torch.Generator().manual_seed(plan.data_seed)
    n_middle = middle(prompt.keys[0], plan=plan).shape[1]
    rows: Rows = []
    for layer in range(len(prompt.keys)):
        for side, x in (("k", prompt.keys[layer]), ("v", prompt.values[layer])):
            tokens = n_middle if layer % 2 else n_middle // 2
            orders = max(2, round(plan.reals_fraction * tokens / 2))
            flat = middle(x, plan=plan, tokens=tokens).double()
            chosen = flat[..., torch.randperm(flat.shape[-1], generator=generator)[:channels]]
            by = Fourier(0, 1, orders, "ours", 0, frozenset())
            every = torch.arange(chosen.shape[-1], device=chosen.device)
            trips = {"FourierT": expand(analyse(chosen, every, by=by), 1, tokens)[0, 0],
                     "LegT": legt_round_trip(chosen[0], reals=2 * orders),
                     "control:mean": chosen[0].mean(dim=0).expand_as(chosen[0])}  # fmt: skip
            variance = chosen[0].var(dim=0, correction=0).mean()
            for name, back in trips.items():
                error = float((back - chosen[0]).square().mean() / variance)
                rows += [scored(name, "basis", metric, value, item_id=f"layer={layer},{side},M={tokens}")
                         for metric, value in (("relative_mse", error), ("log2_mse", math.log2(error)))]  # fmt: skip
    return rows


def spread_rows(prompts: Sequence[Prefill], *, plan: Plan) -> Rows:
    """D2: standard deviation over time of keys and values, and of the upper and lower half of the layers; roles drawn by lot beside."""
    generator = torch.Generator().manual_seed(plan.data_seed)
    rows: Rows = []
    for item, x in windows(prompts, plan=plan):
        std = torch.tensor([[float(side().std(dim=0).mean()) for side in pair] for pair in x])  # (layers, 2)
        half = len(std) // 2
        lower, upper = std[:half].mean(dim=0), std[len(std) - half :].mean(dim=0)
        pairs = {("spread", "K", "V"): std.mean(dim=0)}
        pairs |= {("spread_by_depth", f"{side}:upper", f"{side}:lower"): torch.stack([upper[i], lower[i]]) for i, side in enumerate("KV")}
        for (benchmark, *names), values in pairs.items():
            drawn = values[torch.randperm(2, generator=generator)]
            for name, value, lot in zip(names, values.tolist(), drawn.tolist(), strict=True):
                rows += [scored(method, benchmark, "std", score, item_id=item)
                         for method, score in ((name, value), (f"control:drawn_{name}", lot))]  # fmt: skip
    return rows


def selection_rows(prompts: Sequence[Prefill], *, plan: Plan) -> Rows:
    """D3: share of the fast and of the slow half of the keys' rotary pairs that each window would compress; a random choice beside.

    A window has orders in the plan's proportion to its length, so that the band of frequencies that comes back is the same.
    """
    n_kv, d_h = prompts[0].keys[0].shape[1], prompts[0].keys[0].shape[3]
    fast = torch.arange(d_h).repeat(n_kv) % (d_h // 2) < d_h // 4
    rows: Rows = []
    for number, (item, x) in enumerate(windows(prompts, plan=plan)):
        by = Fourier(0, 0, max(2, round(plan.reals_fraction * len(x[0][0]()) / 2)), "ours", 0, frozenset())
        errors = torch.stack([torch.stack([round_trip_errors(side()[None], by=by) for side in pair]) for pair in x]).cpu()
        for choice, prefix in (("mse", ""), ("random", "control:random_")):
            taken = torch.zeros(len(errors), errors.shape[-1])
            seed = plan.data_seed + number
            for layer, (k, _) in enumerate(choose_channels(errors, scheme="pyramid", choice=choice, sides="kv", seed=seed)):
                taken[layer, k] = 1
            rows += [scored(prefix + name, "selection", "compressed_share", float(taken[:, half].mean()), item_id=item)
                     for name, half in (("fast_pairs", fast), ("slow_pairs", ~fast))]  # fmt: skip
    return rows
