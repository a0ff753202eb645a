import pytest
import torch
from cache_runs import filled, forced, full_logits, generated, greedy, prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.fourier import Fourier, FourierCache, analyse, synthesis_weights, transform
from galley.caches.prefill import prefill
from galley.kernels.flash_fourier.reference import expand
from galley.kernels.flash_fourier.step import basis

PROMPT, EXTRA = 60, 10


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def lists(model, *, k=0.7, v=0.5, seed=0):
    """Random channels of each layer."""
    total = model.config.num_key_value_heads * model.config.head_dim
    gen = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randperm(total, generator=gen)[: round(share * total)].sort().values for share in (k, v))
        for _ in range(model.config.num_hidden_layers)
    ]


def cache_of(model, **kwargs):
    return FourierCache(model.config, **{"channels": lists(model), "orders": 5, "sinks": 2, "local": 8, "max_new_tokens": 12, **kwargs})


def slow_transform(x, *, orders, period):
    """C = F X by its definition, token by token."""
    state = torch.zeros(x.shape[0], 2 * orders, x.shape[2], dtype=torch.float64)
    for t in range(x.shape[1]):
        for n in range(orders):
            angle = torch.tensor(2 * torch.pi * n * t / period, dtype=torch.float64)
            state[:, n] += angle.cos() * x[:, t]
            state[:, orders + n] += angle.sin() * x[:, t]
    return state


