"""Which parameters made this sound, how sure is that, and did the synthesiser make it at all?"""

import math
import time
from dataclasses import replace
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._checks import CLIPPED, clipped_share, require_finite, require_floating, require_not_flat, require_whole
from pnpkit._names import require_known
from pnpkit.jtfs import JTFS
from pnpkit.matching.answer import Match
from pnpkit.matching.atlas import Atlas, fingerprint
from pnpkit.matching.hearing import DRAWS, Hearing
from pnpkit.matching.noise import Mask, noise_in, stream
from pnpkit.matching.placed import Placed
from pnpkit.matching.polish import polished
from pnpkit.matching.question import Question
from pnpkit.matching.search import best_of, rival_of, search
from pnpkit.matching.starting import Starts, candidates, hinted, placed
from pnpkit.matching.waveform import EXPLAINED
from pnpkit.metric import Function
from pnpkit.synth import Synthesiser

COARSE = 0.25  # of ‖Φ(x)‖: where rounding is usually that far, nothing is told any more
TAKEN = frozenset(("start", "step", "distance", "lam", "kept", "level", "delay"))


def match(
    x: Float[Tensor, " n"],
    sample_rate: float,
    g: Synthesiser,
    phi: Function | None = None,
    *,
    starts: Starts = None,
    n_starts: int = 4,
    finish: Literal["phi", "waveform"] = "phi",
    level: Literal["free", "known"] = "free",
    delay: Literal["free", "known"] = "free",
    noise: Literal["estimate"] | float | None = "estimate",
    resolution: float = 0.0,
    level_range: float = 40.0,
    delay_range: float = 0.5,
    steps: int = 20,
    seed: int = 0,
) -> Match:
    r"""Find the parameters of a sound.

    Starts are tried in turn until one explains the sound, and noise or rounding what it leaves; where none explains it
    in a few steps, the nearest go on, and then begin again with a large ε, where only what is loud counts and the
    valley is wide, a smaller one, and last their own.

    In noise, Φ is taken behind a mask that lets through where the sound stands out, with ε of each path raised by the
    noise's own coefficient. Once the sound is explained, the mask is made of the answer's own spectrogram, the mean
    effect of the noise on each coefficient is taken off, and each coefficient counts by the inverse of its variance,
    both learnt from draws of the noise; those draws also give the region.

    Args:
        x: the sound, as long as g's: resampled, padded or windowed by the caller. All goes on where it lies, so Φ must
            lie there too.
        sample_rate: of x, in Hz; must be the synthesiser's.
        g: any synthesiser, its gain's gradient attached.
        phi: unlike elsewhere S and not Φ: the scattering operator, homogeneous of degree one, or an object that has
            one as ``jtfs`` (and may have an ε as ``eps``); by default the authors' for g's length.
        starts: an atlas of g, beside which g may have a method ``hint`` that reads parameters off the sound (x → values
            by name, one or several that go together); an analyser, x → θ (a network with what comes before and after
            it, ``lambda x: space.decode(network(scalogram(x)), coordinates)``); starts themselves, raw units; or None
            for random ones.
        n_starts: how many of the atlas' nearest (or random ones) are tried, and half as many of what ``hint`` reads.
        finish: ``"waveform"`` goes on with the waveform, phase free, where Φ is stuck and where it has ended, and keeps
            that only where it explains the sound.
        level, delay: whether they are parameters of the descent.
        noise: standard deviation of a white noise in x, in its unit; ``"estimate"`` reads its spectrum off the quiet
            frames; None for none.
        resolution: step between the values that samples of x can take, in its unit, as 2⁻¹⁵ of 16 bits; 0 for none. It
            counts in what is usual, as a soft sound is not the same with samples cut off to such a step.
        level_range: dB, either way, from the level of the likeliest start.
        delay_range: seconds, either way; at most the length of the sound.
        steps: of each descent, at most.
        seed: of the noise that is drawn to learn what noise does to Φ, and of random starts.

    Returns:
        The answer, with what it is worth.

    Raises:
        ValueError: if x is empty, not finite, silent, clipped, of another length or rate, softer than its noise, or too
            soft for the steps of its samples; if a start lies outside the ranges, there is none, or the atlas is of
            another synthesiser; if a word is unknown, phi is not homogeneous, or a parameter has the name of a column
            of the history, or of the place.

    >>> from pnpkit.synth import Arpeggio
    >>> g, theta = Arpeggio(detach_gain=False), torch.tensor([700.0, 8.0, 2.0])
    >>> match(g(theta), 8192, g, starts=1.02 * theta, level="known", delay="known", noise=None).verdict
    'made by it'
    """
    began = time.perf_counter()
    require_known("finish", finish, ("phi", "waveform"))
    for name, value in (("level", level), ("delay", delay)):
        require_known(name, value, ("free", "known"))
    if taken := TAKEN.intersection(g.parameters.names):
        raise ValueError(f"no parameter of a synthesiser that is matched may be called {' or '.join(sorted(taken))}")
    require_whole("n_starts", n_starts, 1)
    require_whole("steps", steps, 0)
    require_whole("seed", seed, 0)
    if not 0 <= resolution < math.inf:
        raise ValueError(f"resolution must be finite and not negative, not {resolution}")
    _check_sound(x, sample_rate, g, resolution)
    latest = min(delay_range, g.n_samples / g.sample_rate)
    world = Placed(g, level_range if level == "free" else 0.0, latest if delay == "free" else 0.0)
    question, gain, begin = _asked(x, world, phi, starts, n_starts, noise, resolution, seed)
    found = search(question, begin, steps, finish == "waveform")
    best = best_of(found)
    if resolution and best.usual >= COARSE * question.norm:
        raise ValueError(
            f"the sound is too soft for the steps of its samples, {resolution:.2g}: they move it by {best.usual:.0f} "
            f"of its {question.norm:.0f} units of Φ"
        )
    end, region, ways = polished(question, best, steps, seed)
    tables = dict(enumerate(a.table for a in found)) | ways
    theta, loud, late = world.parts(end.theta)
    resynthesis, fitted, share, distance = world(end.theta), "phi", math.nan, best.distance
    if finish == "waveform" and bool(end.converged):
        done = best.finish or question.on_waveform(end.theta)
        share = done.explained
        if share >= EXPLAINED:
            fitted, region, resynthesis = "waveform", done.region, done.resynthesis
            theta, _, late = question.unlevelled.parts(done.theta)
            loud = 20 * math.log10(done.gain) if world.level else 0.0
    if fitted == "waveform" or end is not best.end:  # what moved since the search is heard again
        distance = question.far(resynthesis)
    rival = rival_of(found, best, g.parameters)
    return Match(
        theta=theta,
        level=loud - 20 * math.log10(gain),
        delay=late,
        region=region,
        distance=distance,
        usual=best.usual,
        norm=question.norm,
        rival=None if rival is None else world.parts(rival.end.theta)[0],
        rival_distance=math.nan if rival is None else rival.distance,
        resynthesis=resynthesis / gain,
        noise=question.noise[0].deviation / gain if question.noise else 0.0,
        converged=bool(end.converged),
        finish=fitted,
        explained=share,
        jacobians=sum(map(len, tables.values())),
        seconds=time.perf_counter() - began,
        history=pd.concat([t.reset_index().assign(start=k) for k, t in tables.items()], ignore_index=True),
        space=g.parameters,
        fingerprint=fingerprint(g),
    )


