"""In polar coordinates the geodesics are straight lines of the plane, and their steps are even."""

import math

import pytest
import torch

from pnpkit.matching import morph
from pnpkit.synth import Parameter, ParameterSpace

POLAR = ParameterSpace((Parameter("r", "r", "1", 0.1, 4.0), Parameter("angle", "a", "rad", -3.0, 3.0)))
A, B = torch.tensor([1.0, -0.5]).double(), torch.tensor([2.0, 1.2]).double()


def plane(theta):
    r, angle = theta.unbind(-1)
    return torch.stack([r * torch.cos(angle), r * torch.sin(angle)], -1)


def same(x):
    return x


@pytest.mark.parametrize("n", [2, 5, 10])
def test_the_geodesic_of_the_plane_is_its_straight_line_in_even_steps(n):
    path = morph(A, B, n, g=plane, phi=same, space=POLAR, tolerance=1e-3, iterations=30)
    points = plane(path.theta)
    share = torch.linspace(0, 1, n + 1).double().unsqueeze(-1)
    assert torch.allclose(points, torch.lerp(plane(A), plane(B), share), atol=0.02)
    assert path.converged
    assert path.unevenness <= 1e-3
    assert path.lengths.sum().item() == pytest.approx((plane(B) - plane(A)).norm().item(), rel=1e-3)
    assert path.lengths.sum() < path.straight_lengths.sum()


def test_paths_that_are_tried_are_counted_up_to_what_was_announced():
    told = []
    morph(A, B, 5, g=plane, phi=same, space=POLAR, progress=lambda *now: told.append(now))
    assert [done for _, done, _ in told] == list(range(1, len(told) + 1))
    ((_, most),) = {(stage, total) for stage, _, total in told}
    assert 1 < len(told) <= most


def test_ends_stay_and_one_step_is_the_way_from_one_to_the_other():
    path = morph(A, B, 1, g=plane, phi=same, space=POLAR)
    assert torch.allclose(path.theta, torch.stack([A, B]))
    assert path.lengths.tolist() == path.straight_lengths.tolist()


def test_a_path_that_bounds_forbid_to_be_straight_keeps_to_them():
    space = ParameterSpace((Parameter("r", "r", "1", 0.95, 4.0), POLAR.parameters[1]))
    ends = torch.tensor([[1.0, -1.3], [1.0, 1.3]]).double()  # the chord would pass at r = 0.27
    path = morph(*ends, 8, g=plane, phi=same, space=space, iterations=30)
    assert (path.theta[:, 0] >= 0.95 - 1e-9).all()
    assert path.unevenness <= 0.05
    assert path.lengths.sum() <= path.straight_lengths.sum() + 1e-9


def test_a_rough_stretch_on_the_way_is_gone_around():
    space = ParameterSpace((Parameter("a", "a", "1", 0.0, 1.0), Parameter("b", "b", "1", -1.0, 1.0)))

    def rough(theta):
        a, b = theta.unbind(-1)
        hill = torch.exp(-(((a - 0.5) / 0.08) ** 2) - (b / 0.3) ** 2)
        return torch.stack([a, b, hill * torch.cos(40 * a), hill * torch.sin(40 * a)], -1)

    path = morph(torch.tensor([0.0, 0.02]), torch.tensor([1.0, 0.02]), 6, g=rough, phi=same, space=space)
    assert path.converged
    assert path.unevenness <= 0.05
    assert path.lengths.sum() < 1.5 < 2.5 < path.straight_lengths.sum()


def test_the_same_sound_at_both_ends_goes_nowhere():
    path = morph(A, A, 4, g=plane, phi=same, space=POLAR)
    assert torch.allclose(path.theta, A.expand(5, 2))
    assert path.unevenness == 0
    assert path.converged


def test_a_way_no_longer_than_rounding_is_none():
    path = morph(A, A + 1e-6, 4, g=plane, phi=same, space=POLAR)
    assert path.converged
    assert path.unevenness == 0
    assert path.lengths.tolist() == [0.0] * 4


def test_a_straight_line_that_is_the_geodesic_has_converged_where_it_began():
    path = morph(A, B, 4, g=same, phi=same, space=POLAR, coordinates="minmax")
    assert path.converged
    assert torch.allclose(path.theta, path.straight)


def test_bad_input():
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        morph(A, B, 0, g=plane, phi=same, space=POLAR)
    with pytest.raises(ValueError, match="lies outside"):
        morph(A, B * math.pi, 3, g=plane, phi=same, space=POLAR)
