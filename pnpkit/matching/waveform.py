"""The finish: once Φ is in the basin, least squares on the waveform itself, phase free, from coarse to fine."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from pnpkit.matching.damped import Normal, damped
from pnpkit.matching.noise import Noise
from pnpkit.matching.placed import Placed
from pnpkit.matching.region import Region, from_metric
from pnpkit.metric import value_and_jacobian

WINDOWS = (32, 16, 8, 4, 2, 1)  # over the sound: within each, phase and level are free
STEPS = 12  # at each number of windows
SETTLED = 1e-7  # relative change of the misfit at which a descent ends
ROUNDING = 1e-7  # of the sound: what samples of single precision leave of it, and what this arithmetic can tell
EXPLAINED = 0.95  # share of the sound's energy, noise taken off, from which the finish is kept


@dataclass(frozen=True, eq=False)
class Finish:
    """An answer of the waveform: θ and delay, gain, region, the share of the sound's energy it explains, its sound."""

    theta: Float[Tensor, " p"]
    gain: float
    region: Region
    explained: float
    resynthesis: Float[Tensor, " n"]


def finished(x: Float[Tensor, " n"], world: Placed, start: Float[Tensor, " p"], noise: Noise | None) -> Finish:
    r"""Least squares on the analytic signal, :math:`\sum_k \|w_k (y - c_k z_\theta)\|^2`, complex c_k free.

    Windows w_k, whose squares add up to one, cut the sound into ever fewer pieces: with many, only what happens within
    each counts, and the basin is wide; with one, phases count throughout, and the answer is that of maximum
    likelihood. Both signals are divided by the noise's spectrum first. The c_k are eliminated (variable projection,
    in Kaufman's approximation).

    Args:
        x: the sound.
        world: synthesiser and delay; a level is in c and must not be a parameter.
        start: in the basin, raw units.
        noise: in x; None for white.

    Source: Golub and Pereyra, 1973; Kaufman, 1975.
    """
    space = world.parameters
    whiten = _whitener(noise, len(x)).to(x.device)
    y = _analytic(x, whiten)
    low, high = (end.to(y.real) for end in space.box("logminmax"))

    def at(windows: list[tuple[slice, Tensor]], u: Tensor) -> Normal:
        """M, gradient, misfit and the levels, level and phase of each window eliminated."""
        z, dz = value_and_jacobian(lambda v: world(space.decode(v, "logminmax")), lambda s: s, u)
        signals = _analytic(torch.cat([z.unsqueeze(0), dz.mT, x.unsqueeze(0)]), whiten)
        # Inner products of all pairs of signals, within each window
        parts = [(signals[:, where], weight) for where, weight in windows]
        inner = torch.stack([(part.conj() * weight) @ part.mT for part, weight in parts])
        zz = inner[:, 0, 0].real.clamp_min(1e-300)
        c = inner[:, 0, -1] / zz
        own, cross = inner[:, 1:-1, 1:-1], inner[:, 1:-1, 0]
        M = own - cross.unsqueeze(-1) * cross.conj().unsqueeze(-2) / zz[:, None, None]
        M = (c.abs().square()[:, None, None] * M).real.sum(0)
        ahead = inner[:, 1:-1, -1] - cross * c.unsqueeze(-1)  # ⟨∂z, y − cz⟩
        gradient = -(c.conj().unsqueeze(-1) * ahead).real.sum(0)
        misfit = (inner[:, -1, -1].real - zz * c.abs().square()).sum()
        return M, gradient, misfit, c

    u = torch.clamp(space.encode(start, "logminmax"), low, high)
    for count in WINDOWS:
        windows = [(where, weight.to(y.real)) for where, weight in _windows(count, len(x))]
        u, (M, _, misfit, _), _ = damped(partial(at, windows), u, low, high, lam=1e-3, steps=STEPS, settled=SETTLED)
    theta = space.decode(u, "logminmax")
    energy = float(y.abs().square().sum())
    heard = energy - (0.0 if noise is None else 2.0 * len(x))  # a whitened noise has variance 1, its analytic signal 2
    sound = world(theta)
    z = _analytic(sound, whiten)
    c = torch.vdot(z, y) / z.abs().square().sum().clamp_min(1e-300)
    explained = float(c.abs().square() * z.abs().square().sum()) / heard if heard > 0 else 0.0
    freedom = len(x) - len(u) - 2
    left = max(float(misfit), ROUNDING**2 * energy) ** 0.5
    region = from_metric(u, M, left, freedom, world.g.parameters)
    plain = (c * _analytic(sound, torch.ones_like(whiten))).real
    return Finish(theta, float(c.abs()), region, min(explained, 1.0), plain)


def _whitener(noise: Noise | None, n: int) -> Tensor:
    """One over the noise's spectrum; what is quieter than a thousandth of its peak is not trusted."""
    if noise is None:
        return torch.ones(n // 2 + 1, dtype=torch.float64)
    amplitude = noise.amplitude(n // 2 + 1)
    return 1 / amplitude.clamp_min(1e-3 * float(amplitude.max()))


def _analytic(x: Float[Tensor, "*batch n"], whiten: Float[Tensor, " bins"]) -> Complex[Tensor, "*batch n"]:
    """Analytic signal of x, whitened."""
    spectrum = torch.fft.rfft(x.double()) * whiten
    spectrum[..., 1 : (x.shape[-1] + 1) // 2] *= 2  # all but the mean and, of an even number of samples, Nyquist
    return torch.fft.ifft(spectrum, n=x.shape[-1])


def _windows(count: int, n: int) -> list[tuple[slice, Float[Tensor, " part"]]]:
    """Where each window is, and its square; these add up to one: raised cosines, flat to the ends of the sound."""
    if count == 1:
        return [(slice(0, n), torch.ones(n, dtype=torch.float64))]
    at = torch.linspace(0, count - 1, n, dtype=torch.float64)
    ends = torch.searchsorted(at, torch.arange(-1, count + 1, dtype=torch.float64)).tolist()
    places = [slice(a, b) for a, b in zip(ends, ends[2:], strict=False)]
    return [(where, torch.cos((at[where] - k) * torch.pi / 2).square()) for k, where in enumerate(places)]
