"""Many starts, few steps each; then more for those that came near, and another way for those that are stuck."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from pnpkit.matching.answer import MARGIN
from pnpkit.matching.descent import Descent
from pnpkit.matching.question import Question
from pnpkit.matching.waveform import Finish
from pnpkit.synth import ParameterSpace

FINE = 0.02  # tolerance of the descents, in units of Φ
NOTHING = 0.1  # distance of a clean answer that another start would hardly better
STILL = 1e-4  # of the distance: a step that brings no more is the last
LAM = 0.1  # first λ, in mean eigenvalues of the first M
SCOUTING = 8  # steps of every start, before …
HOPEFUL = 2  # … the nearest that have not ended go on
COARSE = (0.03, 1e-3)  # ε on the way round, as shares of the largest coefficient of S
NEARLY = 1.25  # a rival's distance over the best, at most
APART = 0.1  # a rival's distance from the best in logminmax coordinates, at least


@dataclass(frozen=True, eq=False)
class Attempt:
    """What one start came to, and what the waveform had found on the way."""

    end: Descent
    usual: float
    by_noise: float
    table: pd.DataFrame
    finish: Finish | None = None

    @property
    def distance(self) -> float:
        """From the sound, in Φ."""
        return float(self.end.distance)

    @property
    def explained(self) -> bool:
        """Whether it ended, and as near as an in-model sound would."""
        return bool(self.end.converged) and self.distance <= MARGIN * self.usual

    @property
    def settled(self) -> bool:
        """Whether noise or rounding explain what it leaves, so that another start would hardly leave less."""
        return self.explained and self.distance <= MARGIN * max(self.by_noise, NOTHING)


def search(question: Question, starts: Iterable[Float[Tensor, " p"]], steps: int, leaping: bool) -> list[Attempt]:
    """Attempts from starts in turn, until one settles the question.

    Φ counts a faint path like a strong one, and where partials stand still each band that one leaves is a hill. If no
    attempt explains the sound, the starts that came nearest go round: with ε large, so that only what is loud counts
    and the valley is wide, then smaller, and last as it is.

    Args:
        question: of which sound.
        starts: the likeliest first.
        steps: of each, at most.
        leaping: from where a descent is stuck, go on from where the waveform leads.
    """
    found: list[Attempt] = []

    def attempt(start: Tensor, lam: float, count: int, before: list[pd.DataFrame]) -> Attempt:
        end = question.descend(start, lam=lam, steps=count, tolerance=FINE, still=STILL)
        table = pd.concat([*before, end.table()], ignore_index=True).rename_axis("step")
        return Attempt(end, *question.usual(end.theta), table)

    def led_on(a: Attempt) -> Attempt:
        """An attempt, or the better one from where the waveform leads if that is stuck."""
        if not leaping or a.explained or (led := question.leap(a.end.theta)) is None:
            return a
        there, done = led
        further = attempt(there, LAM, min(steps, SCOUTING), [a.table])
        return min(a, replace(further, finish=done), key=_worth)

    def way_round(a: Attempt, start: Tensor) -> Attempt:
        tables = [a.table]
        for share in COARSE:
            end = question.coarser(share).descend(
                start, lam=LAM, steps=min(steps, SCOUTING), tolerance=FINE, still=STILL
            )
            far = [question.far(question.world(theta)) for theta in end.path[: int(end.jacobians)]]
            tables.append(end.table().assign(distance=far))
            start = end.theta
        return attempt(start, LAM, steps, tables)

    starts = list(starts)
    for start in starts:
        found.append(led_on(attempt(start, LAM, min(steps, SCOUTING), [])))
        if found[-1].settled:
            return found
    if steps > SCOUTING and not any(a.explained for a in found):
        unfinished = [k for k, a in enumerate(found) if not bool(a.end.converged)]
        for k in sorted(unfinished, key=lambda k: found[k].distance)[:HOPEFUL]:
            end = found[k].end
            further = attempt(end.theta, float(end.lams[-1]), steps - SCOUTING, [found[k].table])
            found[k] = replace(further, finish=found[k].finish)
            if found[k].explained:
                break
    if not any(a.explained for a in found):
        for k in sorted(range(len(found)), key=lambda k: found[k].distance)[:HOPEFUL]:
            found[k] = min(found[k], led_on(way_round(found[k], starts[k])), key=_worth)
            if found[k].explained:
                break
    return found


def best_of(found: list[Attempt]) -> Attempt:
    """The nearest that explains the sound, or the nearest; cut off is a sound only if no rounding explains it."""
    if not any(a.explained for a in found):
        found = [replace(a, usual=max(a.usual, a.by_noise)) for a in found]
    return min(found, key=_worth)


def _worth(a: Attempt) -> tuple[bool, float]:
    return not a.explained, a.distance


def rival_of(found: list[Attempt], best: Attempt, space: ParameterSpace) -> Attempt | None:
    """The nearest other answer that is nearly as good and somewhere else."""

    def apart(a: Attempt) -> float:
        u = [space.encode(one.end.theta[: len(space)], "logminmax") for one in (a, best)]
        return float((u[0] - u[1]).abs().max())

    others = [a for a in found if apart(a) > APART and a.distance <= NEARLY * best.distance]
    return min(others, key=lambda a: a.distance, default=None)
