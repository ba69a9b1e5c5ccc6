"""How a noisy sound is heard: Φ where the sound is, each coefficient as much as the noise lets it speak."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.jtfs import JTFS
from pnpkit.jtfs.descriptor import EPS, log_compress
from pnpkit.matching.noise import Mask, Noise
from pnpkit.metric import Function

DRAWS = 24  # of noise at least, to learn what it does to Φ: a covariance of the parameters takes several times as many
FEW = 6  # of them, where a mean is enough
ROUGH = 1e-3  # share of S by which that of a sound twice as loud may miss twice S
EVEN = 0.1  # of the mean variance, added to each coefficient's: a few draws know a variance badly


@dataclass(frozen=True, eq=False)
class Hearing:
    r"""A descriptor that a noise does not drown: :math:`w \log(1 + S(\mathrm{P}x)/\varepsilon)`; Φ if nothing is said.

    Args:
        scattering: S, homogeneous of degree one.
        mask: P, the same for target and model; None lets all through.
        eps: ε, one for all or one a coefficient.
        weight: w, likewise.
    """

    scattering: Function
    mask: Mask | None = None
    eps: float | Float[Tensor, " k"] = EPS
    weight: float | Float[Tensor, " k"] = 1.0

    @classmethod
    def plain(cls, phi: Function, x: Float[Tensor, " n"]) -> "Hearing":
        """Φ of an operator, or of an object that has one; refused if a sound says that it is compressed already."""
        scattering = getattr(phi, "jtfs", phi)
        if not isinstance(scattering, JTFS):
            with torch.no_grad():
                S, twice = scattering(x), scattering(2 * x)
            if not (twice - 2 * S).norm() <= ROUGH * S.norm():
                raise ValueError("phi must be the scattering x → S, homogeneous of degree one, or a Phi that has it")
        return cls(scattering, eps=float(getattr(phi, "eps", EPS)))

    def through(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """What the mask lets through."""
        return x if self.mask is None else self.mask(x)

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k"]:
        """As heard."""
        S = self.scattering(self.through(x))
        heard = log_compress(S, self.eps) if isinstance(self.eps, float) else torch.log1p(S / self.eps.to(S))
        return heard if isinstance(self.weight, float) else heard * self.weight.to(S)

    def one_by_one(self, x: Float[Tensor, "items n"]) -> Float[Tensor, "items k"]:
        """Φ of each item, one at a time, which bounds the memory; without gradient."""
        with torch.no_grad():
            return torch.stack([self(item) for item in x])

    def in_noise(self, mask: Mask, draws: Float[Tensor, "draws n"]) -> "Hearing":
        """Behind a mask, with ε of each path raised by the coefficient that the noise alone has there."""
        with torch.no_grad():
            floor = torch.stack([self.scattering(mask(noise)) for noise in draws[:FEW]]).mean(0)
        return replace(self, mask=mask, eps=self.eps + floor)

    def whitened(self, deviations: Float[Tensor, "draws k"]) -> "Hearing":
        """With each coefficient in units of its standard deviation over draws of the noise."""
        variance = deviations.square().mean(0) * len(deviations) / (len(deviations) - 1)
        return replace(self, weight=(variance + EVEN * variance.mean()).clamp_min(1e-12).rsqrt())


def effect_of(
    draws: Float[Tensor, "draws n"], x: Float[Tensor, " n"], heard: Hearing
) -> tuple[Float[Tensor, " k"], Float[Tensor, "draws k"]]:
    """What a noise does to a sound as heard: the mean change, and each draw's deviation from that mean."""
    changes = heard.one_by_one(x + draws.to(x)) - heard.one_by_one(x.unsqueeze(0))
    return changes.mean(0), changes - changes.mean(0)


def cut_off(x: Float[Tensor, " n"], step: float, heard: Hearing, ways: int = 1) -> Float[Tensor, "ways k"]:
    """What whole steps do to a sound as heard: to the nearest, down, towards zero, and ways in between."""
    v, part = x / step, x.new_tensor([[0.25], [0.75]])
    usual = torch.stack([v.round(), v.floor(), v.trunc()])
    steps = torch.cat([usual, (v + part).floor(), v.sign() * (v.abs() + part).floor()])
    return heard.one_by_one(steps[:ways] * step) - heard.one_by_one(x.unsqueeze(0))


def usual_distance(x: Float[Tensor, " n"], heard: Hearing, noise: Noise, draws: Float[Tensor, "draws n"]) -> float:
    """Mean distance of a clean sound from itself in noise, behind masks that are made of each noisy sound anew."""
    distances = []
    for draw in draws[:FEW]:
        behind = replace(heard, mask=Mask.of_sound(x + draw, noise))
        noisy, clean = behind.one_by_one(torch.stack([x + draw, x]))
        distances.append((noisy - clean).norm())
    return float(torch.stack(distances).mean())
