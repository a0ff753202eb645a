from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cache_runs import prompt_ids
from tiny import tiny_llama

from galley.caches.fourier import Fourier
from galley.caches.prefill import prefill
from galley.evaluate.long.cached_needles import NeedleItem, read_answer
from galley.papers.fourier_attention import inspect
from galley.papers.fourier_attention.controls import through_legt, with_noise
from galley.papers.fourier_attention.equal import tokens_within
from galley.papers.fourier_attention.inspect import logit_rows, projection_rows, push_rows, shape_rows, step_rows
from galley.papers.fourier_attention.legt import legt_round_trip
from galley.papers.fourier_attention.measures import basis_rows, selection_rows, spread_rows
from galley.papers.fourier_attention.methods import make_makers
from galley.papers.fourier_attention.plan import Plan, asks_for_votes
from galley.papers.fourier_attention.selection import channel_errors
from galley.plan import read_plan

TOKENS = 110


@pytest.fixture(scope="module")
def setting():
    model = tiny_llama(layers=3, d_h=32)
    plan = read_plan(Path("recipes/fourier_attention/recipe.yaml"), "smoke", model=Plan)
    prompt = prefill(model, prompt_ids(model, TOKENS), window=40, votes=asks_for_votes(plan))
    layout = plan.layout(TOKENS)
    errors = {
        mode: channel_errors([prompt], by=Fourier(layout.sinks, layout.local, layout.orders, mode, 64, frozenset()))
        for mode in ("ours", "official")
    }
    errors["legt"] = channel_errors([prompt], by=Fourier(layout.sinks, layout.local, layout.orders, "ours", 64, frozenset()), basis="legt")
    return model, plan, prompt, errors


def test_every_method_of_the_recipe_fills_a_cache_and_reads_on(setting):
    model, plan, prompt, errors = setting
    item = NeedleItem("x", TOKENS + 1, (*prompt.ids[0].tolist(), 5), (7, 8, 9))
    makers = make_makers(model, errors, plan)
    nll = {name: read_answer(model, make(prompt, item), item)[0] for name, make in makers.items()}
    assert set(nll) == {m.name for m in plan.methods} and all(torch.isfinite(torch.tensor(v)) for v in nll.values())
    with torch.no_grad():
        logits = model(torch.tensor([[*item.prompt, 7, 8]])).logits[0, -3:]
    exact = float(torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer)))
    assert nll["full"] == pytest.approx(exact, abs=1e-4)
    changed = [name for name, value in nll.items() if abs(value - exact) > 1e-6]
    assert set(nll) - set(changed) <= {"full", "hqq:4bit"}


def test_equal_bytes_are_at_most_the_other_s_and_within_one_token(setting):
    model, plan, prompt, errors = setting
    makers = make_makers(model, errors, plan)
    budget, token = makers["fourier"](prompt, None).nbytes(), sum(2 * k[..., :1, :].nbytes for k in prompt.keys)
    for name in ("sink_window:equal_bytes", "snapkv:equal_bytes", "pyramidkv:equal_bytes", "h2o:equal_bytes"):
        assert 0 <= budget - makers[name](prompt, None).nbytes() < token
    one_more_rank = 3 * 2 * TOKENS * 4  # layers, keys and values, tokens, fp32; one group of heads
    assert 0 <= budget - makers["palu:equal_bytes"](prompt, None).nbytes() < one_more_rank
    assert tokens_within(10**12, prompt) == TOKENS


def test_caches_of_one_prompt_share_spectra_and_are_those_made_alone(setting):
    model, plan, prompt, errors = setting
    makers = make_makers(model, errors, plan)
    names = [m.name for m in plan.methods if m.cache == "fourier"]
    shared = {name: makers[name](prompt, None) for name in names}
    assert prompt.shared
    for name in names:
        alone = makers[name](replace(prompt, shared={}), None)
        for a, b in zip(shared[name].layers, alone.layers, strict=True):
            for x, y in zip(a.stored(), b.stored(), strict=True):
                torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_noise_is_in_the_named_pairs_of_the_middle_only(setting):
    _, _, prompt, _ = setting
    for pairs, chosen in (("low", [*range(8, 16), *range(24, 32)]), ("high", [*range(8), *range(16, 24)])):
        noisy = with_noise(prompt, pairs=pairs, scale=1.0, sinks=4, local=32, seed=0)
        gap = (noisy.keys[0] - prompt.keys[0]).abs().amax(dim=(0, 1))
        assert gap[:4].max() == gap[-32:].max() == 0
        assert sorted(gap[4:-32].amax(0).nonzero()[:, 0].tolist()) == sorted(chosen)
        assert noisy.values is prompt.values


