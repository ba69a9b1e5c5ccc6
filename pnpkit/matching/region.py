"""How sure an answer is: an ellipsoid in the coordinates of the descent."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.synth import ParameterSpace


@dataclass(frozen=True)
class Region:
    r"""A joint confidence ellipsoid of θ, level and delay profiled out.

    .. math:: \langle u - \hat u \mid \mathbf{C}^{-1} \mid u - \hat u \rangle \le r^2

    Args:
        centre: û, the answer in ``coordinates``.
        covariance: C of the parameters of the synthesiser alone: a block of the joint covariance, that is, the inverse
            of the Schur complement of the joint information.
        radius: r, which makes the ellipsoid hold the truth with the given probability.
        probability: such as 0.95.
        space, coordinates: of û.
    """

    centre: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    radius: float
    probability: float
    space: ParameterSpace
    coordinates: str = "logminmax"

    def contains(self, theta: Float[Tensor, "*batch d"]) -> Tensor:
        """Whether θ, raw units, lies within."""
        delta = (self.space.encode(theta.double(), self.coordinates) - self.centre).unsqueeze(-1)
        inverse = torch.linalg.pinv(self.covariance, hermitian=True)
        return (delta.mT @ inverse @ delta)[..., 0, 0] <= self.radius**2

    def interval(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Each parameter's own ends, raw units: the shadow of the ellipsoid, within the ranges of the space."""
        half = self.radius * self.covariance.diagonal().clamp_min(0).sqrt()
        low, high = (self.space.decode(self.centre + sign * half, self.coordinates) for sign in (-1, 1))
        return torch.maximum(low, self.space.low), torch.minimum(high, self.space.high)
