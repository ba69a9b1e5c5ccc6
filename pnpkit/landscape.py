"""How far the PNP loss pictures the spectral loss: both along rays, the order of their difference, its radius.

And whether a distance of sounds leads home: along a parameter's range, and by its gradient at a guess.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pnpkit.metric import Function
from pnpkit.synth import Synthesiser


def spectral_losses(
    listen: Function, theta: Float[Tensor, "items d"], errors: Float[Tensor, "items *k d"], together: int = 8
) -> Float[Tensor, "items *k"]:
    r"""Spectral loss of many errors about each of several points.

    .. math:: \tfrac12 \|F(\theta + \delta) - F(\theta)\|^2, \qquad F = \Phi\circ g

    Args:
        listen: F, (batch, d) → (batch, …); what it does not say of a sound costs nothing.
        theta: the points, raw units.
        errors: δ, some about each point.
        together: how many sounds F is given at once.

    Returns:
        One number an error, float64; without gradient.

    Raises:
        ValueError: if there are not as many sets of errors as points.

    Source: GRETSI 2023, Eq (2), with the ½ of the slides.

    >>> spectral_losses(torch.square, torch.tensor([[1.0]]), torch.tensor([[[0.0], [1.0]]]))
    tensor([[0.0000, 4.5000]], dtype=torch.float64)
    """
    if len(theta) != len(errors):
        raise ValueError(f"{len(theta)} points need as many sets of errors, not {len(errors)}")
    rows = []
    with torch.no_grad():
        for point, around in zip(theta, errors, strict=True):
            truth = listen(point[None]).double()
            guesses = point + around.reshape(-1, around.shape[-1])
            heard = [listen(part).double() - truth for part in guesses.split(together)]
            rows.append(torch.cat([0.5 * h.square().flatten(1).sum(1) for h in heard]).reshape(around.shape[:-1]))
    return torch.stack(rows)


def isotropic_directions(M: Float[Tensor, "items d d"], n: int, seed: int = 0) -> Float[Tensor, "items n d"]:
    r"""Random directions of unit length in the metric, :math:`\langle v\mid\mathbf{M}\mid v\rangle = 1`.

    With M = LLᵀ, v = L⁻ᵀu for u uniform on the sphere. All errors of one heard size are equally likely, whatever the
    coordinates: rescaling the parameters rescales v with them.

    Args:
        M: metrics, positive definite.
        n: directions an item.
        seed: of the draw.

    Raises:
        ValueError: if a metric is not positive definite; names how many.
    """
    L, failed = torch.linalg.cholesky_ex(M.double())
    if bool(failed.any()):
        raise ValueError(f"{int((failed > 0).sum())} of {len(M)} metrics are not positive definite")
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(len(M), n, M.shape[-1], generator=generator, dtype=torch.float64)
    u = u / u.norm(dim=-1, keepdim=True)
    return torch.linalg.solve_triangular(L.mT, u.mT, upper=True).mT


def fitted_order(sizes: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """Exponent p of the power law that fits positive values best, values ≈ c·sizesᵖ, on logarithmic axes.

    Args:
        sizes: (k,), positive.
        values: (..., k), positive.

    Returns:
        p, (...).

    >>> fitted_order([1, 2, 4], [[5, 40, 320]]).round(6)
    array([3.])
    """
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.log(np.asarray(values, dtype=np.float64))
    x = x - x.mean()
    return np.asarray((y * x).sum(-1) / (x * x).sum())


def agreement_radius(ratios: ArrayLike, radii: ArrayLike, tolerance: float = 0.1) -> NDArray[np.float64]:
    """How far along each ray a ratio stays within ``tolerance`` of one, interpolated on logarithmic axes.

    Args:
        ratios: (..., k), of PNP loss to spectral loss, at each radius.
        radii: (k,), positive, ascending.
        tolerance: such as 0.1 for 10 %.

    Returns:
        Radii, (...): 0 where even the smallest is too far, infinity where the largest is not. NaN is too far.

    Raises:
        ValueError: if the radii are not positive and ascending, one a ratio.

    >>> agreement_radius([[1.01, 1.04, 1.16], [1.0, 1.0, 1.0]], [1.0, 2.0, 4.0], tolerance=0.08)
    array([2.82842712,        inf])
    """
    r = np.asarray(radii, dtype=np.float64)
    off = np.abs(np.nan_to_num(np.asarray(ratios, dtype=np.float64), nan=np.inf) - 1)
    if off.shape[-1] != len(r) or not (r[0] > 0 and (np.diff(r) > 0).all()):
        raise ValueError(f"{off.shape[-1]} ratios a ray need as many positive, ascending radii, not {r.tolist()}")
    beyond = off > tolerance
    far = beyond.argmax(-1)  # index of the first radius beyond; 0 too where there is none
    near = np.maximum(far - 1, 0)
    a, b = (np.log(np.maximum(np.take_along_axis(off, i[..., None], -1)[..., 0], 1e-300)) for i in (near, far))
    share = (np.log(tolerance) - a) / np.where(b > a, b - a, 1)
    crossing = r[near] * (r[far] / r[near]) ** share
    return np.where(beyond.any(-1), np.where(beyond[..., 0], 0.0, crossing), np.inf)


def downhill_share(losses: ArrayLike, at: int) -> NDArray[np.float64]:
    """Share of a parameter's range from which a small step downhill leads towards the truth.

    Args:
        losses: (..., k), along a line through the truth.
        at: index of the truth on it.

    Returns:
        From 0 to 1, (...); one for a single basin.

    >>> downhill_share([4.0, 1.0, 0.0, 1.0, 0.5], at=2)
    array(0.75)
    """
    slope = np.diff(np.asarray(losses, dtype=np.float64), axis=-1)
    side = np.where(np.arange(slope.shape[-1]) < at, -1, 1)
    return np.asarray((slope * side > 0).mean(-1))


def home_cosines(
    synth: Synthesiser,
    distances: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    truth: Float[Tensor, "pairs d"],
    guess: Float[Tensor, "pairs d"],
) -> dict[str, Float[np.ndarray, " pairs"]]:
    r"""How well the steepest descent of a distance of sounds, from a guess, points at the truth.

    .. math:: \cos\angle\big(-\nabla_u D(g(\theta(u)), g(\theta)),\; u(\theta) - u(\tilde\theta)\big)
              \quad\text{at}\quad u = u(\tilde\theta)

    in normalised logarithms u, so that every parameter's range is as wide as any other's.

    Args:
        synth: g.
        distances: by name, (reconstruction, target) → one number an item, differentiable.
        truth, guess: θ and θ̃ of each pair, raw units.

    Returns:
        By distance, from −1 (away) through 0 (sideways, or no slope at all) to 1 (home).

    Raises:
        ValueError: if there are not as many guesses as truths.
    """
    if truth.shape != guess.shape:
        raise ValueError(f"{len(truth)} truths need as many guesses, not {len(guess)}")
    space, found = synth.parameters, {name: np.zeros(len(truth)) for name in distances}
    for i, pair in enumerate(zip(truth.double(), guess.double(), strict=True)):
        home, away = space.encode(torch.stack(pair), "logminmax")
        target = synth(pair[0][None]).float()
        u = away[None].requires_grad_()
        for name, distance in distances.items():
            (slope,) = torch.autograd.grad(distance(synth(space.decode(u, "logminmax")).float(), target).sum(), u)
            found[name][i] = torch.cosine_similarity(-slope[0], home - away, dim=0).item()
    return found


class LinearisedListening:
    r"""Φ∘g without a synthesis: its tangent at the nearest of many known sounds.

    .. math:: F(\theta) \approx F(\theta_k) + \mathbf{J}(\theta_k)(\theta - \theta_k), \qquad
              k = \arg\min_k \|u(\theta) - u(\theta_k)\|_2

    Give it to :class:`pnpkit.losses.SpectralLoss` in place of Φ∘g: a step then costs as much as one of the P-loss. The
    coefficients may be principal components of Φ, of orthonormal directions: distances are then those of Φ less what
    the components leave. They must not be centred for a loss that has a ``box``: it takes silence to be at zero.

    Args:
        theta: θ_k of the known sounds, raw units.
        values: F(θ_k).
        J: Jacobians of F at θ_k, per raw unit.
        measure: u, from raw θ to the coordinates in which the nearest is sought.

    Raises:
        ValueError: if the numbers of sounds differ.

    >>> theta = torch.tensor([[1.0], [2.0]])
    >>> LinearisedListening(theta, theta**2, 2 * theta.unsqueeze(-1))(torch.tensor([[1.25]]))
    tensor([[1.5000]])
    """

    def __init__(
        self,
        theta: Float[Tensor, "sounds d"],
        values: Float[Tensor, "sounds k"],
        J: Float[Tensor, "sounds k d"],
        measure: Function = lambda theta: theta,
    ) -> None:
        if not len(theta) == len(values) == len(J):
            raise ValueError(f"{len(theta)} sounds, {len(values)} values, {len(J)} Jacobians: as many are needed")
        self.theta, self.values, self.J, self.measure = theta, values, J, measure
        self.places = measure(theta)

    def __call__(self, theta: Float[Tensor, "batch d"]) -> Float[Tensor, "batch k"]:
        with torch.no_grad():
            nearest = torch.cdist(self.measure(theta).to(self.places), self.places).argmin(-1)
        step = (theta - self.theta[nearest].to(theta)).to(self.J)
        return self.values[nearest] + (self.J[nearest] @ step.unsqueeze(-1)).squeeze(-1)
