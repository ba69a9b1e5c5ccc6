"""From one sound to another in steps that sound equal: geodesics of the metric."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import require_whole
from pnpkit.matching.damped import Normal, damped
from pnpkit.metric import Function, value_and_jacobian
from pnpkit.synth import ParameterSpace
from pnpkit.synth.parameters import space_of

SETTLED = 1e-4  # relative change of the energy at which the path stands still
EVENNESS = (10.0, 100.0, 1000.0)  # weights of the spread of the steps in the energy, until they are equal: a large one
# at once holds the path where it begins
EVEN = 0.05  # unevenness that may be left: to take out more would lengthen the path
NOWHERE = 1e-5  # of the norm of Φ: a path that is no longer than single precision leaves of none
FINE = 8  # pieces of the straight line, a step, by which it is measured
SHORTEST = 2.0**-7  # share of a step towards equal lengths that is still tried


@dataclass(frozen=True)
class Morph:
    """A path between two sounds.

    Args:
        theta: its points, ends included, raw units.
        lengths: ‖Φ(g(θᵢ₊₁)) − Φ(g(θᵢ))‖ of its steps.
        straight: as many points along the line that is straight in the coordinates of :func:`morph`;
            ``straight_lengths`` are its steps.
        converged: whether the path stopped moving and its steps are even.
    """

    theta: Float[Tensor, "points d"]
    lengths: Float[Tensor, " steps"]
    straight: Float[Tensor, "points d"]
    straight_lengths: Float[Tensor, " steps"]
    converged: bool

    @property
    def unevenness(self) -> float:
        """By how much the steps differ: (longest − shortest)/mean."""
        return unevenness(self.lengths)


def morph(
    a: Float[Tensor, " d"],
    b: Float[Tensor, " d"],
    n: int = 10,
    *,
    g: Function,
    phi: Function,
    space: ParameterSpace | None = None,
    coordinates: str = "logminmax",
    iterations: int = 12,
    tolerance: float = 0.02,
    progress: Callable[[str, int, int], None] | None = None,
) -> Morph:
    r"""Points between two sounds along a geodesic of M: each step as long as the next, to Φ.

    The discrete energy of a path, its ends fixed, is least where the steps are equal and their sum is stationary:

    .. math:: E = \tfrac12 \sum_{i=0}^{n-1} \ell_i^2, \qquad
              \ell_i = \big\|\Phi(g(\theta_{i+1})) - \Phi(g(\theta_i))\big\|

    With few steps that are not small they are equal only nearly, so the spread of the lengths counts ten times more,
    and where that leaves them uneven, a hundred and a thousand times. Damped Gauss–Newton steps on E take each inner
    point's Jacobian and solve one block-tridiagonal system for the whole path. What unevenness beyond a twentieth
    is left then is taken out by Newton steps on the lengths alone, each the least change, by M, that makes them equal
    to first order.

    Args:
        a, b: θ of the ends, raw units, within the ranges.
        n: steps, so n + 1 points.
        g: synthesiser, its gain's gradient attached.
        phi: descriptor.
        space: of θ; by default that of the synthesiser.
        coordinates: in which it begins, on a straight line.
        iterations: of Gauss–Newton with each weight, and of Newton after it, at most.
        tolerance: of the unevenness of the steps.
        progress: called with a stage's name, how many paths have been tried, and how many will be at most.

    Raises:
        ValueError: if an end is not finite or outside the ranges, or n < 1.

    Source: do Carmo, Riemannian Geometry, 1992, chapter 9 (energy and length).

    >>> from pnpkit.synth import Parameter
    >>> space = ParameterSpace((Parameter("a", "a", "1", 0.0, 3.0),))
    >>> path = morph(torch.tensor([0.0]), torch.tensor([3.0]), 3, g=lambda a: a.square(), phi=lambda x: x, space=space)
    >>> path.theta.square().round(decimals=1).flatten().tolist()  # where it sounds, the steps are equal
    [0.0, 3.0, 6.0, 9.0]
    """
    require_whole("n", n, 1)
    space = space_of(g, space)
    first, last = (space.encode(space.inside(end), coordinates) for end in (a, b))
    low, high = space.box(coordinates)
    line = torch.lerp(first, last, torch.linspace(0, 1, n + 1, dtype=first.dtype).unsqueeze(-1))

    tried = count(1)

    def at(inner: Tensor, weight: float) -> Normal:
        if progress is not None:
            progress("morph, at most", next(tried), len(EVENNESS) * (1 + iterations) + iterations)
        pairs = [value_and_jacobian(lambda v: g(space.decode(v, coordinates)), phi, v) for v in inner]
        path = torch.cat([ends[:1], torch.stack([v.double() for v, _ in pairs]), ends[1:]])
        return *_normal(path, J := torch.stack([J.double() for _, J in pairs]), weight), (path, J)

    def heard(points: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([phi(g(space.decode(v, coordinates))).double() for v in points])

    # Where the steps are equal along the straight line, as a rough stretch that is taken in one step is hard to leave
    along = heard(torch.lerp(first, last, torch.linspace(0, 1, FINE * n + 1, dtype=first.dtype).unsqueeze(-1)))
    inner = torch.lerp(first, last, _evenly(_lengths(along), n).to(first).unsqueeze(-1))[1:-1]
    straight = path = along[::FINE]
    nowhere = bool(_lengths(along).sum() <= NOWHERE * along[0].norm())  # from a sound to itself
    ends, converged = straight[[0, -1]], n == 1 or nowhere
    for weight in () if converged else EVENNESS:
        inner, (*_, (path, J)), settled = damped(
            partial(at, weight=weight), inner, low, high, lam=1e-2, steps=iterations, settled=SETTLED
        )
        if converged := settled and unevenness(_lengths(path)) <= tolerance:
            break
    for _ in range(0 if nowhere else iterations):
        if unevenness(lengths := _lengths(path)) <= max(tolerance, EVEN):
            break
        step, share = _evening(path, J).reshape(inner.shape), 1.0
        while share >= SHORTEST:
            guess = torch.clamp(inner + share * step, low, high)
            if _lengths(torch.cat([ends[:1], heard(guess), ends[1:]])).std() < (1 - share / 10) * lengths.std():
                break
            share /= 2
        else:
            break  # no way along that step is more even
        inner, (*_, (path, J)) = guess, at(guess, 0.0)
    return Morph(
        theta=space.decode(torch.cat([line[:1], inner, line[-1:]]), coordinates),
        lengths=_lengths(path) * (not nowhere),
        straight=space.decode(line, coordinates),
        straight_lengths=_lengths(straight),
        converged=converged,
    )


def unevenness(lengths: Float[Tensor, " steps"]) -> float:
    """By how much steps differ: (longest − shortest)/mean; 0 if all are zero."""
    return float((lengths.max() - lengths.min()) / lengths.mean().clamp_min(1e-300))


def _lengths(path: Tensor) -> Tensor:
    return path.diff(dim=0).norm(dim=-1)


def _evenly(lengths: Tensor, n: int) -> Tensor:
    """Shares of a line at which n steps along it are equally long, by the lengths of its pieces."""
    run = np.concatenate([[0.0], lengths.cumsum(0).numpy(force=True)])
    return torch.from_numpy(np.interp(np.linspace(0, run[-1], n + 1), run, np.linspace(0, 1, len(run))))


def _normal(path: Tensor, J: Tensor, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gauss–Newton matrix, gradient and energy of a path, of its inner points' coordinates."""
    steps = path.diff(dim=0)
    count, _, d = J.shape
    H = torch.zeros(count, d, count, d, dtype=J.dtype)
    for i in range(count):
        H[i, :, i] = 2 * J[i].mT @ J[i]
        if i:
            H[i, :, i - 1] = -J[i].mT @ J[i - 1]
            H[i - 1, :, i] = H[i, :, i - 1].mT
    gradient = (J.mT @ (steps[:-1] - steps[1:]).unsqueeze(-1)).flatten()
    lengths, slopes = steps.norm(dim=-1), _slopes(path, J)
    spread = weight * (slopes - slopes.mean(0)).mT
    energy = 0.5 * (steps.square().sum() + weight * (lengths - lengths.mean()).square().sum())
    return H.reshape(count * d, count * d) + spread @ slopes, gradient + spread @ lengths, energy


def _slopes(path: Tensor, J: Tensor) -> Tensor:
    """Of the length of each step, by each inner point's coordinates."""
    steps, (count, _, d) = path.diff(dim=0), J.shape
    along = steps / steps.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    slopes = torch.zeros(count + 1, count, d, dtype=J.dtype)
    for i in range(count):
        slopes[i, i], slopes[i + 1, i] = J[i].mT @ along[i], -J[i].mT @ along[i + 1]
    return slopes.flatten(1)


def _evening(path: Tensor, J: Tensor) -> Tensor:
    """The step that makes all lengths equal to first order, and is the least by the energy's own metric."""
    H, *_ = _normal(path, J, 0.0)
    H += 1e-3 * H.diagonal().mean() * torch.eye(len(H), dtype=H.dtype)
    lengths, slopes = _lengths(path), _slopes(path, J)
    slopes = slopes - slopes.mean(0)
    along = torch.linalg.solve(H, slopes.mT)
    return along @ (torch.linalg.pinv(slopes @ along, hermitian=True) @ (lengths.mean() - lengths))
