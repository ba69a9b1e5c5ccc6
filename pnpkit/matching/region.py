"""How sure an answer is: an ellipsoid in the coordinates of the descent."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.metric import inverse
from pnpkit.synth import ParameterSpace

PROBABILITY = 0.95


@dataclass(frozen=True, eq=False)
class Region:
    r"""A joint confidence ellipsoid of θ, level and delay profiled out.

    .. math:: \langle u - \hat u \mid \mathbf{C}^{-1} \mid u - \hat u \rangle \le r^2

    Args:
        centre: û, the answer in ``coordinates``.
        covariance: C of the parameters of the synthesiser alone: a block of the joint covariance, that is, the inverse
            of the Schur complement of the joint information.
        radius: r, which makes the ellipsoid hold the truth with probability 0.95.
        space, coordinates: of û.
    """

    centre: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    radius: float
    space: ParameterSpace
    coordinates: str = "logminmax"

    def contains(self, theta: Float[Tensor, "*batch d"]) -> Tensor:
        """Whether θ, raw units, lies within."""
        theta = theta.to(self.centre)
        logarithmic = torch.tensor([p.scale == "log" for p in self.space.parameters], device=theta.device)
        theta = torch.where(logarithmic, theta.clamp_min(1e-300), theta)  # what has no logarithm is far outside
        delta = (self.space.encode(theta, self.coordinates) - self.centre).unsqueeze(-1)
        scale = self.covariance.diagonal().clamp_min(1e-300).rsqrt()  # of very different lengths, all of them real
        delta = delta * scale[:, None]
        information = inverse(scale[:, None] * self.covariance * scale)
        return (delta.mT @ information @ delta)[..., 0, 0] <= self.radius**2

    def interval(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Each parameter's own ends, raw units: the shadow of the ellipsoid, within the ranges of the space."""
        half = self.radius * self.covariance.diagonal().clamp_min(0).sqrt()
        low, high = (self.space.decode(self.centre + sign * half, self.coordinates) for sign in (-1, 1))
        return torch.maximum(low, self.space.low.to(low)), torch.minimum(high, self.space.high.to(high))


def from_draws(
    centre: Float[Tensor, " p"],
    draws: Float[Tensor, "draws k"],
    J: Float[Tensor, "k p"],
    space: ParameterSpace,
    residual: float = 0.0,
) -> Region:
    r"""From what draws of the noise do to the answer: Hotelling's T², as the covariance is an estimate too.

    Args:
        centre: û, level and delay last.
        draws: of the noise, as heard.
        J: Jacobian of what is heard, in the coordinates of û.
        space: of the first d parameters.
        residual: ‖r‖. Where it is more than the draws are long, the noise is not all that is wrong, and the region
            grows by as much (Birge's ratio).
    """
    d, n, M = len(space), len(draws), J.mT @ J
    C = inverse(M)
    errors = (draws @ J @ C)[:, :d]
    own, unheard = errors - errors.mean(0), C - C @ M @ C  # where J is zero, no draw leads anywhere
    radius = float(d * (n - 1) / (n - d) * (1 + 1 / n) * f_quantile(d, n - d)) ** 0.5
    birge = max(1.0, residual**2 / max(float(draws.square().sum()) / (n - 1), 1e-300))
    covariance = (own.mT @ own / (n - 1) + unheard[:d, :d]) * birge
    return Region(centre[:d], covariance, radius, space)


def from_metric(
    centre: Float[Tensor, " p"],
    M: Float[Tensor, "p p"],
    residual: float,
    freedom: float,
    space: ParameterSpace,
    least: float = 0.0,
) -> Region:
    r"""From M and what is left over, :math:`\mathbf{C} = \frac{\|r\|^2}{\nu}\,\mathbf{M}^{-1}`.

    Args:
        centre: û, level and delay last.
        M: in the coordinates of û.
        residual: ‖r‖.
        freedom: ν, how many independent numbers the residual is made of, parameters taken off.
        space: of the first d parameters.
        least: length, in the unit of r, that the region reaches at least: the descent stops that near to its end.
    """
    d = len(space)
    radius = float(d * f_quantile(d, freedom)) ** 0.5
    deviation = max(residual / freedom**0.5, least / radius)
    return Region(centre[:d], inverse(M)[:d, :d] * deviation**2, radius, space)


def f_quantile(d1: float, d2: float, probability: float = PROBABILITY) -> float:
    r"""Quantile of Fisher's F distribution: :math:`x = \tfrac{d_2}{d_1}\tan^2\varphi`, of density
    :math:`\sin^{d_1-1}\varphi\,\cos^{d_2-1}\varphi`, which has no pole to integrate.

    >>> round(f_quantile(3, 21), 3)
    3.072
    """
    angle = np.linspace(0, min(np.pi / 2, 20 / d2**0.5), 20_002)[1:-1]
    density = np.exp((d1 - 1) * np.log(np.sin(angle)) + (d2 - 1) * np.log(np.cos(angle)))
    share = np.cumsum(density) - density / 2
    return float(d2 / d1 * np.tan(np.interp(probability * density.sum(), share, angle)) ** 2)