def test_the_exact_checks_hold_on_any_model_and_their_controls_do_not(setting):
    model, plan, prompt, errors = setting
    rows = [*push_rows(prompt), *step_rows(model, prompt, errors=errors, plan=plan)]
    rows += logit_rows(tiny_llama(layers=3, d_h=32).double(), prompt)
    for row in rows:
        assert (row["score"] < 1e-4) == (not row["method"].startswith("control:")), row


def test_reconstruction_errors_are_shares_of_the_variance(setting):
    _, plan, prompt, _ = setting
    rows = [row for row in basis_rows(prompt, plan=plan) if row["metric"] == "relative_mse"]
    assert len(rows) == 3 * 2 * 3
    by = {name: [r["score"] for r in rows if r["method"] == name] for name in ("FourierT", "control:mean")}
    assert all(0 < f <= mean + 1e-6 and mean == pytest.approx(1) for f, mean in zip(by["FourierT"], by["control:mean"], strict=True))


def test_gains_are_taken_over_the_same_for_both_weights():
    rows = projection_rows()
    by = {(row["method"], row["metric"], row["item_id"]): row["score"] for row in rows}
    assert by["printed", "harmonic_gain", "T=256"] == pytest.approx(1) and by["printed", "constant_gain", "T=255"] == pytest.approx(1)
    assert by["weighted", "harmonic_gain", "T=256"] == pytest.approx(32 / 256)
    assert by["weighted", "constant_gain", "T=256"] == pytest.approx(16 / 256)
    assert by["weighted", "idempotence_error", "T=255"] < 1e-9 < 1 < by["printed", "idempotence_error", "T=255"]


def test_the_kept_cache_is_the_one_of_live_tensors(monkeypatch):
    monkeypatch.setattr(inspect, "LIVE", 4096)
    gaps = {row["method"]: row["score"] for row in shape_rows() if row["metric"] == "kept_cache_gap"}
    assert abs(gaps["live tensors"]) < 1e-6 < 0.1 < gaps["control:fp16"]


def test_spread_and_selection_have_an_item_a_window_and_halves_by_rotary_pair(setting):
    _, plan, prompt, _ = setting
    slow = torch.arange(32) % 16 >= 8  # of each head, half-split: they drift, the fast ones are constant
    drift = torch.randn(prompt.keys[0].shape, generator=torch.Generator().manual_seed(3)) * slow
    values = tuple(10 * drift + 1 for _ in prompt.values)
    other = replace(prompt, keys=tuple(drift for _ in prompt.keys), values=values, shared={})
    rows = [*spread_rows([prompt, other], plan=plan), *selection_rows([other], plan=plan)]
    by = {name: [r["score"] for r in rows if r["method"] == name] for name in ("K", "V", "fast_pairs", "slow_pairs")}
    assert len(by["K"]) == len(by["fast_pairs"]) == 16
    assert by["V"][8:] == pytest.approx([10 * std for std in by["K"][8:]])
    assert min(by["fast_pairs"]) > max(by["slow_pairs"])


def test_each_prompt_draws_its_own_channels_and_the_same_ones_again(setting):
    model, plan, prompt, errors = setting
    make = make_makers(model, errors, plan)["fourier:random"]
    other = prefill(model, prompt_ids(model, TOKENS, seed=7), window=40, votes=True)
    one, again, another = (make(p, None).layers[0].k_channels.tolist() for p in (prompt, replace(prompt, shared={}), other))
    assert one == again != another


@pytest.mark.parametrize("heads", [1, 2])
def test_legt_changes_the_named_channels_of_the_middle_only(setting, heads):
    _, _, prompt, _ = setting
    prompt = replace(prompt, keys=tuple(k[:, :heads].contiguous() for k in prompt.keys))
    ids, none = torch.tensor([1, 5, 31 if heads == 1 else 33]), torch.tensor([], dtype=torch.long)
    changed = through_legt(prompt, channels=[(ids, none)] * 3, reals=6, sinks=4, local=32)
    assert all(torch.equal(a, b) for a, b in zip(changed.values, prompt.values, strict=True))
    gap = (changed.keys[0] - prompt.keys[0]).abs()[0].transpose(0, 1).flatten(1)  # (N, n_kv d_h)
    assert gap[:4].max() == gap[-32:].max() == 0
    assert gap.amax(0).nonzero()[:, 0].tolist() == ids.tolist()
    want = legt_round_trip(prompt.keys[0][0, 0, 4:-32, 1:2], reals=6)
    torch.testing.assert_close(changed.keys[0][0, 0, 4:-32, 1:2], want)
