"""The question that a match answers: a sound at the level of its likeliest start, and how it is heard in its noise."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.descent import Descent, refine
from pnpkit.matching.hearing import Hearing, cut_off, usual_distance
from pnpkit.matching.noise import Noise
from pnpkit.matching.placed import Placed
from pnpkit.matching.waveform import EXPLAINED, Finish, finished

SILENT = 0.004  # of ‖Φ(x)‖: what a noiseless match may leave, about 1 for the paper's sounds


@dataclass(frozen=True, eq=False)
class Question:
    """A sound and what it is compared with.

    Args:
        x: the sound, float64, at the level of its likeliest start.
        world: the synthesiser, level and delay parameters where they are free.
        plain: Φ.
        heard: Φ as the noise lets it be heard.
        noise: in x, with draws of it; None where it is none or rounding.
        step: between the values that samples of x can take; 0 for none.
    """

    x: Float[Tensor, " n"]
    world: Placed
    plain: Hearing
    heard: Hearing
    noise: tuple[Noise, Float[Tensor, "draws n"]] | None
    step: float

    @cached_property
    def target(self) -> Float[Tensor, " k"]:
        """x, as heard."""
        return self.heard.one_by_one(self.x.unsqueeze(0))[0]

    @cached_property
    def norm(self) -> float:
        """All there is to explain, in units of Φ."""
        return float(self.target.norm())

    def far(self, y: Float[Tensor, " n"]) -> float:
        """Distance of another sound from x, as heard."""
        return float((self.heard.one_by_one(y.unsqueeze(0))[0] - self.target).norm())

    def coarser(self, share: float) -> "Question":
        """The same with ε raised to a share of the sound's largest coefficient: what is fainter hardly counts."""
        with torch.no_grad():
            least = share * float(self.heard.scattering(self.heard.through(self.x)).abs().max())
        eps = self.heard.eps
        return replace(
            self, heard=replace(self.heard, eps=max(eps, least) if isinstance(eps, float) else eps.clamp_min(least))
        )

    def descend(self, start: Float[Tensor, " p"], **how: Any) -> Descent:
        """From a start, level and delay each held back in its own unit."""
        own = bool(self.world.level or self.world.delay)
        return refine(self.world, self.heard, self.target, start, own=own, **how)

    def usual(self, theta: Float[Tensor, " p"]) -> tuple[float, float]:
        """The distance that an in-model sound there would leave; what noise and the worst way of rounding do of it."""
        model = self.world(theta)
        noise = 0.0 if self.noise is None else usual_distance(model, self.heard, *self.noise)
        ways = cut_off(model, self.step, self.heard, 3).norm(dim=-1) if self.step else torch.zeros(1)
        return max(SILENT * self.norm, noise, float(ways[0])), max(noise, float(ways.max()))

    @property
    def unlevelled(self) -> Placed:
        """The world of the waveform, which has a gain of its own."""
        return Placed(self.world.g, 0.0, self.world.delay)

    def on_waveform(self, theta: Float[Tensor, " p"]) -> Finish:
        """Where the waveform leads from an answer of Φ."""
        world = self.unlevelled
        return finished(self.x, world, world.whole(*self.world.parts(theta)), self.noise and self.noise[0])

    def leap(self, theta: Float[Tensor, " p"]) -> tuple[Float[Tensor, " p"], Finish] | None:
        """The same as a start of Φ, if it explains the sound."""
        done = self.on_waveform(theta)
        if done.explained < EXPLAINED:
            return None
        alone, _, late = self.unlevelled.parts(done.theta)
        loud = max(-self.world.level, min(20 * math.log10(done.gain), self.world.level))
        return self.world.whole(alone, loud, late), done
