"""Losses: how they reduce to one another, and what PNP promises near the target."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnpkit.distances import ddsp_mss_distance
from pnpkit.losses import (
    AdaptivePNPLoss,
    ParameterLoss,
    PNPLoss,
    SpectralLoss,
    WaveformLoss,
    WeightedParameterLoss,
    quadratic_form,
)
from pnpkit.metric import damp, riemannian_metric

DOUBLE = torch.float64
SEEDS = st.integers(0, 2**31)


def listen(theta):
    """A toy Φ∘g: curved, of more dimensions than θ."""
    a, b = theta.unbind(-1)
    return torch.stack((a * b, torch.sin(a), torch.exp(b / 3), a**2 - b), -1)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


@given(seed=SEEDS, d=st.integers(1, 6))
def test_pnp_with_identity_is_half_d_times_p(seed, d):
    # P is a mean over the d dimensions, PNP half a sum: the factor is d/2.
    prediction, target = draw(seed, 2, 5, d)
    identity = torch.eye(d, dtype=DOUBLE).expand(5, d, d)
    torch.testing.assert_close(PNPLoss()(prediction, target, identity), d / 2 * ParameterLoss()(prediction, target))


@given(seed=SEEDS, rank=st.integers(0, 4))
def test_quadratic_form_is_not_negative_and_vanishes_on_the_null_space(seed, rank):
    J = draw(seed, rank, 4)
    M = (J.mT @ J).expand(50, 4, 4)
    delta = draw(seed + 1, 50, 4)
    assert (quadratic_form(delta, M) >= -1e-12).all()
    null = delta - delta @ (torch.linalg.pinv(J) @ J).mT
    torch.testing.assert_close(quadratic_form(null, M), torch.zeros(50, dtype=DOUBLE), rtol=0, atol=1e-9)


@given(seed=SEEDS, scale=st.floats(-10, 10))
def test_quadratic_form_is_quadratic_and_float64(seed, scale):
    delta, M = draw(seed, 7, 3), (torch.eye(3, dtype=DOUBLE) + 0.1).expand(7, 3, 3)
    torch.testing.assert_close(quadratic_form(scale * delta, M), scale**2 * quadratic_form(delta, M))
    assert quadratic_form(delta.float(), M.float()).dtype == DOUBLE


def test_weighted_loss_is_pnp_with_a_diagonal_metric():
    prediction, target = draw(0, 2, 5, 3)
    weights = torch.tensor([0.5, 30.0, 2000.0])
    diagonal = torch.diag(weights.double()).expand(5, 3, 3)
    torch.testing.assert_close(
        WeightedParameterLoss(weights)(prediction, target), PNPLoss()(prediction, target, diagonal)
    )


def test_damping_is_added_to_every_metric():
    prediction, target = draw(0, 2, 5, 3)
    M = torch.eye(3, dtype=DOUBLE).expand(5, 3, 3)
    damping = damp(0.7, "mean", M.mean(0))
    torch.testing.assert_close(PNPLoss(damping)(prediction, target, M), 1.7 * PNPLoss()(prediction, target, M))


def test_relaxing_divides_the_damping_and_nothing_else():
    delta, M, D = torch.tensor([[1.0, -2.0]]), torch.eye(2)[None], torch.tensor([[3.0, 1.0], [1.0, 5.0]])
    zero = torch.zeros_like(delta)
    whole, bare = (loss(delta, zero, M) for loss in (PNPLoss(D), PNPLoss()))
    adaptive = AdaptivePNPLoss(D)
    assert adaptive(delta, zero, M) == whole
    assert [adaptive.judge(improved) for improved in (False, True, True, True, False)] == [0, 1, 2, 3, 2]
    torch.testing.assert_close(adaptive(delta, zero, M) - bare, (whole - bare) / 100)


def test_spectral_loss_is_zero_at_the_target_and_blind_to_the_targets_gradient():
    theta = draw(1, 5, 2).requires_grad_()
    loss = SpectralLoss(listen)(theta.detach().requires_grad_(), theta)
    loss.backward()
    assert loss == 0
    assert theta.grad is None


def test_spectral_loss_decodes_both_sides():
    theta = draw(1, 2, 5, 2)
    by_log = SpectralLoss(listen, torch.exp)(theta[0], theta[1])
    torch.testing.assert_close(by_log, SpectralLoss(listen)(theta[0].exp(), theta[1].exp()))


def test_a_guess_outside_the_box_is_heard_at_its_edge_and_pays_for_the_way_back():
    target = torch.tensor([[0.2, 0.4]], dtype=DOUBLE)
    low, high = torch.tensor([-1.0, 0.0], dtype=DOUBLE), torch.tensor([1.0, 4.0], dtype=DOUBLE)
    deaf = lambda theta: torch.where(theta.abs() > 4, torch.nan, theta).exp()  # noqa: E731, overflows outside
    outside = torch.tensor([[3.0, 9.0]], dtype=DOUBLE, requires_grad=True)
    loss = SpectralLoss(deaf, box=(low, high))(outside, target)
    heard = SpectralLoss(deaf)(torch.tensor([[1.0, 4.0]], dtype=DOUBLE), target)
    silence = 0.5 * deaf(target).square().sum()
    ways = torch.tensor([2.0 / 1.0, (9.0 - 4.0) / 2.0], dtype=DOUBLE)
    torch.testing.assert_close(loss, heard + silence * ((1 + ways.square().sum()).sqrt() - 1))
    (slope,) = torch.autograd.grad(loss, outside)
    wanted = silence * ways / (1 + ways.square().sum()).sqrt() / torch.tensor([1.0, 2.0], dtype=DOUBLE)
    torch.testing.assert_close(slope[0], wanted)


def test_a_guess_at_the_end_of_the_world_has_a_finite_slope_home():
    far = torch.tensor([[1e30, -1e30]], requires_grad=True)
    ends = torch.tensor([[-2.0, -2.0], [2.0, 2.0]])
    SpectralLoss(listen, box=tuple(ends))(far, torch.zeros(1, 2)).backward()
    assert torch.isfinite(far.grad).all()
    assert far.grad[0, 0] > 0 > far.grad[0, 1]


def test_inside_its_box_the_spectral_loss_is_what_it_is_without():
    inside, target = draw(3, 2, 5, 2).clamp(-2, 2).requires_grad_()
    ends = torch.tensor([[-2.0, -2.0], [2.0, 2.0]], dtype=DOUBLE)
    with_box, without = SpectralLoss(listen, box=tuple(ends)), SpectralLoss(listen)
    torch.testing.assert_close(with_box(inside, target), without(inside, target))
    with pytest.raises(ValueError, match=r"low < high, got \[-2.0, -2.0\] and \[-2.0, -2.0\]"):
        SpectralLoss(listen, box=(ends[0], ends[0]))


@pytest.mark.parametrize("what", ["value", "gradient"])
def test_pnp_is_the_spectral_loss_to_first_order_near_the_target(what):
    target, direction = draw(2, 2, 5, 2)
    M = riemannian_metric(lambda theta: theta, listen, target)
    gaps = []
    for size in (1e-1, 1e-2, 1e-3):
        prediction = (target + size * direction).requires_grad_()
        losses = [SpectralLoss(listen)(prediction, target), PNPLoss()(prediction, target, M)]
        pair = losses if what == "value" else [torch.autograd.grad(loss, prediction)[0] for loss in losses]
        gaps.append(float((pair[0] - pair[1]).detach().norm() / pair[0].detach().norm()))
    # The remainder is one order above what it corrects, so the relative gap falls with the step.
    assert gaps[1] < 0.2 * gaps[0] < 0.2
    assert gaps[2] < 0.12 * gaps[1]


@pytest.mark.parametrize("bad", [[1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_bad_weights_are_refused(bad):
    with pytest.raises(ValueError, match="finite, not negative and symmetric"):
        WeightedParameterLoss(torch.tensor(bad))


@pytest.mark.usefixtures("unchecked")
def test_a_metric_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"3 parameters.*\(2, 2\)"):
        quadratic_form(torch.zeros(3), torch.eye(2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2), (3, 2, 2)])
def test_pnp_wants_a_metric_an_item(shape):
    with pytest.raises(ValueError, match=r"\(4, 2\) errors need a metric each"):
        PNPLoss()(torch.ones(4, 2), torch.zeros(4, 2), torch.eye(2).expand(shape))


def tone(theta):
    """A toy synthesiser: a level and a frequency, in radians a sample."""
    level, omega = theta.unbind(-1)
    return level.unsqueeze(-1) * torch.sin(omega.unsqueeze(-1) * torch.arange(4096, dtype=theta.dtype))


def test_waveform_loss_is_the_distance_inside_the_box_and_adds_the_way_back_outside_of_it():
    target = torch.tensor([[0.5, 0.3], [0.8, 0.5]], dtype=DOUBLE)
    box = torch.tensor([0.1, 0.1], dtype=DOUBLE), torch.tensor([0.9, 0.7], dtype=DOUBLE)
    loss = WaveformLoss(ddsp_mss_distance, tone, box=box)
    inside = torch.tensor([[0.6, 0.35], [0.2, 0.6]], dtype=DOUBLE)
    torch.testing.assert_close(loss(inside, target), ddsp_mss_distance(tone(inside), tone(target)).mean())
    one_range_out = torch.tensor([[0.9 + 0.4, 0.35], [0.2, 0.6]], dtype=DOUBLE)  # half a range is 0.4
    there = one_range_out.clamp(*box)
    silence = ddsp_mss_distance(torch.zeros(4096, dtype=DOUBLE), tone(target[0]))
    expected = ddsp_mss_distance(tone(there), tone(target)).mean() + silence * (2**0.5 - 1) / 2
    torch.testing.assert_close(loss(one_range_out, target), expected)
    torch.testing.assert_close(loss(target, target), torch.tensor(0.0, dtype=DOUBLE))


def test_waveform_loss_leads_home():
    target = torch.tensor([[0.5, 0.3]], dtype=DOUBLE)
    guess = torch.tensor([[0.4, 0.3]], dtype=DOUBLE, requires_grad=True)
    WaveformLoss(ddsp_mss_distance, tone)(guess, target).backward()
    assert guess.grad is not None
    assert guess.grad[0, 0] < 0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "loss",
    [ParameterLoss(), WeightedParameterLoss(torch.ones(1)), PNPLoss(), SpectralLoss(torch.square)],
    ids=lambda loss: type(loss).__name__,
)
def test_no_loss_broadcasts_a_column_against_a_row(loss):
    with pytest.raises(ValueError, match=r"prediction and target must have the same shape, not \(4, 1\) and \(4,\)"):
        loss(torch.ones(4, 1), torch.ones(4), torch.eye(1).expand(4, 1, 1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bad", [[[1.0, 5.0], [5.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.5], [0.0, 1.0]]])
def test_weights_that_are_no_metric_are_refused(bad):
    with pytest.raises(ValueError, match="finite, not negative and symmetric"):
        WeightedParameterLoss(torch.tensor(bad))
    singular = torch.ones(2, 2)  # that one is
    assert WeightedParameterLoss(singular)(torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2)) == 0


@pytest.mark.usefixtures("unchecked")
def test_a_damping_that_is_no_metric_is_refused_when_the_loss_is_made():
    for make in (PNPLoss, AdaptivePNPLoss):
        with pytest.raises(TypeError, match="damping must be a tensor, not float"):
            make(0.1)
        with pytest.raises(ValueError, match="damping must be finite, not negative and symmetric"):
            make(-torch.eye(2))
    with pytest.raises(ValueError, match=r"damping of \(3, 3\) is not for metrics of \(1, 2, 2\)"):
        PNPLoss(torch.eye(3))(torch.ones(1, 2), torch.zeros(1, 2), torch.eye(2).expand(1, 2, 2))


def test_losses_are_modules_that_keep_their_matrix():
    D = torch.diag(torch.tensor([1.0, 4.0]))
    for loss, name in ((PNPLoss(D), "damping"), (AdaptivePNPLoss(D), "damping"), (WeightedParameterLoss(D), "D")):
        assert torch.equal(loss.to("cpu").state_dict()[name], D.double())
        assert not list(loss.parameters())


def test_a_small_damping_is_added_to_a_metric_of_single_precision_too():
    M, D = torch.eye(2).expand(1, 2, 2), 1e-9 * torch.eye(2, dtype=DOUBLE)
    pair = torch.ones(1, 2), torch.zeros(1, 2)
    assert PNPLoss(D)(*pair, M) == PNPLoss(D)(*pair, M.double()) > PNPLoss()(*pair, M)
