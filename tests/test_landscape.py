"""Spectral loss against PNP loss, where both are known: order of the remainder, radius, invariance, basins."""

import numpy as np
import pytest
import torch

from pnpkit.landscape import (
    LinearisedListening,
    agreement_radius,
    downhill_share,
    fitted_order,
    home_cosines,
    isotropic_directions,
    spectral_losses,
)
from pnpkit.losses import SpectralLoss, quadratic_form
from pnpkit.metric import riemannian_metric
from pnpkit.synth import Arpeggio

DOUBLE = torch.float64
THETA = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=DOUBLE)
RADII = 2.0 ** np.arange(-9, -4)


def listen(theta):
    """A curved sheet in four dimensions."""
    a, b = theta.unbind(-1)
    return torch.stack([a, b, a * b, torch.sin(a) + b**2], -1)


def metric():
    return riemannian_metric(listen, lambda x: x, THETA)


def rays(M):
    return isotropic_directions(M, 4)[:, :, None] * torch.tensor(RADII)[:, None]


def test_spectral_losses_are_those_of_the_loss_item_by_item():
    errors = rays(metric())
    found = spectral_losses(listen, THETA, errors, together=3)
    assert found.shape == (3, 4, len(RADII))
    loss = SpectralLoss(listen)
    for i, j, k in ((0, 0, 0), (2, 3, 4), (1, 2, 1)):
        wanted = loss((THETA[i] + errors[i, j, k])[None], THETA[i][None])
        torch.testing.assert_close(found[i, j, k], wanted)


def test_the_remainder_is_of_third_order_with_the_metric_and_of_second_without():
    M = metric()
    spectral = spectral_losses(listen, THETA, rays(M)).numpy()
    for matrix, order, tolerance in ((M, 3, 0.15), (1.1 * M, 2, 0.05)):
        pnp = quadratic_form(rays(M), matrix[:, None, None].expand(-1, 4, len(RADII), -1, -1)).numpy()
        np.testing.assert_allclose(fitted_order(RADII, np.abs(spectral - pnp)), order, atol=tolerance)


def test_directions_have_unit_length_and_follow_a_change_of_units():
    M = metric()
    v = isotropic_directions(M, 5, seed=3)
    torch.testing.assert_close(2 * quadratic_form(v, M[:, None].expand(-1, 5, -1, -1)), torch.ones(3, 5, dtype=DOUBLE))
    A = torch.tensor([0.01, 100.0], dtype=DOUBLE)
    torch.testing.assert_close(isotropic_directions(A[:, None] * M * A, 5, seed=3), v / A)
    with pytest.raises(ValueError, match="1 of 3 metrics are not positive definite"):
        isotropic_directions(torch.stack([*M[:2], torch.zeros(2, 2, dtype=DOUBLE)]), 5)


@pytest.mark.usefixtures("unchecked")
def test_as_many_points_as_sets_of_errors():
    with pytest.raises(ValueError, match="3 points need as many sets of errors, not 2"):
        spectral_losses(listen, THETA, torch.zeros(2, 1, 2, dtype=DOUBLE))


def test_the_radius_of_a_power_law_is_exact():
    radii = 2.0 ** np.arange(-3, 4)
    ratios = 1 + np.array([[0.03], [-0.03], [0.5], [1e-4]]) * radii**1.5
    wanted = [(0.1 / 0.03) ** (2 / 3)] * 2 + [(0.1 / 0.5) ** (2 / 3), np.inf]
    np.testing.assert_allclose(agreement_radius(ratios, radii), wanted)
    assert agreement_radius([1.2, 1.0], [1.0, 2.0]) == 0
    assert agreement_radius([1.0, np.nan, 1.0], [1.0, 2.0, 4.0]) == 1  # what is not known does not agree
    with pytest.raises(ValueError, match="ascending"):
        agreement_radius([1.0, 1.0], [2.0, 1.0])


def test_one_basin_leads_home_from_everywhere_and_ripples_do_not():
    x = np.linspace(-1, 1, 101)
    assert downhill_share(x**2, at=50) == 1
    assert downhill_share(-(x**2), at=50) == 0
    assert 0.4 < downhill_share(np.sin(40 * x) + 0.1 * x**2, at=50) < 0.6


def test_descent_points_home_in_a_bowl_and_nowhere_on_a_plain():
    g = Arpeggio(detach_gain=False)
    truth = torch.tensor([[600.0, 5.0, 1.0], [900.0, 12.0, 2.0]], dtype=DOUBLE)
    guess = torch.tensor([[700.0, 4.5, 1.5], [880.0, 15.0, 0.7]], dtype=DOUBLE)
    space, ends = g.parameters, torch.stack([truth, guess])
    home, away = space.encode(ends, "logminmax")
    sounds = g(ends).float()
    seen = []

    def loudness(x, y):
        """Of the reconstruction: its gradient is known by finite differences, the target does not matter."""
        seen.append((x.detach(), y))
        return x.double().square().sum(-1)

    found = home_cosines(g, {"loudness": loudness, "plain": lambda x, y: 0 * x.sum(-1)}, truth, guess)
    for i in range(2):
        torch.testing.assert_close(seen[i][0], sounds[1, i][None], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(seen[i][1], sounds[0, i][None])
        steps = away[i] + 1e-4 * torch.cat([torch.eye(3), -torch.eye(3)]).to(away)
        up, down = g(space.decode(steps, "logminmax")).square().sum(-1).reshape(2, 3)
        wanted = torch.cosine_similarity(down - up, home[i] - away[i], dim=0)
        assert found["loudness"][i] == pytest.approx(float(wanted), abs=1e-3)
    assert (found["plain"] == 0).all()


@pytest.mark.usefixtures("unchecked")
def test_as_many_guesses_as_truths():
    with pytest.raises(ValueError, match="2 truths need as many guesses, not 1"):
        home_cosines(Arpeggio(), {}, torch.ones(2, 3), torch.ones(1, 3))


def test_linearised_listening_is_the_tangent_at_the_nearest_sound():
    theta = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    F = lambda th: torch.stack((th[..., 0] * th[..., 1], th[..., 0] ** 2, th[..., 1].log()), -1)  # noqa: E731
    J = torch.func.vmap(torch.func.jacfwd(F))(theta)
    linearised = LinearisedListening(theta, F(theta), J, torch.log)
    torch.testing.assert_close(linearised(theta), F(theta))
    for step in (1e-2, 1e-3):  # close to a known sound the error is of second order
        near = theta[:5] + step * torch.tensor([0.6, -0.8])
        assert (linearised(near) - F(near)).norm(dim=-1).max() < 2 * step**2
    guess = (theta[:5] + 1e-3).requires_grad_()
    SpectralLoss(linearised)(guess, theta[:5]).backward()
    exact = (theta[:5] + 1e-3).requires_grad_()
    SpectralLoss(F)(exact, theta[:5]).backward()
    assert guess.grad is not None
    assert exact.grad is not None
    cosines = torch.cosine_similarity(guess.grad, exact.grad)
    assert cosines.min() > 0.999
    far = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    k = (theta.log() - far.log()).norm(dim=-1).argmin()
    torch.testing.assert_close(linearised(far)[0], F(theta[k]) + J[k] @ (far[0] - theta[k]))


def test_linearised_listening_needs_as_many_values_as_sounds(unchecked):
    with pytest.raises(ValueError, match="3 sounds, 2 values, 3 Jacobians"):
        LinearisedListening(THETA, THETA[:2], torch.zeros(3, 2, 2))
