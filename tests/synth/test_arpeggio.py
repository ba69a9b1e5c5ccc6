"""The arpeggio and its parameter space: laws, then the authors' waveforms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnpkit.synth import Arpeggio, Parameter, ParameterSpace
from tests.oracle import load

REFERENCE = load("arpeggio")
THETA = torch.tensor([[740.0, 8.7, 1.7], [520.0, 15.0, 0.6], [1000.0, 4.2, 3.9]], dtype=torch.float64)
SHORT = 2048
SPACE = Arpeggio.parameters
IN_RANGE = st.tuples(*(st.floats(p.low, p.high) for p in SPACE.parameters))


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_batch_is_loop(variant):
    g = Arpeggio(variant, n_samples=SHORT)
    assert torch.equal(g(THETA), torch.stack([g(theta) for theta in THETA]))
    assert torch.equal(g(THETA.reshape(3, 1, 3)), g(THETA).reshape(3, 1, SHORT))


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_single_precision_loses_no_phase(variant):
    g, theta = Arpeggio(variant), THETA.float()
    exact, slope = torch.func.jvp(g, (theta.double(),), (torch.ones_like(THETA),))
    x, single = torch.func.jvp(g, (theta,), (torch.ones_like(theta),))
    assert x.dtype == single.dtype == torch.float32
    assert torch.equal(x, exact.float())
    torch.testing.assert_close(single, slope.float(), rtol=1e-6, atol=1e-6)


def test_waveforms_are_the_authors():
    x = Arpeggio()(REFERENCE["theta"][:4])
    np.testing.assert_allclose(x.numpy(), REFERENCE["x"].numpy(), rtol=0, atol=1e-5)


def test_paper_variant_is_the_explicit_sum_of_its_equations():
    g = Arpeggio("paper")
    t = g.time().numpy()
    for f_c, f_m, gamma in THETA[:, :3].tolist():
        total = np.zeros_like(t)
        for k in range(math.floor(f_m * t[0]) - 1, math.ceil(f_m * t[-1]) + 1):
            gate = (k <= f_m * t) & (f_m * t < k + 0.5)
            a = np.sin(2 * np.pi * f_m * t) * gate  # Eq (7)
            rate = gamma * math.log(2)
            phase = 2 ** (gamma * k / f_m) * 2 * np.pi * f_c / rate * np.exp(rate * (t - k / f_m))  # Eq (8)
            total += a * np.cos(phase)
        x = np.exp(-((gamma * t) ** 2) / 2) / math.sqrt(2 * np.pi) / gamma * total  # Eq (6)
        theta = torch.tensor([f_c, f_m, gamma], dtype=torch.float64)
        np.testing.assert_allclose(g(theta).numpy(), x, rtol=0, atol=1e-7)


def test_without_glissando_it_is_an_amplitude_modulated_tone():
    g = Arpeggio(detach_gain=False, n_samples=SHORT)
    f_c, f_m = 700.0, 9.0
    tone = torch.sin(2 * math.pi * f_c * g.time()) * torch.sin(2 * math.pi * f_m * g.time())
    theta = torch.tensor([f_c, f_m, 0.0], dtype=torch.float64)
    slope = torch.func.jvp(g, (theta,), (torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),))[1]
    torch.testing.assert_close(slope, tone)  # x = γ · tone + O(γ²)
    for gamma in (1e-5, 1e-7, 1e-9):  # either side of where the phase switches to its series
        near = g(torch.tensor([f_c, f_m, gamma], dtype=torch.float64))
        torch.testing.assert_close(near / gamma, tone, rtol=0, atol=200 * gamma + 1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1e-7, -1e-7, -2.0])
def test_gradients_are_finite_where_gamma_vanishes_or_is_negative(gamma):
    theta = torch.tensor([700.0, 9.0, gamma], dtype=torch.float64, requires_grad=True)
    Arpeggio(detach_gain=False)(theta).square().sum().backward()
    assert torch.isfinite(theta.grad).all()


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("detach", [True, False])
def test_forward_reverse_and_finite_differences_agree(variant, detach):
    g = Arpeggio(variant, detach, n_samples=512)
    for theta in THETA:
        forward, reverse = torch.func.jacfwd(g)(theta), torch.func.jacrev(g)(theta)
        torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-9)
        for i, step in enumerate((1e-4, 1e-6, 1e-7)):
            up, down = (theta + s * step * torch.eye(3, dtype=torch.float64)[i] for s in (1, -1))
            # A detached gain stays where it is while γ moves.
            gain = lambda th: (theta[2] / th[2]) ** (1 if variant == "code" else -1) if detach else 1.0  # noqa: B023, E731
            difference = (g(up) * gain(up) - g(down) * gain(down)) / (2 * step)
            torch.testing.assert_close(forward[:, i], difference, rtol=1e-5, atol=1e-5 * float(difference.abs().max()))


def test_detaching_the_gain_changes_the_derivative_and_not_the_sound():
    free, fixed = Arpeggio(detach_gain=False, n_samples=SHORT), Arpeggio(n_samples=SHORT)
    theta = THETA[0]
    assert torch.equal(free(theta), fixed(theta))
    missing = torch.func.jacfwd(free)(theta) - torch.func.jacfwd(fixed)(theta)
    torch.testing.assert_close(missing[:, 2], free(theta) / theta[2])
    assert missing[:, :2].abs().max() == 0


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (torch.tensor([740.0, math.nan, 1.0]), "finite"),
        (torch.tensor([740.0, 8.0, math.inf]), "finite"),
        (torch.zeros(2, 4), r"\(2, 4\).*3: f_c, f_m, gamma"),
        (torch.tensor([740, 8, 1]), "floating-point"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_theta_is_refused_with_what_came_and_what_is_allowed(theta, message):
    with pytest.raises(ValueError, match=message):
        Arpeggio()(theta)


@pytest.mark.usefixtures("unchecked")
def test_bad_synthesisers_are_refused():
    with pytest.raises(ValueError, match="unknown variant 'slides'; valid ones: code, paper"):
        Arpeggio("slides")
    for n in (0, 3, -2, 1000.0):
        with pytest.raises(ValueError, match=f"even number, not {n}"):
            Arpeggio(n_samples=n)
    with pytest.raises(ValueError, match="gamma must not be 0"):
        Arpeggio("paper")(torch.tensor([740.0, 8.0, 0.0]))


@pytest.mark.parametrize("coordinates", ["raw", "log", "minmax", "logminmax"])
@given(theta=IN_RANGE)
def test_coordinates_round_trip(coordinates, theta):
    theta = torch.tensor(theta, dtype=torch.float64)
    u = SPACE.encode(theta, coordinates)
    torch.testing.assert_close(SPACE.decode(u, coordinates), theta)
    if "minmax" in coordinates:
        assert (u.abs() <= 1 + 1e-12).all()


@pytest.mark.parametrize("coordinates", ["raw", "log", "minmax", "logminmax"])
def test_change_of_coordinates_is_autograd(coordinates):
    root = torch.randn(3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    M = root.mT @ root
    u = SPACE.encode(THETA, coordinates)
    A = torch.stack([torch.func.jacrev(lambda v: SPACE.decode(v, coordinates))(v) for v in u])
    torch.testing.assert_close(SPACE.change_coordinates(M, THETA, coordinates), A.mT @ M @ A)


@pytest.mark.usefixtures("unchecked")
def test_parameters_may_come_as_a_list():
    own = list(SPACE.parameters)
    assert ParameterSpace(own) == SPACE
    assert hash(ParameterSpace(own)) == hash(SPACE)


def test_a_linear_parameter_keeps_its_scale_in_log_coordinates():
    space = ParameterSpace((Parameter("f", "f", "Hz", 1.0, 100.0, "log"), Parameter("p", "p", "1", -1.0, 3.0)))
    theta = torch.tensor([10.0, 1.0])
    torch.testing.assert_close(space.encode(theta, "log"), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(space.encode(theta, "logminmax"), torch.tensor([0.0, 0.0]))
    assert space.labels == ("$f$ (Hz)", "$p$")


def test_bad_parameters_and_coordinates_are_refused():
    with pytest.raises(ValueError, match=r"low = 2\.0 must be below high = 1\.0"):
        Parameter("f", "f", "Hz", 2.0, 1.0)
    with pytest.raises(ValueError, match=r"low = -inf .* both finite"):
        Parameter("f", "f", "Hz", -math.inf, 1.0)
    with pytest.raises(ValueError, match="parameters must have different names, not f, f"):
        ParameterSpace((Parameter("f", "f", "Hz", 0.0, 1.0),) * 2)
    for way in (SPACE.encode, SPACE.decode, lambda u, c: SPACE.change_coordinates(torch.eye(2), u, c)):
        with pytest.raises(ValueError, match=r"shape \(2,\); its last dimension must be 3: f_c, f_m, gamma"):
            way(torch.ones(2), "logminmax")
    with pytest.raises(ValueError, match="log scale needs low > 0"):
        Parameter("f", "f", "Hz", 0.0, 1.0, "log")
    with pytest.raises(ValueError, match="unknown coordinates 'mel'; valid ones: raw, log, minmax, logminmax"):
        SPACE.encode(THETA, "mel")
    with pytest.raises(ValueError, match="f_c must be positive"):
        SPACE.encode(-THETA, "log")


@pytest.mark.usefixtures("unchecked")
def test_a_scale_is_one_of_two():
    with pytest.raises(ValueError, match="unknown scale 'Log'; valid ones: linear, log"):
        Parameter("f", "f", "Hz", 1.0, 2.0, "Log")
