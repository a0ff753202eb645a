from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cache_runs import prompt_ids
from tiny import tiny_llama

from galley.caches.fourier import Fourier
from galley.caches.prefill import prefill
from galley.evaluate.long.cached_needles import NeedleItem, read_answer
from galley.papers.fourier_attention.controls import with_noise
from galley.papers.fourier_attention.equal import tokens_within
from galley.papers.fourier_attention.inspect import basis_rows, logit_rows, push_rows, step_rows
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
    rows = basis_rows(prompt, plan=plan)
    assert len(rows) == 3 * 2 * 3
    by = {name: [r["score"] for r in rows if r["method"] == name] for name in ("FourierT", "control:zero")}
    assert all(0 < f <= min(1.0, z) + 1e-6 for f, z in zip(by["FourierT"], by["control:zero"], strict=True))
