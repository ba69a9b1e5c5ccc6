"""Which parameters made this sound, how sure is that, and did the synthesiser make it at all?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.atlas import Atlas
from pnpkit.matching.region import Region
from pnpkit.synth import Synthesiser

VERDICTS = ("made by it", "near it", "not made by it")
SCHEMA = 1


@dataclass(frozen=True)
class Match:
    """The answer to one sound.

    Args:
        theta: θ̃, raw units, in the order of the synthesiser's parameters.
        level: dB by which x is louder than g(θ̃); 0 where it was known.
        delay: seconds by which x is late; 0 where it was known.
        region: 95 % of θ, level and delay profiled out; None if nothing can be said (the descent did not converge).
        distance: ‖Φ(x̃) − Φ(x)‖.
        usual: the distance that an in-model sound in that noise would leave.
        share: of ‖Φ(x)‖², explained by x̃: 1 − distance²/‖Φ(x)‖².
        verdict: one of :data:`VERDICTS`.
        rival: another answer of nearly equal distance, raw units, or None; ``rival_distance`` is its distance.
        resynthesis: x̃, at the level and the delay of x, as long as g's sounds.
        noise: standard deviation of the noise assumed, in units of x; 0 for none.
        converged: whether the descent ended by its own criterion. One that did not is never said to be *made by it*.
        finish: ``"phi"`` or ``"waveform"``: what the answer was last fitted to.
        jacobians: how many were taken, over all starts.
        seconds: it took.
        history: a row a step of the start that won: ``start``, ``distance``, ``lam``, ``kept``, and the parameters.
        names, units: of θ.
    """

    theta: Float[Tensor, " d"]
    level: float
    delay: float
    region: Region | None
    distance: float
    usual: float
    share: float
    verdict: str
    rival: Float[Tensor, " d"] | None
    rival_distance: float
    resynthesis: Float[Tensor, " n"]
    noise: float
    converged: bool
    finish: str
    jacobians: int
    seconds: float
    history: pd.DataFrame
    names: tuple[str, ...]
    units: tuple[str, ...]

    def sentence(self) -> str:
        """The verdict in one line, such as ``not made by it: 88 where 3 is usual``."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write it as one file of arrays (``.npz``, no pickle)."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "Match":
        """Read what :meth:`save` wrote; ``ValueError`` if it is something else."""
        raise NotImplementedError


def match(
    x: Float[Tensor, " n"],
    sample_rate: float,
    g: Synthesiser,
    phi: Callable[[Tensor], Tensor] | None = None,
    *,
    starts: Atlas | Callable[[Tensor], Tensor] | Float[Tensor, "starts d"] | None = None,
    n_starts: int = 4,
    finish: Literal["phi", "waveform"] = "phi",
    level: Literal["free", "known"] = "free",
    delay: Literal["free", "known"] = "free",
    noise: Literal["estimate"] | float | None = "estimate",
    level_range: float = 40.0,
    delay_range: float = 0.5,
    steps: int = 20,
    seed: int = 0,
) -> Match:
    """Find the parameters of a sound.

    Args:
        x: the sound, as long as g's: resampled, padded or windowed by the caller.
        sample_rate: of x, in Hz; must be the synthesiser's.
        g: any synthesiser, its gain's gradient attached.
        phi: the scattering operator, x → S, homogeneous of degree one, or an object that has one as ``jtfs``; by
            default the authors' for g's length.
        starts: an atlas of g; an analyser, x → θ; starts themselves, raw units; or None for random ones.
        n_starts: how many of the atlas' nearest (or random ones) are tried, until one explains the sound.
        finish: ``"waveform"`` goes on with the waveform, phase free, once Φ is in the basin, and keeps that only where
            it explains the sound.
        level, delay: whether they are parameters of the descent.
        noise: standard deviation of a white noise in x, in its unit; ``"estimate"`` reads its spectrum off the quiet
            frames; None for none.
        level_range: dB, either way, from the level of the nearest start.
        delay_range: seconds, either way.
        steps: of each descent, at most.
        seed: of the noise that is drawn to learn what noise does to Φ.

    Returns:
        The answer, with what it is worth.

    Raises:
        ValueError: if x is empty, not finite, silent, clipped, of another length or rate, softer than its noise; if a
            start lies outside the ranges, or the atlas is of another synthesiser.
    """
    raise NotImplementedError
