"""One sound without a network: its parameters by descent on the spectral loss, from a first guess."""

from collections.abc import Callable

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.losses import RELAXATION
from pnpkit.metric import damp, value_and_jacobian
from pnpkit.synth import ParameterSpace


def levenberg_marquardt(
    g: Callable[[Tensor], Tensor],
    phi: Callable[[Tensor], Tensor],
    target: Float[Tensor, " k"],
    start: Float[Tensor, " d"],
    space: ParameterSpace,
    *,
    lam: float = 1.0,
    steps: int = 20,
    coordinates: str = "logminmax",
) -> pd.DataFrame:
    r"""Descend on ½‖Φ(g(θ̃)) − Φ(x)‖² by damped Gauss–Newton steps.

    .. math:: (\mathbf{M} + \lambda\,\mathbf{I})\,\delta = -\mathbf{J}^\top\big(\Phi(g(\tilde\theta)) - \Phi(x)\big),
              \qquad \mathbf{M} = \mathbf{J}^\top\mathbf{J}

    A step that comes closer is kept, and λ divided by ten; one that does not is undone, and λ multiplied by ten. With
    λ = 0 that is Gauss and Newton's method, every step kept.

    Args:
        g, phi: as in :func:`pnpkit.metric.jacobian`, on the CPU.
        target: Φ(x).
        start: θ̃, raw units, within the ranges of the space.
        space: of θ.
        lam: first λ, in mean eigenvalues of the first M; not negative.
        steps: how many are tried.
        coordinates: in which I is the identity; θ̃ is kept within its ranges.

    Returns:
        A row a step, from the start on: ``distance`` from the target in Φ, ``lam`` (in the same unit), ``kept``, and θ̃
        after the step, a column a parameter.

    Raises:
        ValueError: if λ is negative, the start is not finite or lies outside the ranges, or the target is not Φ of one
            sound.

    Source: Levenberg, 1944; Marquardt, 1963.
    """
    damp(lam, "identity", torch.eye(len(space)))  # refuses a λ that is negative or not finite before any work
    space.check(start)
    if not bool(((start >= space.low) & (start <= space.high)).all()):
        raise ValueError(f"the start {start.tolist()} lies outside {space.low.tolist()} … {space.high.tolist()}")
    low, high = (space.encode(end, coordinates) for end in (space.low, space.high))

    def at(u: Tensor) -> tuple[Tensor, Tensor, float]:
        value, J = value_and_jacobian(lambda v: g(space.decode(v, coordinates)), phi, u)
        if value.shape != target.shape:
            raise ValueError(f"the target has shape {tuple(target.shape)}, Φ of a sound {tuple(value.shape)}")
        residual, J = (value - target).double(), J.double()
        return J.mT @ J, J.mT @ residual, float(residual.norm())

    u = space.encode(start.double(), coordinates)
    M, gradient, distance = at(u)
    unit, adaptive = torch.trace(M).item() / len(u), lam > 0
    rows = [{"distance": distance, "lam": lam, "kept": True, **_named(space, start)}]
    for _ in range(steps):
        damped = M + damp(lam * unit, "identity", M)
        step = torch.linalg.lstsq(damped, -gradient, driver="gelsd").solution
        guess = torch.clamp(u + step, low, high)
        there = at(guess)
        kept = not adaptive or there[2] < distance
        used = lam
        if kept:
            u, (M, gradient, distance) = guess, there
        lam = lam / RELAXATION if kept else lam * RELAXATION
        rows.append({"distance": distance, "lam": used, "kept": kept, **_named(space, space.decode(u, coordinates))})
    return pd.DataFrame(rows).rename_axis("step")


def _named(space: ParameterSpace, theta: Tensor) -> dict[str, float]:
    return dict(zip(space.names, theta.tolist(), strict=True))
