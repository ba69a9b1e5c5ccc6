"""The ranges of parameters, and starts within them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.synth import ParameterSpace

OUTSIDE = 1e-6  # of a range: an answer at a bound may be decoded so far outside


def space_of(g: Callable[[Tensor], Tensor], space: ParameterSpace | None = None) -> ParameterSpace:
    """The space given, or else the synthesiser's own."""
    space = getattr(g, "parameters", None) if space is None else space
    if space is None:
        raise ValueError("a synthesiser without `parameters` needs its space said: space=…")
    return space


def inside(theta: Float[Tensor, "*batch d"], space: ParameterSpace) -> Float[Tensor, "*batch d"]:
    """θ in float64, clamped to the ranges if rounding alone has led it outside; ``ValueError`` if more has."""
    space.check(theta)
    theta = theta.double()
    low, high = space.low.to(theta), space.high.to(theta)
    slack = OUTSIDE * (high - low)
    out = ((theta < low - slack) | (theta > high + slack)).any(-1)
    if bool(out.any()):
        bad = theta[out][0].tolist() if theta.ndim > 1 else theta.tolist()
        raise ValueError(f"theta = {bad} lies outside {low.tolist()} … {high.tolist()}")
    return torch.clamp(theta, low, high)
