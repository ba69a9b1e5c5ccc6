"""The drum: laws of its sound and of its derivatives, the equation it solves, then the authors' sounds and metrics."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BarycentricInterpolator
from scipy.linalg import expm

from pnpkit.jtfs import Phi
from pnpkit.metric import riemannian_metric
from pnpkit.synth import RectangularDrum
from tests.oracle import drum as oracle
from tests.oracle import load, relative

REFERENCE = load("drum")
THETA = REFERENCE["theta"]
SPACE = RectangularDrum.parameters
NYQUIST = math.pi * RectangularDrum.sample_rate
SHORT = 2000
IN_RANGE = st.tuples(*(st.floats(-1, 1) for _ in SPACE.names)).map(
    lambda u: SPACE.decode(torch.tensor(u, dtype=torch.float64), "logminmax")
)


def point(**changes: float) -> torch.Tensor:
    """A drum in the middle of the data set, but for what is changed."""
    middle = {"omega": 1500.0, "tau": 0.4, "p": 0.01, "D": 0.01, "alpha": 0.5}
    return torch.tensor(list((middle | changes).values()), dtype=torch.float64)


def time(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.float64) / RectangularDrum.sample_rate


# The sound ------------------------------------------------------------------------------------------------------------


def test_batch_is_loop_and_vmap():
    g = RectangularDrum(n_samples=SHORT)
    x = g(THETA)
    torch.testing.assert_close(x, torch.stack([g(theta) for theta in THETA]), rtol=0, atol=1e-12)
    torch.testing.assert_close(x, torch.func.vmap(g)(THETA), rtol=0, atol=1e-12)
    assert torch.equal(g(THETA.reshape(5, 1, 5)), x.reshape(5, 1, SHORT))


@given(theta=IN_RANGE)
def test_mode_1_1_is_theta(theta):
    """A drum of one mode: frequency ω, decay time τ, whatever the rest."""
    theta[4] = theta[4].clamp_min(1e-6)
    omega, tau, _, _, alpha = theta
    g = RectangularDrum(modes=(1, 1), normalise_peak=False, n_samples=SHORT)
    t = time(SHORT)
    amplitude = 4 * g.strength / (math.pi * math.pi * alpha) * math.sin(g.position * math.pi) ** 4 / omega
    torch.testing.assert_close(g(theta), amplitude * torch.exp(-t / tau) * torch.sin(omega * t))


def test_all_ten_by_ten_modes_are_the_sum_of_the_reference():
    generator = torch.Generator().manual_seed(0)
    u = 2 * torch.rand(12, 5, generator=generator, dtype=torch.float64) - 1
    theta = SPACE.decode(u, "logminmax")
    for x, point_ in zip(RectangularDrum()(theta), theta.tolist(), strict=True):
        np.testing.assert_allclose(x.numpy(), oracle(*point_), rtol=0, atol=1e-9)


def test_the_diagonal_variant_is_the_sum_of_the_diagonal_modes():
    g = RectangularDrum(diagonal=True, normalise_peak=False, n_samples=SHORT)
    assert g.mode_numbers == tuple((k, k) for k in (1, 2, 3, 4, 6, 7, 8, 9))  # 5 and 10 have a node at the blow
    every = RectangularDrum(normalise_peak=False)
    frequency, decay, amplitude = every.modal(THETA[3])
    diagonal = [i for i, (m1, m2) in enumerate(every.mode_numbers) if m1 == m2]
    t = time(SHORT)
    modes = amplitude * torch.exp(-decay * t[:, None]) * torch.sin(frequency * t[:, None]) * (frequency < NYQUIST)
    gain = 4 * g.strength / (math.pi**2 * THETA[3, 4])
    torch.testing.assert_close(g(THETA[3]), gain * modes[:, diagonal].sum(-1), rtol=0, atol=1e-15)


@given(theta=IN_RANGE)
def test_the_peak_is_one_and_carries_the_strength_of_the_blow(theta):
    x, y = (RectangularDrum(normalise_peak=n, n_samples=SHORT)(theta) for n in (True, False))
    assert x.abs().max().item() == pytest.approx(1, abs=1e-15)
    torch.testing.assert_close(x * y.abs().max(), y)


def test_no_part_of_the_sound_outlives_tau():
    """|x(t)| ≤ a Σ amplitudes · e^{−t/τ}, as no mode decays more slowly than the first."""
    g = RectangularDrum(normalise_peak=False)
    bound = g.modal(THETA).amplitude.sum(-1, keepdim=True) * torch.exp(-time(g.n_samples) / THETA[:, 1:2])
    assert (g(THETA).abs() <= 4 * g.strength / (math.pi**2 * THETA[:, 4:]) * bound).all()
    assert (g.modal(THETA).decay >= 1 / THETA[:, 1:2]).all()


def test_a_turned_drum_sounds_the_same():
    """α → 1/α swaps the sides; so at α = 1 the sound does not depend on α to first order."""
    g = RectangularDrum(n_samples=SHORT)
    turned = torch.cat([THETA[:, :4], 1 / THETA[:, 4:]], -1)
    torch.testing.assert_close(g(turned), g(THETA), rtol=0, atol=1e-8)
    square = point(alpha=1.0)
    slope = torch.func.jacfwd(g)(square)[:, 4]
    assert slope.abs().max() < 1e-9
    assert torch.func.jacfwd(g)(point(alpha=0.9))[:, 4].abs().max() > 1


def test_twice_as_fast_is_every_second_sample():
    """Only ωt and t/τ count, as long as no mode is cut."""
    g = RectangularDrum(modes=(3, 3), normalise_peak=False, n_samples=SHORT)
    slow, fast = point(omega=1000.0, tau=0.4), point(omega=2000.0, tau=0.2)
    assert g.modal(fast).frequency.max() < NYQUIST
    torch.testing.assert_close(2 * g(fast)[: SHORT // 2], g(slow)[::2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 37, 1000])
def test_a_shorter_drum_is_the_beginning(n):
    short, long = (RectangularDrum(normalise_peak=False, n_samples=k)(THETA) for k in (n, SHORT))
    torch.testing.assert_close(short, long[:, :n], rtol=0, atol=1e-15)


def test_single_precision_has_the_phase_of_double():
    x = RectangularDrum()(THETA.float())
    assert x.dtype == torch.float32
    assert (x - RectangularDrum()(THETA.float().double())).abs().max() < 1e-6


# The equation ---------------------------------------------------------------------------------------------------------


@given(theta=IN_RANGE)
def test_modes_are_those_of_the_equation(theta):
    """σ = (d₁ − d₃n)/2, ω_m² = S⁴n² + c²n − σ²: what the closed forms of `modal` stand for."""
    theta[4] = theta[4].clamp_min(1e-3)  # at 0 the equation has no finite coefficients
    g = RectangularDrum()
    S4, c2, d1, d3 = g.equation(theta)
    m1, m2 = torch.tensor(g.mode_numbers, dtype=torch.float64).unbind(-1)
    n = m1**2 + (m2 / theta[4]) ** 2
    decay = (d1 - d3 * n) / 2
    frequency, sigma, _ = g.modal(theta)
    torch.testing.assert_close(sigma, decay, rtol=1e-9, atol=0)
    torch.testing.assert_close(frequency, (S4 * n**2 + c2 * n - decay**2).sqrt(), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "theta",
    [
        point(omega=1200.0, tau=0.05, p=0.05, D=0.05, alpha=0.6),
        point(omega=900.0, tau=0.03, p=0.2, D=0.3, alpha=0.9),
        point(omega=2000.0, tau=0.1, p=1e-5, D=1e-5, alpha=0.4),
    ],
    ids=["drum", "plate", "membrane"],
)
def test_the_sound_solves_the_equation(theta):
    """The equation integrated in space and time, with no mode assumed: collocation at Chebyshev points of a membrane
    that is at rest, has simply supported edges (y = ∇²y = 0), and starts with the part of the blow that lies in the
    first 3 × 3 modes."""
    g = RectangularDrum(modes=(3, 3), normalise_peak=False, n_samples=SHORT)
    S4, c2, d1, d3 = (v.item() for v in g.equation(theta))
    nodes = (1 - np.cos(np.pi * np.arange(17) / 16)) / 2
    polynomials = BarycentricInterpolator(nodes, np.eye(17))
    second, ear = polynomials.derivative(nodes, 2)[1:-1, 1:-1], polynomials(g.position)[1:-1]
    sides, one = (math.pi, math.pi * theta[4].item()), np.eye(15)
    laplacian = np.kron(second / sides[0] ** 2, one) + np.kron(one, second / sides[1] ** 2)
    step = np.block(
        [
            [np.zeros((225, 225)), np.eye(225)],
            [c2 * laplacian - S4 * laplacian @ laplacian, -d1 * np.eye(225) - d3 * laplacian],
        ]
    )
    blow = sum(2 * np.sin(m * math.pi * g.position) * np.sin(m * math.pi * nodes[1:-1]) for m in (1, 2, 3))
    state = np.concatenate([np.zeros(225), g.strength * np.kron(blow, blow) / math.prod(sides)])
    step, at_ear, heard = expm(step / g.sample_rate), np.kron(ear, ear), []
    for _ in range(SHORT):
        heard.append(at_ear @ state[:225])
        state = step @ state
    assert relative(g(theta), torch.tensor(np.array(heard))) < 1e-4


def test_limits_of_the_equation():
    """Without friction and stiffness an ideal membrane, ω_m ∝ √n; with Dβ = pβ = 1 the tension is gone: ω_m ∝ n."""
    g = RectangularDrum()
    m1, m2 = torch.tensor(g.mode_numbers, dtype=torch.float64).unbind(-1)
    n = (m1**2 + 4 * m2**2) / 5  # α = 1/2, so β = 5/2; 1 for mode (1, 1)
    membrane = g.modal(point(tau=1e9, p=0.0, D=0.0)).frequency / 1500
    torch.testing.assert_close(membrane, n.sqrt(), rtol=1e-12, atol=0)
    plate = point(p=0.4, D=0.4)
    assert abs(g.equation(plate).c2) < 1e-9 * g.equation(plate).S4
    torch.testing.assert_close(g.modal(plate).frequency / 1500, n, rtol=1e-12, atol=0)
    torch.testing.assert_close(g.modal(plate).decay * 0.4, n, rtol=1e-12, atol=0)


# Derivatives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"normalise_peak": False}, {"diagonal": True}])
def test_forward_reverse_and_finite_differences_agree(options):
    g = RectangularDrum(n_samples=300, **options)
    for theta in THETA:
        forward, reverse = torch.func.jacfwd(g)(theta), torch.func.jacrev(g)(theta)
        torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-9)
        for i, h in enumerate((1e-3, 1e-6, 1e-6, 1e-6, 1e-7)):
            up, down = (theta + s * h * torch.eye(5, dtype=torch.float64)[i] for s in (1, -1))
            difference = (g(up) - g(down)) / (2 * h)
            rounding = 5e-15 / h  # D = 5e-5 changes so little that the difference has few digits
            assert (forward[:, i] - difference).abs().max() < 2e-5 * difference.abs().max() + rounding


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("corner", list(itertools.product((0, 1), repeat=5)), ids=str)
def test_derivatives_exist_at_every_corner_of_the_parameter_space(corner, detach):
    ends = torch.stack([SPACE.low, SPACE.high])
    theta = ends[torch.tensor(corner), torch.arange(5)]
    g = RectangularDrum(detach_gain=detach, n_samples=300)
    forward, reverse = torch.func.jacfwd(g)(theta), torch.func.jacrev(g)(theta)
    assert torch.isfinite(forward).all()
    torch.testing.assert_close(forward, reverse, rtol=1e-6, atol=1e-9 * forward.abs().max().item())


def test_a_drum_without_width_is_a_limit():
    """α → 0 leaves the modes (m₁, 1), of finite frequency, decay and derivative."""
    g, narrow, none = RectangularDrum(n_samples=SHORT), point(alpha=1e-8), point(alpha=0.0)
    assert relative(g(none), g(narrow)) < 1e-5
    assert relative(torch.func.jacfwd(g)(none).T, torch.func.jacfwd(g)(narrow).T) < 1e-3
    heard = g.modal(none).frequency < NYQUIST
    assert [m for m, h in zip(g.mode_numbers, heard, strict=True) if h] == [(m, 1) for m in (1, 2, 3, 4, 6, 7, 8, 9)]
    m1 = torch.tensor([1.0, 2, 3, 4, 6, 7, 8, 9], dtype=torch.float64)
    torch.testing.assert_close(g.modal(none).decay[heard], torch.full_like(m1, 1 / 0.4), rtol=1e-6, atol=0)
    stiff = (1500**2 * (1 + 0.01**2 * (m1**2 - 1)) + (m1**2 - 1) * (0.01 / 0.4) ** 2).sqrt()
    torch.testing.assert_close(g.modal(none).frequency[heard], stiff, rtol=1e-6, atol=0)


def test_stiffness_counts_through_its_square():
    g = RectangularDrum(n_samples=SHORT)
    assert torch.equal(g(point(D=0.02)), g(point(D=-0.02)))
    assert torch.func.jacfwd(g)(point(D=0.0))[:, 3].abs().max() == 0


def test_detaching_the_gain_changes_the_derivative_and_not_the_sound():
    free, fixed = RectangularDrum(n_samples=SHORT), RectangularDrum(detach_gain=True, n_samples=SHORT)
    assert torch.equal(free(THETA), fixed(THETA))
    assert free.log_gain_gradient(THETA).abs().max() == 0
    slope = fixed.log_gain_gradient(THETA)
    for x, theta, left_out in zip(free(THETA), THETA, slope, strict=True):
        missing = torch.func.jacfwd(free)(theta) - torch.func.jacfwd(fixed)(theta)
        torch.testing.assert_close(missing, x[:, None] * left_out)
    torch.testing.assert_close(slope, torch.stack([fixed.log_gain_gradient(theta) for theta in THETA]))


# The edges of the physics ---------------------------------------------------------------------------------------------


def test_a_mode_is_cut_when_it_reaches_nyquist():
    g = RectangularDrum(modes=(2, 1), normalise_peak=False, n_samples=SHORT)
    first = RectangularDrum(modes=(1, 1), normalise_peak=False, n_samples=SHORT)
    ratio = g.modal(point()).frequency[1].item() / 1500  # of mode (2, 1), nearly proportional to ω
    below, above = (point(omega=NYQUIST / ratio * factor) for factor in (1 - 1e-3, 1 + 1e-3))
    assert relative(g(below), first(below)) > 0.1
    assert torch.equal(g(above), first(above))


@pytest.mark.parametrize("batch", [point(omega=7e4), torch.stack([point(), point(omega=7e4)])], ids=["item", "batch"])
def test_a_fundamental_above_nyquist_is_silence_and_says_so(batch):
    for detach in (False, True):
        g = RectangularDrum(detach_gain=detach, n_samples=SHORT)
        with pytest.warns(UserWarning, match=r"silence: omega = \[70000.0\] is not below Nyquist, 69272 rad/s"):
            x = g(batch).reshape(-1, SHORT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slope = torch.func.jacfwd(lambda th: g(th).reshape(-1, SHORT)[-1])(batch)  # noqa: B023
        assert x[-1].abs().max() == 0
        assert (x[:-1].abs().amax(-1) > 0.99).all()
        assert slope.abs().max() == 0
        assert torch.isfinite(g.log_gain_gradient(batch)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"omega": 0.0}, r"omega must be positive, not \[0.0\]"),
        ({"omega": -3.0}, r"omega must be positive, not \[-3.0\]"),
        ({"tau": 0.0}, r"tau must be positive, not \[0.0\]"),
        ({"tau": -0.1}, r"tau must be positive, not \[-0.1\]"),
        ({"alpha": -0.5}, r"alpha must not be negative, not \[-0.5\]"),
        ({"p": -0.1}, r"p = \[-0.1\] lets audible modes grow in time; p >= 0 never does"),
        ({"tau": math.nan}, "theta must be finite"),
    ],
)
def test_impossible_drums_are_refused_alone_and_in_a_batch(changes, message):
    for theta in (point(**changes), torch.stack([point(), point(**changes)])):
        with pytest.raises(ValueError, match=message):
            RectangularDrum()(theta)


def test_a_negative_p_is_allowed_where_no_audible_mode_grows():
    theta = point(p=-1e-5)
    g = RectangularDrum()
    assert (g.modal(theta).decay > 0).all()
    assert g(theta).abs().max() > 0.99
    theta = point(p=-1e-2, omega=30000.0)  # its growing modes are above Nyquist
    assert (g.modal(theta).decay < 0).any()
    assert g(theta)[-1].abs() < 1e-3


@pytest.mark.usefixtures("unchecked")
def test_bad_synthesisers_and_shapes_are_refused():
    for modes in ((0, 10), (10, -1), (10,)):
        with pytest.raises(ValueError, match="modes must be two positive numbers, not"):
            RectangularDrum(modes=modes)
    with pytest.raises(ValueError, match="n_samples must be at least 1, not 0"):
        RectangularDrum(n_samples=0)
    with pytest.raises(ValueError, match=r"\(2, 3\).*5: omega, tau, p, D, alpha"):
        RectangularDrum()(torch.zeros(2, 3))


# Reference data -------------------------------------------------------------------------------------------------------


def test_waveforms_are_the_authors():
    torch.testing.assert_close(RectangularDrum()(THETA[:4]), REFERENCE["x"].double(), rtol=0, atol=1e-5)


def test_metrics_of_five_drums():
    """In raw units, the peak differentiated."""
    phi = Phi.reference(2**16)
    M = riemannian_metric(RectangularDrum(), phi, THETA)
    assert relative(M.flatten(1), REFERENCE["M"].flatten(1)) < 5e-3
