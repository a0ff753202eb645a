"""What is checked of the base model alone, and that each check's broken variant is one."""

from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_llama

from galley.models.mla import MlaAttention
from galley.papers.mha2mla import inspect

PLAN = SimpleNamespace(rope_fraction=1 / 16)


@pytest.fixture(scope="module")
def original():
    return tiny_llama(d_h=32)


def worst(rows, method, **names):
    return max(abs(r["score"]) for r in rows if r["method"] == method and all(r.get(k) == v for k, v in names.items()))


def test_absorbed_attention_equals_expanded_and_a_wrong_scale_does_not(original):
    rows = inspect.attention_rows(original, plan=PLAN)
    assert worst(rows, "absorbed") < 1e-4 < worst(rows, "control:latent_scale")
    assert len(rows) == 20 and all(r["score"] > 1e-4 for r in rows if r["method"] == "control:latent_scale"), "every one of them flips"


def test_the_control_of_absorbed_attention_flips_nothing_where_absorbed_runs_expanded(original, monkeypatch):
    """A check that never reached the absorbed form would pass, and so must its control: then the pair tells that it is blind."""
    forward = MlaAttention.forward

    def expanded(self, *args, **kwargs):
        before, self.config.attn_impl = self.config.attn_impl, "expanded"
        try:
            return forward(self, *args, **kwargs)
        finally:
            self.config.attn_impl = before

    monkeypatch.setattr(MlaAttention, "forward", expanded)
    assert worst(inspect.attention_rows(original, plan=PLAN), "control:latent_scale") < 1e-4


def test_the_cache_of_a_model_converted_in_full_is_the_printed_share(original):
    scores = torch.rand(2, 2, 16)
    rows = inspect.cache_rows(original, scores=scores)
    assert worst(rows, "2-norm+joint", metric="off_by_digits") == 0
    assert min(r["score"] for r in rows if r["method"] == "control:full_cache" and r["metric"] == "off_by_digits") > 1000
    mine = {r["setting"]: r["score"] for r in rows if "model" not in r and r["method"] == "2-norm+joint" and r["metric"] == "kept_fraction"}
    assert mine == {"d_kv=16": 0.3125, "d_kv=8": 0.1875, "d_kv=4": 0.125}


def test_factors_are_tried_on_real_activations(original):
    text = torch.randint(0, 97, (9, 24), generator=torch.Generator().manual_seed(0))
    rows = inspect.activation_rows(original, text, scores=torch.rand(2, 2, 16), plan=PLAN)
    means = {
        (r["benchmark"], r["method"]): sum(x["score"] for x in rows if (x["benchmark"], x["method"]) == (r["benchmark"], r["method"])) / 9
        for r in rows
    }
    assert len(rows) == 9 * 2 * 4 and {r["trained"] for r in rows if r["method"] == "control:random_basis"} == {True}
    assert 0 < means["activations", "2-norm+joint"] < means["activations", "control:random_basis"] < 1.1
    assert means["activations", "control:swapped_halves"] > means["activations", "2-norm+split"]


def test_the_budget_of_the_7b_model_is_twice_the_printed_one():
    over = {r["model"]: r["score"] for r in inspect.budget_rows() if r["method"] == "appendix"}
    assert over["Llama2-7B"] == pytest.approx(256 * 12000 * 4096 / 6e9) and over["Llama2-7B"] > 2 > max(
        v for k, v in over.items() if k != "Llama2-7B"
    )
