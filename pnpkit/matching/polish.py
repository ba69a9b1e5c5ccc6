"""The last steps of a match, and its region, where one knows what is left over: a noise, or whole steps of samples."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.descent import EASIEST, Descent, refine
from pnpkit.matching.hearing import DRAWS, FEW, Hearing, cut_off, effect_of
from pnpkit.matching.noise import Mask, Noise
from pnpkit.matching.placed import Placed
from pnpkit.matching.region import Region, from_draws
from pnpkit.metric import value_and_jacobian

WHITE = 0.05  # what a match in noise may leave, each coefficient in units of its noise
ROUNDING = 1e-5  # of a coefficient of Φ, in float32: in a faint noise the distance is jagged by that
POLISHES = 2  # rounds behind a mask made of the answer
SHARP = 1e-3  # tolerance in units of Φ: what whole steps leave is long, but hardly leads away
WIDER = 2.0  # times the variance over ways of rounding: nobody knows the way, and no linear picture tells what it does


def in_noise(
    x: Tensor, world: Placed, plain: Hearing, noise: Noise, draws: Tensor, end: Descent, steps: int, step: float
) -> tuple[Descent, Region | None]:
    """The answer again, whitened behind a mask of its own making; its region, from the draws, if that converged."""
    for _ in range(POLISHES):
        model = world(end.theta)
        heard = plain.in_noise(Mask.of_model(model, noise), draws)
        bias, deviations = effect_of(draws, model, heard)
        whitened = heard.whitened(deviations)
        assert isinstance(whitened.weight, Tensor)
        bias = bias * whitened.weight
        target = whitened(x) - bias
        least = max(WHITE, ROUNDING * float(whitened.weight.norm()))
        end = refine(world, whitened, target, end.theta, lam=1e-3, steps=steps, tolerance=least)
    if not bool(end.converged):
        return end, None
    changes = deviations * whitened.weight
    if noise.deviation < step:  # it may be rounding, which goes with the sound
        end = _further(target, world, whitened, end, WHITE)
        ways = cut_off(model, step, whitened, 3)  # of noise there may be enough for its bias, or none
        changes = _beside_rounding(changes, torch.cat([ways, ways - bias]))
    return end, _region(world, whitened, end, changes, float(end.distance))


def in_whole_steps(
    target: Tensor, world: Placed, heard: Hearing, end: Descent, step: float, seed: int
) -> tuple[Descent, Region]:
    """The answer again, down to what steps of that size do to it, and its region."""
    end = _further(target, world, heard, end, SHARP)
    model = world(end.theta)
    white = Noise.white(step / 12**0.5, len(model), model.device).draw(DRAWS // 2, torch.Generator().manual_seed(seed))
    ways = cut_off(model, step, heard, 6)
    changes = _beside_rounding(effect_of(white, model, heard)[1], ways)
    left = (target - heard.one_by_one(model.unsqueeze(0)) - ways).norm(dim=-1)
    like = left.argmin()  # what the likeliest way of rounding does not say is something else, and widens the region
    excess = float(left[like] / ways[like].norm().clamp_min(1e-30))
    return end, _region(world, heard, end, changes, excess * float(changes.square().sum() / (len(changes) - 1)) ** 0.5)


def _further(target: Tensor, world: Placed, heard: Hearing, end: Descent, tolerance: float) -> Descent:
    """From where a descent has ended, as what is left over hid what the parameters could still do."""
    more = refine(world, heard, target, end.theta, lam=EASIEST, steps=FEW, tolerance=tolerance, cosine=0, own=True)
    return replace(more, converged=end.converged)


def _beside_rounding(noise: Float[Tensor, "draws k"], ways: Float[Tensor, "ways k"]) -> Float[Tensor, "more k"]:
    """Draws of a noise, and of a rounding nobody knows, of either sign; their variances add up."""
    kinds = (noise, WIDER**0.5 * torch.cat([ways, -ways]))
    count = sum(map(len, kinds))
    return torch.cat([kind * (count / len(kind)) ** 0.5 for kind in kinds])


def _region(world: Placed, heard: Hearing, end: Descent, draws: Tensor, left: float) -> Region:
    """From draws of what is left over, as heard, and how long it is."""
    u, decode = world.parameters.encode(end.theta, "logminmax"), world.parameters.decode
    J = value_and_jacobian(lambda v: world(decode(v, "logminmax")), heard, u)[1].double()
    return from_draws(u, draws.double(), J, world.g.parameters, left)
