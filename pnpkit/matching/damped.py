"""One damped Gauss–Newton descent where there is no Φ: on a waveform, along a path."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.losses import RELAXATION

HOPELESS = 1e6  # λ, in mean eigenvalues, at which no step worth the name is left
Normal = tuple[Tensor, Tensor, Tensor, Any]  # M, gradient, misfit, and what else the caller wants to keep


def damped(
    at: Callable[[Tensor], Normal],
    u: Float[Tensor, "*shape"],
    low: Tensor,
    high: Tensor,
    *,
    lam: float,
    steps: int,
    settled: float,
) -> tuple[Float[Tensor, "*shape"], Normal, bool]:
    """Descend within bounds by steps that come closer: where that ends, what ``at`` says there, and whether it settled.

    Args:
        at: the normal equations at a point; the gradient is flat.
        u: where to begin.
        low, high: bounds of its last axis.
        lam: first λ, in mean eigenvalues.
        steps: at most.
        settled: relative gain of a step that is the last.
    """
    here = at(u)
    for _ in range(steps):
        M, gradient, misfit, _ = here
        damping = lam * M.diagonal().mean().clamp_min(1e-300) * torch.eye(len(M)).to(M)
        step = torch.linalg.solve(M + damping, gradient)
        guess = torch.clamp(u - step.reshape(u.shape), low, high)
        there = at(guess)
        if there[2] < misfit:
            u, here, lam = guess, there, lam / RELAXATION
            if misfit - here[2] <= settled * misfit:
                return u, here, True
        elif lam <= 1 and gradient @ step <= settled * misfit:  # a free step has nothing to offer
            return u, here, True
        elif (lam := lam * RELAXATION) > HOPELESS:
            break
    return u, here, False
