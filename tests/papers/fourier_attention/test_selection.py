import pytest
import torch
from cache_runs import prompt_ids
from tiny import tiny_llama

from galley.artifact import GalleyError
from galley.caches.fourier import Fourier, synthesis_weights
from galley.caches.prefill import prefill
from galley.kernels.flash_fourier.step import basis
from galley.papers.fourier_attention.selection import channel_errors, choose_channels, compressed_shares


def test_the_pyramid_has_the_paper_s_ratios_and_means():
    for layers, mean in ((32, 0.766), (28, 0.761)):
        shares = compressed_shares(layers)
        assert shares[:4] == [(0.90, 0.95)] * 4 and shares[-8:] == [(0.50, 0.70)] * 8 and set(shares[4:-8]) == {(0.80, 0.80)}
        for scheme in ("pyramid", "uniform", "kv_inverse", "layer_inverse"):
            assert sum(map(sum, compressed_shares(layers, scheme=scheme))) / (2 * layers) == pytest.approx(mean, abs=5e-4)
    assert compressed_shares(32, scheme="kv_inverse")[0] == (0.95, 0.90)
    assert compressed_shares(32, scheme="layer_inverse")[:8] == [(0.50, 0.70)] * 8


def test_unknown_schemes_and_tiny_models_are_refused():
    with pytest.raises(GalleyError, match="scheme is 'cone'"):
        compressed_shares(32, scheme="cone")
    with pytest.raises(GalleyError, match="1 layers"):
        compressed_shares(1)


def test_channel_errors_are_those_of_projecting_each_channel():
    model = tiny_llama()
    prompts = [prefill(model, prompt_ids(model, 70, seed=seed), window=1) for seed in (0, 1)]
    by = Fourier(2, 8, 4, "ours", 0, frozenset())
    errors = channel_errors(prompts, by=by)
    assert errors.shape == (2, 2, 32)
    f, w = basis(4, 60, 60, dtype=torch.float64), synthesis_weights(4, 60, mode="ours")
    projector = f.mT @ (w[:, None] * f)
    for layer, side, channel in ((0, 0, 3), (1, 1, 17)):
        head, j = divmod(channel, 16)
        slow = [
            float(((projector @ x - x) ** 2).mean()) for x in ((p.keys, p.values)[side][layer][0, head, 2:62, j].double() for p in prompts)
        ]
        assert float(errors[layer, side, channel]) == pytest.approx(sum(slow) / 2, rel=1e-4)


def test_the_smallest_errors_are_chosen_and_the_control_takes_the_largest():
    errors = torch.rand(3, 2, 40, generator=torch.Generator().manual_seed(0))
    for choice, largest in (("mse", False), ("inverse", True)):
        for error, pair, shares in zip(
            errors, choose_channels(errors, scheme="pyramid", choice=choice, sides="kv", seed=0), compressed_shares(3), strict=True
        ):
            for row, ids, share in zip(error, pair, shares, strict=True):
                want = sorted(range(40), key=lambda c, row=row: float(row[c]), reverse=largest)[: int(share * 40)]
                assert ids.tolist() == sorted(want)


def test_a_random_choice_is_the_seed_s_and_a_side_can_be_left_whole():
    errors = torch.rand(3, 2, 40)
    one, again, other = (choose_channels(errors, scheme="uniform", choice="random", sides="kv", seed=s)[0][0].tolist() for s in (0, 0, 1))
    assert one == again != other
    assert all(len(v) == 0 < len(k) for k, v in choose_channels(errors, scheme="pyramid", choice="mse", sides="k", seed=0))
