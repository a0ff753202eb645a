import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galley.artifact import GalleyError
from galley.papers.mha2mla.accounting import int4_nominal_saving, live_saving, off_by_digits, table4_counts
from galley.papers.mha2mla.low_rank import factor, squared_error, truncated
from galley.papers.mha2mla.partial_rope import select_pairs


def matrices(n, m, d, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g), torch.randn(m, d, generator=g) * 2


def rebuilt(f, method):
    if method == "joint":
        return torch.cat([f.up_k, f.up_v]) @ f.down
    a, b = f.down.chunk(2)
    return torch.cat([f.up_k @ a, f.up_v @ b])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 12), m=st.integers(3, 12), half=st.integers(1, 5), seed=st.integers(0, 99))
def test_joint_is_never_worse_than_split_at_equal_cache(n, m, half, seed):
    k, v = matrices(n, m, 14, seed)
    assert squared_error(k, v, rank=2 * half, method="joint") <= squared_error(k, v, rank=2 * half, method="split") + 1e-9


@pytest.mark.parametrize("method", ["joint", "split"])
@pytest.mark.parametrize("balance", ["balanced", "one_sided"])
def test_error_from_singular_values_is_the_real_error(method, balance):
    k, v = matrices(9, 11, 13, 0)
    f = factor(k, v, rank=6, method=method, balance=balance)
    w = torch.cat([k, v])
    tails = [torch.linalg.svdvals(part)[kept:] for part, kept in ([(w, 6)] if method == "joint" else [(k, 3), (v, 3)])]
    expected = sum(float(tail.square().sum()) for tail in tails) / float(w.square().sum())
    real = float((w - rebuilt(f, method)).square().sum() / w.square().sum())
    assert real == pytest.approx(expected, abs=1e-6) and squared_error(k, v, rank=6, method=method) == pytest.approx(expected, abs=1e-6)


def test_balance_changes_the_factors_but_not_the_function():
    k, v = matrices(9, 11, 13, 0)
    a, b = (factor(k, v, rank=6, balance=x) for x in ("balanced", "one_sided"))
    assert torch.allclose(rebuilt(a, "joint"), rebuilt(b, "joint"), atol=1e-5)
    assert torch.allclose(b.down @ b.down.T, torch.eye(6), atol=1e-5) and not torch.allclose(a.down, b.down)


def test_rank_above_full_is_padded():
    w = torch.randn(4, 7)
    down, up = truncated(w, rank=9)
    assert down.shape == (9, 7) and torch.allclose(up @ down, w, atol=1e-5)


def test_parameter_counts_of_table_4():
    counts = table4_counts()
    off = {how: {row[:2]: off_by_digits(row[4][how], row[3]) for row in counts} for how in ("as_printed", "all", "split")}
    assert len(counts) == 16 and max(off["as_printed"].values()) <= 0.5
    more = {key: value for key, value in off["all"].items() if value > 0.5}
    assert len(more) == 4 and {key[0] for key in more} == {"Llama2-7B"} and min(more.values()) > 12.6
    assert all((value > 0.5) == (key[1] != "base") for key, value in off["split"].items())


def test_distances_from_a_printed_number_are_in_its_last_digit():
    assert off_by_digits(96.875, "96.87") == 0.5 and off_by_digits(6.738, "6.61") == 12.8 and off_by_digits(12.4, "6") == 6.4


def test_savings():
    assert int4_nominal_saving(d_h=128, d_r=16, d_kv=64) == pytest.approx(0.921875)


def test_a_live_cache_s_saving_has_its_scales_and_its_residual():
    shape = {"hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8}
    live = live_saving(shape=shape, d_kv=32, backend="quanto", n_tokens=256, residual=64)
    assert live["codes"] == 1 - 0.3125 / 4
    # 193 tokens at 4.5 bits an element (a scale and a zero of 16 bits for 64), 63 at 16
    assert live["all"] == pytest.approx(1 - 0.3125 * (193 * 4.5 + 63 * 16) / (16 * 256), abs=0.002)


def test_strategies():
    kw = {"d_h": 16, "n_kv": 2, "n_layers": 1}
    assert select_pairs("high", r=2, **kw)[0, 0].tolist() == [0, 1]
    assert select_pairs("low", r=2, **kw)[0, 1].tolist() == [6, 7]
    assert select_pairs("uniform", r=2, **kw)[0, 0].tolist() == [0, 4]
    scores = torch.tensor([[[0, 9, 1, 8, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 6.0]]])
    assert select_pairs("2-norm", r=2, scores=scores, **kw)[0].tolist() == [[1, 3], [0, 7]]
    for strategy in ("high", "low", "uniform", "2-norm"):
        assert select_pairs(strategy, r=8, scores=scores, **kw)[0, 0].tolist() == list(range(8))
        assert select_pairs(strategy, r=0, scores=scores, **kw).shape == (1, 2, 0)


@pytest.mark.parametrize(
    ("strategy", "r", "match"),
    [("best", 2, "allowed"), ("high", 9, "0 to 8"), ("uniform", 3, "divide"), ("2-norm", 2, "calibrat")],
)
def test_refusals(strategy, r, match):
    with pytest.raises(GalleyError, match=match):
        select_pairs(strategy, r=r, d_h=16, n_kv=2, n_layers=1)
