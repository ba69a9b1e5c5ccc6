"""Where the descents of one sound begin: at which parameters, how loud, and how late."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._names import require_known
from pnpkit.matching.atlas import Atlas
from pnpkit.matching.hearing import Hearing
from pnpkit.matching.noise import hop_of, stft
from pnpkit.matching.placed import Placed
from pnpkit.metric import Function

Starts = Atlas | Function | Tensor | None
HINTED = 12  # of the likeliest starts that are listened to again with a hint from the sound
STRONG = 10 ** (-10 / 20)  # of the highest peak of a spectrum
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
        return starts.theta[starts.nearest(phi, min(many, len(starts.theta)), log_norm)[0]].double()
    if isinstance(starts, Tensor):
        return space.inside(torch.atleast_2d(starts))
    if starts is not None:
        guess = torch.atleast_2d(starts(x).detach().double().cpu())
        space.check(guess)
        return torch.clamp(guess, space.low, space.high)  # a network may answer from outside the ranges
    u = torch.rand(n, len(space), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return space.decode(2 * u - 1, "logminmax")


def hinted(x: Float[Tensor, " n"], g: Placed, theta: Float[Tensor, "starts d"]) -> Float[Tensor, "hinted d"]:
    """The likeliest starts with what the sound itself says in place of the atlas' word; none if it says nothing.

    A synthesiser may have a method ``hint(x)``, which gives values by name; a parameter ``omega`` in rad/s is taken
    as that of the lowest strong peak of the spectrum.
    """
    space, given = g.g.parameters, getattr(g.g, "hint", None)
    values = dict(given(x)) if given is not None else {}
    for p in space.parameters:
        if given is None and (p.name, p.unit) == ("omega", "rad/s"):
            values[p.name] = 2 * math.pi * lowest_peak(x, g.sample_rate, p.low / (2 * math.pi), p.high / (2 * math.pi))
    theta = theta[: HINTED if values else 0].clone()
    for name, value in values.items():
        require_known("parameter of a hint", name, space.names)
        theta[:, space.names.index(name)] = value
    return torch.clamp(theta, space.low.to(theta), space.high.to(theta))


def lowest_peak(x: Float[Tensor, " n"], rate: float, low: float, high: float) -> float:
    """Frequency of the lowest local maximum of the spectrum that is within 10 dB of the highest, both in a range, Hz.

    >>> t = torch.arange(4096, dtype=torch.float64) / 4096
    >>> round(lowest_peak(torch.sin(2 * torch.pi * 65 * t) + torch.sin(2 * torch.pi * 300 * t), 4096, 40, 1000))
    65
    """
    x = x.double().cpu()
    spectrum = torch.fft.rfft(x * torch.linspace(1, 0, len(x), dtype=torch.float64), n=2 * len(x)).abs()
    f = torch.fft.rfftfreq(2 * len(x), 1 / rate)
    inner = spectrum[1:-1]
    peaks = (inner >= spectrum[:-2]) & (inner >= spectrum[2:]) & (f[1:-1] >= low) & (f[1:-1] <= high)
    strong = peaks & (inner >= STRONG * inner[(f[1:-1] >= low) & (f[1:-1] <= high)].max())
    at = strong.nonzero()
    return float(f[1 + int(at[0])]) if len(at) else (low * high) ** 0.5


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
            level = 20 * torch.log10(masked.norm() / y.norm().clamp_min(1e-30))
            extra = [level.clamp(-g.level, g.level)] if g.level else []
            late = lag(masked, y, g.delay * g.sample_rate) / g.sample_rate if g.delay else torch.zeros(())
            # A lag is known to a hop, and a stroke that is late by one is stuck there: the recording may be punctual
            delays = [late, torch.zeros(())] if 0 < abs(float(late)) < near else [late]
            tried = [torch.cat([th, th.new_tensor([*extra, *[d] * bool(g.delay)])]) for d in delays]
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
