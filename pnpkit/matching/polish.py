"""The last steps of a match, and its region, where one knows what is left over: a noise, or whole steps of samples."""

from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.answer import NEARNESS, participation
from pnpkit.matching.descent import EASIEST, Descent, refine
from pnpkit.matching.hearing import DRAWS, FEW, Hearing, cut_off, effect_of
from pnpkit.matching.noise import Mask, Noise, stream
from pnpkit.matching.question import Question
from pnpkit.matching.region import Region, from_draws, from_metric
from pnpkit.matching.search import FINE, Attempt
from pnpkit.metric import value_and_jacobian

WHITE = 0.05  # what a match in noise may leave, each coefficient in units of its noise
ROUNDING = 1e-5  # of a coefficient of Φ, in float32: in a faint noise the distance is jagged by that
POLISHES = 2  # rounds behind a mask made of the answer
SHARP = 1e-3  # tolerance in units of Φ: what whole steps leave is long, but hardly leads away
WIDER = 2.0  # times the variance over ways of rounding: nobody knows the way, and no linear picture tells what it does


def polished(
    q: Question, best: Attempt, steps: int, seed: int
) -> tuple[Descent, Region | None, dict[int, pd.DataFrame]]:
    """The best answer brought further, where what it leaves is known; its region, if one can tell; the ways there."""
    end, region, ways = best.end, None, {}
    if not best.explained or (q.noise is None and not q.step):
        region = _from_leftover(q, best)
    elif q.noise is None:
        end, region = _in_whole_steps(q, end, seed)
        ways[-2] = end.table()
    else:
        further, region = _in_noise(q, q.noise, end, steps)
        ways[-1] = further.table()
        if region is not None:  # one that does not settle does not undo what was found
            end = further
        elif q.noise[0].deviation >= q.step:  # nor does a linear picture tell what rounding does
            region = _from_leftover(q, best)
    beyond = best.distance > (1 - NEARNESS) * q.norm  # what any linear picture tells
    return end, None if beyond else region, ways


def _in_noise(q: Question, noise: tuple[Noise, Tensor], end: Descent, steps: int) -> tuple[Descent, Region | None]:
    """The answer again, whitened behind a mask of its own making; its region, from the draws, if that converged."""
    assumed, draws = noise
    for _ in range(POLISHES):
        model = q.world(end.theta)
        heard = q.plain.in_noise(Mask.of_model(model, assumed), draws)
        bias, deviations = effect_of(draws, model, heard)
        whitened = heard.whitened(deviations)
        assert isinstance(whitened.weight, Tensor)
        bias = bias * whitened.weight
        target = whitened(q.x) - bias
        least = max(WHITE, ROUNDING * float(whitened.weight.norm()))
        end = refine(q.world, whitened, target, end.theta, lam=1e-3, steps=steps, tolerance=least)
    if not bool(end.converged):
        return end, None
    changes = deviations * whitened.weight
    if assumed.deviation < q.step:  # it may be rounding, which goes with the sound
        end = _further(q, whitened, target, end, WHITE)
        ways = cut_off(model, q.step, whitened, 3)  # of noise there may be enough for its bias, or none
        changes = _beside_rounding(changes, torch.cat([ways, ways - bias]))
    return end, _from_draws(q, whitened, end, changes, float(end.distance))


def _in_whole_steps(q: Question, end: Descent, seed: int) -> tuple[Descent, Region]:
    """The answer again, down to what whole steps of the samples do to it, and its region."""
    end = _further(q, q.heard, q.target, end, SHARP)
    model = q.world(end.theta)
    white = Noise.white(q.step / 12**0.5, len(model), model.device)
    # With the ways, of both signs, three times as many as there are parameters
    draws = white.draw(max(DRAWS // 2, 3 * len(q.world.parameters) - DRAWS // 2), stream(seed))
    ways = cut_off(model, q.step, q.heard, 6)
    changes = _beside_rounding(effect_of(draws, model, q.heard)[1], ways)
    left = (q.target - q.heard.one_by_one(model.unsqueeze(0)) - ways).norm(dim=-1)
    like = left.argmin()  # what the likeliest way of rounding does not say is something else, and widens the region
    excess = float(left[like] / ways[like].norm().clamp_min(1e-30))
    length = float(changes.square().sum() / (len(changes) - 1)) ** 0.5
    return end, _from_draws(q, q.heard, end, changes, excess * length)


def _further(q: Question, heard: Hearing, target: Tensor, end: Descent, tolerance: float) -> Descent:
    """From where a descent has ended, as what is left over hid what the parameters could still do."""
    more = refine(q.world, heard, target, end.theta, lam=EASIEST, steps=FEW, tolerance=tolerance, cosine=0, own=True)
    return replace(more, converged=end.converged)


def _beside_rounding(noise: Float[Tensor, "draws k"], ways: Float[Tensor, "ways k"]) -> Float[Tensor, "more k"]:
    """Draws of a noise, and of a rounding nobody knows, of either sign; their variances add up."""
    kinds = (noise, WIDER**0.5 * torch.cat([ways, -ways]))
    count = sum(map(len, kinds))
    return torch.cat([kind * (count / len(kind)) ** 0.5 for kind in kinds])


def _from_draws(q: Question, heard: Hearing, end: Descent, draws: Tensor, left: float) -> Region:
    """The region, from draws of what is left over, as heard, and how long it is."""
    u, decode = q.world.parameters.encode(end.theta, "logminmax"), q.world.parameters.decode
    J = value_and_jacobian(lambda v: q.world(decode(v, "logminmax")), heard, u)[1].double()
    return from_draws(u, draws.double(), J, q.world.g.parameters, left)


def _from_leftover(q: Question, best: Attempt) -> Region | None:
    """The region, from M and what the answer leaves; None if it did not converge."""
    if not bool(best.end.converged):
        return None
    end = best.end
    paths = getattr(q.plain.scattering, "paths", None)
    shared = participation(q.heard(q.world(end.theta)) - q.target, paths)
    freedom = max(float(len(end.theta)), shared - len(end.theta))  # of fewer numbers it would say nothing
    u, least = q.world.parameters.encode(end.theta, "logminmax"), max(FINE, float(end.tangent))
    return from_metric(u, end.metric, best.distance, freedom, q.world.g.parameters, least)