def _asked(
    x: Tensor,
    world: Placed,
    phi: Function | None,
    starts: Starts,
    n_starts: int,
    noise: str | float | None,
    resolution: float,
    seed: int,
) -> tuple[Question, float, Tensor]:
    """The question, the gain that brought the sound to the level of its likeliest start, and where to begin."""
    g, x = world.g, x.detach().double()
    assumed = noise_in(x, noise)
    plain = Hearing.plain(phi if phi is not None else JTFS.reference(g.n_samples).to(x.device), x)
    heard = plain if assumed is None else replace(plain, mask=Mask.of_sound(x, assumed))
    guesses = candidates(x, world, heard, starts, n_starts, seed).to(x)
    if not len(guesses):
        raise ValueError("there is no start: starts is empty")
    gain, known = 1.0, None
    if world.level:
        with torch.no_grad():
            gain = float(g(guesses[0]).norm() / heard.through(x).norm().clamp_min(1e-30))
    x = x * gain
    if assumed is not None and heard.mask is not None:
        draws = assumed.draw(max(DRAWS, 3 * len(world.parameters)), stream(seed))
        known = assumed.scaled(gain), draws * gain
        heard = plain.in_noise(heard.mask, known[1])
    begin = placed(x, guesses, world, heard, len(guesses) if isinstance(starts, Tensor) else n_starts)
    if isinstance(starts, Atlas) and len(more := hinted(x, world, guesses)):
        begin = torch.cat([placed(x, more, world, heard, max(1, n_starts // 2)), begin])
    return Question(x, world, plain, heard, known, resolution * gain), gain, begin


def _check_sound(x: Tensor, sample_rate: float, g: Synthesiser, resolution: float) -> None:
    require_floating("the sound", x)
    if x.numel() == 0:
        raise ValueError("the sound is empty")
    if sample_rate != g.sample_rate or x.shape != (g.n_samples,):
        raise ValueError(
            f"the synthesiser makes {g.n_samples} samples at {g.sample_rate} Hz; the sound has "
            f"{'×'.join(map(str, x.shape))} at {sample_rate} Hz: fitted(x, sample_rate, g).x brings a waveform there"
        )
    require_finite("the sound", x)
    if not x.any():
        raise ValueError("the sound is silent: there is nothing to match")
    if not flat_by_nature(g):
        require_not_flat("the sound", x, step=resolution)


def flat_by_nature(g: Synthesiser) -> bool:
    """Whether sounds of the middle of its ranges are flat at their peaks, as a square wave's."""
    middle = g.parameters.decode(torch.zeros(len(g.parameters), dtype=torch.float64), "logminmax")
    return clipped_share(g(middle)) > CLIPPED
