"""The rectangular drum of the slides: a damped, stiff membrane struck once, solved mode by mode."""

import itertools
import math
import warnings
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import require_whole, somewhere
from pnpkit.synth.parameters import Parameter, ParameterSpace
from pnpkit.synth.partials import likely_drums

NARROW = 1e-9  # an aspect ratio below this is taken as 0, the limit


class Equation(NamedTuple):
    """Coefficients of the drum's partial differential equation, per unit of length l₁/π; float64."""

    S4: Tensor  # bending stiffness S⁴, 1/s²
    c2: Tensor  # tension c², 1/s²; negative for a plate under compression
    d1: Tensor  # friction, 1/s
    d3: Tensor  # friction that grows with frequency, 1/s; negative if it damps


class Modes(NamedTuple):
    """The drum's modes, one each along the last dimension; float64."""

    frequency: Tensor  # ω_m, rad/s
    decay: Tensor  # σ_m, 1/s
    amplitude: Tensor  # of the sine at t = 0, before the gain, s


@dataclass(frozen=True)
class RectangularDrum:
    r"""Displacement of a rectangular drum where it is struck, by the functional transformation method.

    The membrane has sides :math:`\ell_1 = \pi` and :math:`\ell_2 = \pi\alpha`, simply supported edges, tension,
    stiffness and two kinds of friction, and receives a blow of strength h = 0.03 at 0.4 of either side:

    .. math:: \ddot y + d_1 \dot y + d_3 \nabla^2 \dot y - c^2 \nabla^2 y + S^4 \nabla^4 y
              = h \, \delta(t) \, \delta(u - 0.4\,\ell_1) \, \delta(v - 0.4\,\ell_2)

    Its modes are products of sines; each is a damped oscillator, and what is heard is their sum below Nyquist:

    .. math:: x(t) = a \sum_m \big(\sin 0.4\pi m_1 \, \sin 0.4\pi m_2\big)^2
              \, e^{-\sigma_m t} \, \frac{\sin \omega_m t}{\omega_m}

    with a gain a that brings its peak to 1, or, for the displacement y in units of ℓ₁/π, a = 4h/(ℓ₁ℓ₂).

    θ is what one hears of it: ω and τ, frequency and decay time of mode (1, 1); p, by how much higher modes decay
    faster; D, how far stiffness spreads them; α, the aspect ratio. See :meth:`equation` and :meth:`modal`.

    Values at the edge of the physics:

    - a drum of aspect ratio 1/α is the same drum, turned;
    - α = 0 is a limit: every mode across the width is too high or too short to be heard, and those along the length,
      (m₁, 1), stay;
    - D counts through its square; no mode grows for p ≥ 0, whatever D; p < 0 is refused where an audible mode grows;
    - a mode is cut when its frequency reaches Nyquist. The derivative is that of the modes that are heard: it does not
      see that a mode is about to leave.

    Args:
        modes: how many modes along ℓ₁ and along ℓ₂.
        diagonal: only the modes (k, k), as the authors' code did until 2024.
        normalise_peak: whether x has a peak of 1; otherwise x is the displacement.
        detach_gain: whether derivatives ignore the gain a. The authors' do not.
        n_samples: length of the waveform, from the blow on.

    Raises:
        ValueError: if a number of modes or of samples is not positive.

    Source: the slides; H. Han and V. Lostanlen, wav2shape, 2020; the method is that of L. Trautmann and R. Rabenstein,
    Digital Sound Synthesis by Physical Modeling Using the Functional Transformation Method, 2003.

    >>> RectangularDrum()(torch.tensor([1900.0, 0.8, 0.02, 0.001, 0.5])).shape
    torch.Size([65536])
    """

    modes: tuple[int, int] = (10, 10)
    diagonal: bool = False
    normalise_peak: bool = True
    detach_gain: bool = False
    n_samples: int = 2**16

    sample_rate: ClassVar[int] = 22050
    strength: ClassVar[float] = 0.03
    position: ClassVar[float] = 0.4  # of the blow and of the ear, relative to either side
    parameters: ClassVar[ParameterSpace] = ParameterSpace(
        (
            Parameter("omega", r"\omega", "rad/s", 2 * math.pi * 40, 2 * math.pi * 1000, "log"),
            Parameter("tau", r"\tau", "s", 0.07, 0.8),
            Parameter("p", "p", "1", 1e-5, 0.2, "log"),
            Parameter("D", "D", "1", 1e-5, 0.3, "log"),
            Parameter("alpha", r"\alpha", "1", 0.0, 1.0),
        )
    )

    def __post_init__(self) -> None:
        if len(self.modes) != 2 or min(self.modes) < 1:
            raise ValueError(f"modes must be two positive numbers, not {self.modes}")
        require_whole("n_samples", self.n_samples, 1)

    @property
    def mode_numbers(self) -> tuple[tuple[int, int], ...]:
        """(m₁, m₂) of the modes that are summed: not those with a node where the drum is struck, m₁ or m₂ = 5 or 10."""
        m1, m2 = (range(1, m + 1) for m in self.modes)
        pairs = zip(m1, m2, strict=False) if self.diagonal else itertools.product(m1, m2)
        struck = [abs(math.sin(self.position * math.pi * m)) > 1e-9 for m in range(1 + max(self.modes))]
        return tuple((i, j) for i, j in pairs if struck[i] and struck[j])

    def equation(self, theta: Float[Tensor, "*batch 5"]) -> Equation:
        r"""The partial differential equation of each θ, with :math:`\beta = \alpha + 1/\alpha`.

        .. math:: S^4 &= (D\omega\alpha)^2 + (p\alpha/\tau)^2 \\
                  c^2 &= \frac{\alpha}{\tau^2}\Big(\frac1\beta - p^2\beta\Big)
                         + \alpha\,\omega^2\Big(\frac1\beta - D^2\beta\Big) \\
                  d_1 &= 2(1 - p\beta)/\tau, \qquad d_3 = -2p\alpha/\tau

        Not finite at α = 0. The friction terms make mode (1, 1) oscillate at ω and decay at 1/τ whatever p and D.

        Source: Han and Lostanlen, 2020, with sides π and πα.
        """
        omega, tau, p, D, alpha = theta.double().unbind(-1)
        beta = alpha + 1 / alpha
        S4 = (D * omega * alpha).square() + (p * alpha / tau).square()
        c2 = alpha * ((1 / beta - p.square() * beta) / tau.square() + omega.square() * (1 / beta - D.square() * beta))
        return Equation(S4, c2, 2 * (1 - p * beta) / tau, -2 * p * alpha / tau)

    def modal(self, theta: Float[Tensor, "*batch 5"]) -> Modes:
        r"""Frequency, decay and amplitude of each mode, audible or not, in the order of :attr:`mode_numbers`.

        The equation gives :math:`\sigma_m = (d_1 - d_3 n)/2` and :math:`\omega_m^2 = S^4 n^2 + c^2 n - \sigma_m^2` at
        :math:`n = m_1^2 + m_2^2/\alpha^2`. With :math:`\kappa = n - (1 + 1/\alpha^2)`, which is 0 for mode (1, 1) and
        positive for the others, the square is a sum of terms that cannot be negative: no mode is overdamped.

        .. math:: \sigma_m &= (1 + p\,\alpha\,\kappa) / \tau \\
                  \omega_m^2 &= \omega^2 \Big(1 + \frac{\alpha^2\kappa}{1+\alpha^2}\Big)
                      \big(1 + D^2 (1+\alpha^2)\,\kappa\big)
                      + \frac{\kappa\,(\alpha - p\,(1+\alpha^2))^2}{(1+\alpha^2)\,\tau^2}
        """
        omega, tau, p, D, alpha = theta.double().unsqueeze(-1).unbind(-2)
        alpha = _width(alpha)
        m1, m2 = torch.tensor(self.mode_numbers).to(alpha).unbind(-1)
        kappa = m1.square() - 1 + (m2.square() - 1) / alpha.square()
        span = 1 + alpha.square()
        tension = omega.square() * (1 + alpha.square() * kappa / span)
        friction = kappa * ((alpha - p * span) / tau).square() / span
        frequency = (tension * (1 + D.square() * span * kappa) + friction).sqrt()
        weight = (torch.sin(self.position * math.pi * m1) * torch.sin(self.position * math.pi * m2)).square()
        return Modes(frequency, (1 + p * alpha * kappa) / tau, weight / frequency)

    def hint(self, x: Float[Tensor, " n"]) -> dict[str, Float[Tensor, " likely"]]:
        """Where to look for the drum of a sound: see :func:`pnpkit.synth.partials.likely_drums`."""
        return likely_drums(x, self.sample_rate, self.parameters, self.modal)

    def log_gain_gradient(self, theta: Float[Tensor, "*batch 5"]) -> Float[Tensor, "*batch 5"]:
        """Gradient of the logarithm of the gain per unit of θ; zero unless ``detach_gain`` leaves it out."""
        if not self.detach_gain:
            return torch.zeros_like(theta)
        # Items do not interact: the gradient of their sum holds the gradient of each.
        return torch.func.grad(lambda th: self._gain(th, self._sum_of_modes(th)).log().sum())(theta)

    def __call__(self, theta: Float[Tensor, "*batch 5"]) -> Float[Tensor, "*batch n"]:
        """Waveform of each θ = (ω in rad/s, τ in s, p, D, α), computed in float64, in the dtype and on the device of θ.

        An ω at or above Nyquist gives silence, with a warning.

        Raises:
            ValueError: if θ is not finite or not of shape (…, 5), if ω or τ is not positive, if α is negative, or if p
                is so negative that an audible mode grows. Under :func:`torch.func.vmap` nobody can look at θ.
        """
        self.parameters.check(theta)
        self._check_physics(theta.detach())
        y = self._sum_of_modes(theta)
        gain = self._gain(theta, y)
        return (y * (gain.detach() if self.detach_gain else gain)).to(theta.dtype)

    def _gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """a: 1 over max |y|, whose derivative is that of the sample where it is reached first, or 4h/(ℓ₁ℓ₂)."""
        if not self.normalise_peak:
            return 4 * self.strength / (math.pi**2 * _width(theta[..., 4:].double()))
        peak = y.gather(-1, y.detach().abs().argmax(-1, keepdim=True)).abs()
        return 1 / torch.where(peak > 0, peak, 1)

    def _sum_of_modes(self, theta: Tensor) -> Tensor:
        """x/a, without a sine a sample: with t = t₁ + t₂, coarse and fine, each mode's exponential is a product.

        Summed over modes that is one product of matrices, and so is its derivative along each tangent.
        """
        frequency, decay, amplitude = self.modal(theta)
        heard = frequency < math.pi * self.sample_rate
        amplitude, frequency, decay = (torch.where(heard, v, 0).unsqueeze(-2) for v in (amplitude, frequency, decay))
        width = 2 ** math.ceil(math.log2(self.n_samples) / 2)
        fine = torch.arange(width, dtype=decay.dtype, device=decay.device).unsqueeze(-1) / self.sample_rate
        coarse = torch.arange(math.ceil(self.n_samples / width)).to(fine).unsqueeze(-1) * width / self.sample_rate
        a, b = amplitude * torch.exp(-decay * coarse), torch.exp(-decay * fine)
        left = torch.cat([a * torch.sin(frequency * coarse), a * torch.cos(frequency * coarse)], -1)
        right = torch.cat([b * torch.cos(frequency * fine), b * torch.sin(frequency * fine)], -1)
        return (left @ right.mT).flatten(-2)[..., : self.n_samples]

    def _check_physics(self, theta: Tensor) -> None:
        omega, tau, p, _, alpha = theta.unbind(-1)
        rules = {
            "omega must be positive": (omega, omega <= 0),
            "tau must be positive": (tau, tau <= 0),
            "alpha must not be negative": (alpha, alpha < 0),
        }
        for rule, (value, broken) in rules.items():
            if somewhere(broken):
                raise ValueError(f"{rule}, not {value[broken][:3].tolist()}")
        nyquist = math.pi * self.sample_rate
        if somewhere(p < 0):
            frequency, decay, _ = self.modal(theta)
            grows = ((frequency < nyquist) & (decay < 0)).any(-1)
            if somewhere(grows):
                raise ValueError(f"p = {p[grows][:3].tolist()} lets audible modes grow in time; p >= 0 never does")
        if somewhere(omega >= nyquist):
            silent = omega[omega >= nyquist][:3].tolist()
            warnings.warn(f"silence: omega = {silent} is not below Nyquist, {nyquist:.0f} rad/s", stacklevel=3)


def _width(alpha: Tensor) -> Tensor:
    """α, and at 0 a number small enough to stand for the limit, with a slope of one so that derivatives have theirs."""
    return torch.where(alpha < NARROW, NARROW + alpha, alpha)