def test_the_transform_is_the_sum_over_tokens():
    x = torch.randn(2, 31, 4, generator=torch.Generator().manual_seed(0))
    for period in (31, 32, 45):
        want = slow_transform(x, orders=6, period=period)
        torch.testing.assert_close(transform(x, orders=6, period=period).double(), want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("period", [30, 31])
def test_our_weights_make_a_projection_and_the_printed_ones_a_gain(period):
    for orders in (4, period // 2 + 1):
        f = basis(orders, period, period, dtype=torch.float64)
        ours = f.mT @ (synthesis_weights(orders, period, mode="ours").double()[:, None] * f)
        assert (ours @ ours - ours).abs().max() < 1e-7
        assert torch.linalg.matrix_rank(ours) == min(2 * orders - 1, period)
        printed = f.mT @ (synthesis_weights(orders, period, mode="paper").double()[:, None] * f)
        harmonic = f[1]
        torch.testing.assert_close(printed @ harmonic, harmonic * period / (2 * orders), rtol=0, atol=1e-6)
        torch.testing.assert_close(printed @ f[0], f[0] * period / orders, rtol=0, atol=1e-6)


def test_a_constant_channel_comes_back_constant_in_both_repaired_modes():
    x = torch.full((1, 40, 3), 2.5) * torch.tensor([1.0, -2.0, 0.0])
    for mode in ("official", "ours"):
        by = Fourier(0, 1, 4, mode, 0, frozenset())
        side = analyse(x, torch.arange(3), by=by)
        torch.testing.assert_close(expand(side, 1, by.period(40))[0, 0], x[0], rtol=0, atol=1e-4)


def test_the_authors_map_restores_mean_and_largest_deviation():
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(1)) + 3
    by = Fourier(0, 1, 4, "official", 10, frozenset())
    back = expand(analyse(x, torch.arange(4), by=by), 1, by.period(50))[0, 0]
    torch.testing.assert_close(back.mean(0), x[0].mean(0), rtol=0, atol=1e-4)
    far = [torch.maximum(y.amax(0) - y.mean(0), y.mean(0) - y.amin(0)) for y in (back, x[0])]
    torch.testing.assert_close(far[0], far[1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("mode", ["paper", "official", "ours"])
def test_prompt_logits_do_not_change_and_nothing_compressed_is_the_full_cache(model, mode):
    ids = prompt_ids(model, PROMPT + EXTRA)
    none = torch.empty(0, dtype=torch.long)
    cache = cache_of(model, mode=mode, channels=[(none, none)] * model.config.num_hidden_layers)
    want = full_logits(model, ids, prompt=PROMPT)
    torch.testing.assert_close(forced(model, filled(model, cache, ids, prompt=PROMPT), ids, prompt=PROMPT), want, rtol=0, atol=1e-4)
    with torch.no_grad():
        first = model(ids[:, :PROMPT], past_key_values=cache_of(model, mode=mode), use_cache=True).logits
        torch.testing.assert_close(first, model(ids[:, :PROMPT]).logits, rtol=0, atol=1e-5)


def test_every_order_is_the_full_cache(model):
    ids = prompt_ids(model, PROMPT + EXTRA)
    cache = cache_of(model, orders=(PROMPT - 10) // 2 + 1)
    got = forced(model, filled(model, cache, ids, prompt=PROMPT), ids, prompt=PROMPT)
    torch.testing.assert_close(got, full_logits(model, ids, prompt=PROMPT), rtol=0, atol=1e-4)
    few = forced(model, filled(model, cache_of(model), ids, prompt=PROMPT), ids, prompt=PROMPT)
    assert (few - full_logits(model, ids, prompt=PROMPT)).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["official", "ours", "paper"])
def test_generation_is_decoding_from_one_prefill_and_holding_changes_nothing(model, mode):
    ids = prompt_ids(model, PROMPT)
    want = greedy(model, cache_of(model, mode=mode), ids)
    assert torch.equal(generated(model, cache_of(model, mode=mode), ids), want)
    assert torch.equal(greedy(model, cache_of(model, mode=mode, hold=True), ids), want)


def test_tokens_pushed_one_by_one_make_the_transform_and_the_authors_slip_does_not(model):
    ids = prompt_ids(model, PROMPT + EXTRA)
    whole = prefill(model, ids, window=1)
    for audits, holds in (((), True), (("off_by_one",), False)):
        cache = cache_of(model, mode="official", audits=audits)
        forced(model, filled(model, cache, ids, prompt=PROMPT), ids, prompt=PROMPT)
        layer = cache.layers[0]  # layer 0 sees the same keys whatever the cache does
        n = PROMPT + EXTRA - 8
        x = whole.keys[0][..., 2:n, :].transpose(1, 2).flatten(2)[..., layer.k_channels]
        want = slow_transform(x, orders=5, period=layer.period)
        assert ((layer.middle[0].state - want).abs().max() < 1e-3) == holds


def test_bytes_are_those_of_the_live_tensors(model):
    ids = prompt_ids(model, PROMPT)
    cache = filled(model, cache_of(model), ids, prompt=PROMPT)
    total, layers, m = model.config.num_key_value_heads * model.config.head_dim, model.config.num_hidden_layers, PROMPT - 10
    n_c = sum(len(ids) for pair in lists(model) for ids in pair)
    elements = layers * 2 * 10 * total + m * (layers * 2 * total - n_c)
    assert cache.nbytes() == 4 * (elements + 10 * n_c)
    assert cache.nominal_bytes() == 2 * elements + 4 * 10 * n_c


def test_a_short_prompt_stays_whole(model):
    ids = prompt_ids(model, 20)
    cache = filled(model, cache_of(model), ids, prompt=20)
    assert all(layer.middle is None for layer in cache.layers)


def test_generating_past_the_window_is_refused(model):
    ids = prompt_ids(model, PROMPT + EXTRA)
    cache = filled(model, cache_of(model, mode="official", max_new_tokens=3), ids, prompt=PROMPT)
    with pytest.raises(GalleyError, match="max_new_tokens = 3"):
        forced(model, cache, ids, prompt=PROMPT)
    forced(model, filled(model, cache_of(model, max_new_tokens=3), ids, prompt=PROMPT), ids, prompt=PROMPT)  # ours has no limit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "exact"}, "mode is 'exact'"),
        ({"audits": ["off_by_one"]}, "mode 'ours'"),
        ({"mode": "official", "audits": ["typo"]}, "'typo'"),
        ({"orders": 0}, "orders is 0"),
        ({"channels": []}, "has 0 layers"),
    ],
)
def test_bad_settings_are_refused(model, change, message):
    with pytest.raises(GalleyError, match=message):
        cache_of(model, **change)


def test_unsorted_channels_are_refused(model):
    wrong = [(torch.tensor([3, 1]), torch.tensor([0]))] * model.config.num_hidden_layers
    with pytest.raises(GalleyError, match="layer 0"):
        cache_of(model, channels=wrong)
