"""From one sound to another in steps that sound equal: geodesics of the metric."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pnpkit.synth import ParameterSpace


@dataclass(frozen=True)
class Morph:
    """A path between two sounds.

    Args:
        theta: its points, ends included, raw units.
        lengths: ‖Φ(g(θᵢ₊₁)) − Φ(g(θᵢ))‖ of its steps.
        straight: as many points along the straight line in ``coordinates``; ``straight_lengths`` are its steps.
        converged: whether the path stopped moving.
        coordinates: in which the straight line is straight.
    """

    theta: Float[Tensor, "points d"]
    lengths: Float[Tensor, " steps"]
    straight: Float[Tensor, "points d"]
    straight_lengths: Float[Tensor, " steps"]
    converged: bool
    coordinates: str

    @property
    def unevenness(self) -> float:
        """By how much the steps differ: (longest − shortest)/mean."""
        return float((self.lengths.max() - self.lengths.min()) / self.lengths.mean())


def morph(
    a: Float[Tensor, " d"],
    b: Float[Tensor, " d"],
    n: int = 10,
    *,
    g: Callable[[Tensor], Tensor],
    phi: Callable[[Tensor], Tensor],
    space: ParameterSpace | None = None,
    coordinates: str = "logminmax",
    iterations: int = 10,
    tolerance: float = 0.02,
) -> Morph:
    r"""Points between two sounds along a geodesic of M: each step as long as the next, to Φ.

    The discrete energy of the path, ends fixed, is least where its steps are equal and their sum is stationary:

    .. math:: E = \tfrac12 \sum_{i=0}^{n-1} \big\|\Phi(g(\theta_{i+1})) - \Phi(g(\theta_i))\big\|^2

    Gauss–Newton steps on E need each point's Jacobian and solve one block-tridiagonal system for the whole path.

    Args:
        a, b: θ of the ends, raw units, within the ranges.
        n: steps, so n + 1 points.
        g: synthesiser, its gain's gradient attached.
        phi: descriptor.
        space: of θ; by default that of the synthesiser.
        coordinates: in which it begins, as a straight line.
        iterations: at most.
        tolerance: of the unevenness of the steps, at which it stops.

    Raises:
        ValueError: if an end is not finite or outside the ranges, or n < 1.
    """
    raise NotImplementedError
