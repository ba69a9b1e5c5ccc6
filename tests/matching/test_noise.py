"""Noise is measured where the sound is not; a mask is a filter; placing a sound is a shift and a gain."""

import pytest
import torch
from bell import Bell, N, drawn

from pnpkit.matching import Placed
from pnpkit.matching.noise import Mask, Noise, stft
from pnpkit.matching.placed import delayed
from pnpkit.matching.starting import lag
from pnpkit.matching.waveform import _analytic, finished

GENERATOR = torch.Generator()


@pytest.fixture(autouse=True)
def _whatever_ran_before():
    GENERATOR.manual_seed(0)


def white(n=N):
    return torch.randn(n, generator=GENERATOR, dtype=torch.float64)


def test_a_mask_of_ones_lets_all_through_and_every_mask_is_a_linear_self_adjoint_filter():
    x, y = white(), white()
    shape = stft(x).shape
    assert torch.allclose(Mask(torch.ones(shape))(x), x)
    some = Mask(torch.rand(shape, generator=GENERATOR))
    assert torch.allclose(some(x + 2 * y), some(x) + 2 * some(y))
    assert some(x) @ y == pytest.approx(float(x @ some(y)))
    assert some(x).norm() < x.norm()


@pytest.mark.parametrize("n", [44100, 20000, 4160, 4101, 100])
def test_sounds_of_any_length_have_a_spectrum_a_mask_and_a_noise(n):
    x = white(n)
    assert torch.allclose(Mask(torch.ones(stft(x).shape))(x), x)
    assert Noise.white(0.1, n).power.shape == stft(x).shape[-1:]
    if n > 1000:
        assert Noise.estimate(0.1 * x).deviation == pytest.approx(0.1, rel=0.2)


def test_a_mask_keeps_the_sound_and_drops_the_noise():
    sound, noise = Bell()(drawn(1)[0]), Noise.white(0.05, N)
    draw = noise.draw(1, GENERATOR)[0]
    for mask in (Mask.of_sound(sound + draw, noise), Mask.of_model(sound, noise)):
        assert (mask(sound) - sound).norm() < 0.3 * sound.norm()
        assert mask(draw).norm() < 0.5 * draw.norm()


@pytest.mark.parametrize("deviation", [1e-3, 0.1])
def test_noise_is_estimated_under_a_sound_and_beside_digital_silence(deviation):
    x = Bell()(drawn(1)[0])
    measured = [Noise.estimate(x + deviation * white()).deviation for _ in range(8)]
    assert sum(measured) / 8 == pytest.approx(deviation, rel=0.15)
    padded = torch.cat([deviation * white(3 * N), torch.zeros(N, dtype=torch.float64)])
    assert Noise.estimate(padded).deviation == pytest.approx(deviation, rel=0.15)
    assert Noise.estimate(torch.zeros(N)).deviation == 0


def test_draws_have_the_spectrum_they_are_drawn_from():
    ramp = Noise(torch.linspace(0.5, 1.5, 65, dtype=torch.float64), N)
    power = torch.fft.rfft(ramp.draw(200, GENERATOR)).abs().square().mean(0) / N
    thirds = [part.mean().item() for part in power.tensor_split(3)]
    assert thirds == pytest.approx([2 / 3, 1.0, 4 / 3], rel=0.05)
    assert ramp.scaled(2.0).deviation == pytest.approx(2.0)


def test_a_whole_delay_is_a_shift_and_delays_add_up():
    x = white() * torch.hann_window(N, dtype=torch.float64)
    late = delayed(x, torch.tensor(100.0))
    assert torch.allclose(late[100:], x[:-100], atol=1e-9)
    assert late[:100].abs().max() < 1e-9  # nothing wraps around
    smooth = Bell()(drawn(1)[0])
    halves = delayed(delayed(smooth, torch.tensor(3.3)), torch.tensor(-3.3))
    assert torch.allclose(halves[50:-50], smooth[50:-50], atol=1e-3)


@pytest.mark.parametrize("n", [256, 257])
def test_an_analytic_signal_of_any_length_is_the_sound_and_its_quadrature(n):
    """Of one period less than the most that fit: each bin counts, the last of an odd number of samples too."""
    turn = 2 * torch.pi * ((n - 1) // 2) * torch.arange(n, dtype=torch.float64) / n
    z = _analytic(turn.cos(), torch.ones(n // 2 + 1, dtype=torch.float64))
    torch.testing.assert_close(z, torch.polar(torch.ones_like(turn), turn))


def test_a_waveform_explains_nothing_where_the_noise_is_all_there_is():
    theta = drawn(1)[0]
    x = Bell()(theta)
    assert finished(x, Placed(Bell()), theta, Noise.white(2 * float(x.std()), N)).explained == 0


def test_a_level_is_a_gain_in_decibels():
    theta = drawn(2)
    world = Placed(Bell(), level=20.0)
    louder = world(torch.cat([theta, torch.tensor([[6.0], [-6.0]]).double()], -1))
    assert louder.norm(dim=-1).tolist() == pytest.approx(
        (Bell()(theta).norm(dim=-1) * 10 ** torch.tensor([0.3, -0.3])).tolist()
    )


def test_derivatives_of_level_and_delay_are_those_of_differences():
    world = Placed(Bell(), level=20.0, delay=0.1)
    theta = torch.cat([drawn(1)[0], torch.tensor([3.0, 0.01]).double()])
    slopes = torch.func.jacfwd(world)(theta)
    for i, h in ((2, 1e-4), (3, 1e-7)):
        step = h * torch.eye(4, dtype=torch.float64)[i]
        difference = (world(theta + step) - world(theta - step)) / (2 * h)
        assert torch.allclose(slopes[:, i], difference, rtol=1e-4, atol=1e-4 * float(difference.abs().max()))


def test_lag_is_the_delay_between_hops_too():
    x = Bell()(drawn(1)[0])
    for samples in (-70.0, 0.0, 51.0, 200.0):
        assert float(lag(delayed(x, torch.tensor(samples)), x, 400.0)) == pytest.approx(samples, abs=16)


def test_lag_of_a_sound_that_is_shorter_than_it_may_be_late():
    x = Bell()(drawn(1)[0])
    assert float(lag(delayed(x, torch.tensor(200.0)), x, 4.0 * N)) == pytest.approx(200, abs=16)
