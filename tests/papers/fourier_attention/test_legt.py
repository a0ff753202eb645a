import torch

from galley.papers.fourier_attention.legt import legt_maps, legt_round_trip, legt_step


def test_a_smooth_signal_comes_back_and_noise_does_not():
    t = torch.linspace(0, 1, 400, dtype=torch.float64)[:, None]
    smooth = torch.cat([t**2 - t, torch.sin(3 * t)], dim=1)
    gap = (legt_round_trip(smooth, reals=8) - smooth)[20:-20].abs().max()
    assert gap < 0.03
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left = (legt_round_trip(noise, reals=8) - noise).square().mean() / noise.var()
    assert 0.9 < left < 1.1  # eight of four hundred degrees of freedom


def test_more_coefficients_keep_more():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(0)
    errors = [float((legt_round_trip(x, reals=n) - x).square().mean()) for n in (2, 8, 32)]
    assert errors[0] > errors[1] > errors[2]


def test_the_first_coefficient_is_the_mean_of_the_window():
    a, b = legt_step(6, 100)
    state = torch.zeros(6, dtype=torch.float64)
    for _ in range(300):  # three windows: the rim of the first still rings
        state = a @ state + b * 2.0
    assert abs(float(state[0]) - 2.0) < 0.02


def test_maps_are_tokens_pushed_one_by_one_and_read_back():
    a, b = legt_step(5, 40)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    state = torch.zeros(5, 3, dtype=torch.float64)
    for token in x:
        state = a @ state + b[:, None] * token
    push, read = legt_maps(5, 40)
    torch.testing.assert_close(push @ x, state)
    torch.testing.assert_close(legt_round_trip(x, reals=5), read @ state)
