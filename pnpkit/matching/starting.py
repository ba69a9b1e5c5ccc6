"""Where the descents of one sound begin: at which parameters, how loud, and how late."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._names import require_known
from pnpkit.matching.atlas import Atlas
from pnpkit.matching.hearing import Hearing
from pnpkit.matching.noise import hop_of, stft, stream
from pnpkit.matching.placed import Placed
from pnpkit.metric import Function

Starts = Atlas | Function | Tensor | None
HINTED = 24  # starts that are listened to with a hint from the sound, the likeliest of the atlas with each
PUNCTUAL = 2  # hops: a smaller lag is compared with none
CANDIDATES = 6  # nearest sounds of an atlas that are listened to, a start


def candidates(
    x: Float[Tensor, " n"], g: Placed, heard: Hearing, starts: Starts, n: int, seed: int
) -> Float[Tensor, "starts d"]:
    """Parameters of the synthesiser alone, the likeliest first: from an atlas, an analyser, the caller, or chance."""
    space = g.g.parameters
    if isinstance(starts, Atlas):
        starts.check(g.g)
        masked = heard.through(x)
        phi = replace(heard, mask=None)(starts.normalise(masked))
        log_norm = None if g.level else masked.double().norm().log()
        many = n * CANDIDATES if g.level or g.delay or heard.mask is not None else n
        nearest = starts.theta[starts.nearest(phi, min(many, len(starts.theta)), log_norm)[0]].double()
        return torch.clamp(nearest, space.low, space.high)  # at a bound, float32 may be outside
    if isinstance(starts, Tensor):
        return space.inside(torch.atleast_2d(starts))
    if starts is not None:
        if not callable(starts):
            raise TypeError(f"starts are an atlas, a function of the sound, a tensor of θ, or None, not {starts!r}")
        guess = torch.atleast_2d(starts(x).detach().double().cpu())
        space.check(guess)
        return torch.clamp(guess, space.low, space.high)  # a network may answer from outside the ranges
    u = torch.rand(n, len(space), generator=stream(seed), dtype=torch.float64)
    return space.decode(2 * u - 1, "logminmax")


def hinted(x: Float[Tensor, " n"], g: Placed, theta: Float[Tensor, "starts d"]) -> Float[Tensor, "hinted d"]:
    """The likeliest starts with what the sound itself says in place of the atlas' word; none if it says nothing.

    A synthesiser may have a method ``hint(x)``, which gives values by name, one each or several that go together.
    """
    space, given = g.g.parameters, getattr(g.g, "hint", None)
    values = {k: torch.as_tensor(v).reshape(-1).to(theta) for k, v in (dict(given(x)) if given else {}).items()}
    many = max(map(len, values.values()), default=0)
    theta = theta[: max(1, HINTED // many) if many else 0].repeat_interleave(max(1, many), 0)
    for name, value in values.items():
        require_known("parameter of a hint", name, space.names)
        if len(value) not in (1, many):
            raise ValueError(f"values of a hint go together: of {name} there are {len(value)}, of another {many}")
        theta[:, space.names.index(name)] = value.expand(many).repeat(len(theta) // many)
    return torch.clamp(theta, space.low.to(theta), space.high.to(theta))


def placed(
    x: Float[Tensor, " n"], theta: Float[Tensor, "starts d"], g: Placed, heard: Hearing, n: int
) -> Float[Tensor, "kept p"]:
    """Each start with its level and its delay, the n that are heard nearest to x, nearest first."""
    target = heard.one_by_one(x.unsqueeze(0))[0]
    masked = heard.through(x)
    near = PUNCTUAL * hop_of(len(x)) / g.sample_rate
    nearest = []
    with torch.no_grad():
        for th in theta:
            y = g.g(th)
            level = float((20 * torch.log10(masked.norm() / y.norm().clamp_min(1e-30))).clamp(-g.level, g.level))
            late = float(lag(masked, y, g.delay * g.sample_rate) / g.sample_rate) if g.delay else 0.0
            # A lag is known to a hop, and a stroke that is late by one is stuck there: the recording may be punctual
            tried = [g.whole(th, level, d) for d in ([late, 0.0] if 0 < abs(late) < near else [late])]
            many = len(theta) * len(tried) > 1
            far = [(heard(g(t)) - target).norm() if many else torch.zeros(()) for t in tried]
            nearest.append(min(zip(tried, far, strict=True), key=lambda pair: float(pair[1])))
    full, distance = (torch.stack(column) for column in zip(*nearest, strict=True))
    return full[distance.argsort()[:n]]


def lag(x: Float[Tensor, " n"], y: Float[Tensor, " n"], most: float) -> Tensor:
    """By how many samples x is later than y: where their magnitude spectrograms correlate best, between hops too."""
    X, Y = (stft(s.double()).abs() for s in (x, y))
    length = 2 * len(X)
    product = torch.fft.rfft(X, n=length, dim=0) * torch.fft.rfft(Y, n=length, dim=0).conj()
    correlation = torch.fft.irfft(product.sum(-1), n=length).roll(len(X))
    hop = hop_of(len(x))
    reach = min(len(X), max(1, int(most / hop)))
    near = correlation[len(X) - reach : len(X) + reach + 1]
    best = int(near.argmax())
    at = torch.tensor(float(best - reach))
    if 0 < best < len(near) - 1:
        a, b, c = near[best - 1 : best + 2]
        at = at + (a - c) / (2 * (a - 2 * b + c)).clamp_max(-1e-30)
    return (at * hop).clamp(-most, most)
