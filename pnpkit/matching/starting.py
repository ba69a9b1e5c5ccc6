"""Where the descents of one sound begin: at which parameters, how loud, and how late."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.atlas import Atlas
from pnpkit.matching.descent import inside
from pnpkit.matching.hearing import Hearing
from pnpkit.matching.noise import FRAMES, OVERLAP, stft
from pnpkit.matching.placed import Placed

Starts = Atlas | Callable[[Tensor], Tensor] | Tensor | None
CANDIDATES = 6  # nearest sounds of an atlas that are listened to, a start


def candidates(
    x: Float[Tensor, " n"], g: Placed, heard: Hearing, starts: Starts, n: int, seed: int
) -> Float[Tensor, "starts d"]:
    """Parameters of the synthesiser alone, the likeliest first: from an atlas, an analyser, the caller, or chance."""
    space = g.g.parameters
    if isinstance(starts, Atlas):
        starts.check(g.g)
        masked = x if heard.mask is None else heard.mask(x)
        phi = Hearing(heard.scattering)(starts.normalise(masked))
        log_norm = None if g.level else masked.double().norm().log()
        many = n * CANDIDATES if g.level or g.delay or heard.mask is not None else n
        return starts.theta[starts.nearest(phi, min(many, len(starts.theta)), log_norm)[0]].double()
    if isinstance(starts, Tensor):
        return inside(torch.atleast_2d(starts), space)
    if starts is not None:
        guess = torch.atleast_2d(starts(x).detach().double())
        space.check(guess)
        return torch.clamp(guess, space.low, space.high)  # a network may answer from outside the ranges
    u = torch.rand(n, len(space), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return space.decode(2 * u - 1, "logminmax")


def placed(
    x: Float[Tensor, " n"], theta: Float[Tensor, "starts d"], g: Placed, heard: Hearing, n: int
) -> Float[Tensor, "kept p"]:
    """Each start with its level and its delay, the n that are heard nearest to x, nearest first."""
    target = heard.one_by_one(x.unsqueeze(0))[0]
    masked = x if heard.mask is None else heard.mask(x)
    full, distance = [], []
    with torch.no_grad():
        for th in theta:
            y = g.g(th)
            extra = []
            if g.level:
                level = 20 * torch.log10(masked.norm() / y.norm().clamp_min(1e-30))
                extra.append(level.clamp(-g.level, g.level))
            if g.delay:
                extra.append(lag(masked, y, g.delay * g.sample_rate) / g.sample_rate)
            full.append(torch.cat([th, torch.tensor(extra, dtype=torch.float64)]))
            distance.append((heard(g(full[-1])) - target).norm() if len(theta) > 1 else torch.zeros(()))
    return torch.stack(full)[torch.stack(distance).argsort()[:n]]


def lag(x: Float[Tensor, " n"], y: Float[Tensor, " n"], most: float) -> Tensor:
    """By how many samples x is later than y: where their magnitude spectrograms correlate best, between hops too."""
    X, Y = (stft(s.double()).abs() for s in (x, y))
    length = 2 * len(X)
    product = torch.fft.rfft(X, n=length, dim=0) * torch.fft.rfft(Y, n=length, dim=0).conj()
    correlation = torch.fft.irfft(product.sum(-1), n=length).roll(len(X))
    hop = x.shape[-1] // FRAMES // OVERLAP
    reach = max(1, int(most / hop))
    near = correlation[len(X) - reach : len(X) + reach + 1]
    best = int(near.argmax())
    at = torch.tensor(float(best - reach))
    if 0 < best < len(near) - 1:
        a, b, c = near[best - 1 : best + 2]
        at = at + (a - c) / (2 * (a - 2 * b + c)).clamp_max(-1e-30)
    return (at * hop).clamp(-most, most)
