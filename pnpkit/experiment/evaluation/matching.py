"""What matching can do with the arpeggios of the test fold: from every start of Table 1, clean, and in noise."""

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit.distances import mss_distance
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.matches import instrument
from pnpkit.experiment.precompute.atlases import atlas_config, matching_problem
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.workspace import Workspace
from pnpkit.jtfs import Phi
from pnpkit.matching import Atlas, Match, Placed, match, refine
from pnpkit.matching.noise import noise_in
from pnpkit.matching.search import FINE, LAM
from pnpkit.matching.waveform import finished
from pnpkit.metric import inverse, value_and_jacobian
from pnpkit.synth import Synthesiser

AFTER = (0, 1, 2, 4, 8)  # steps
LOSSES = ("p", "weighted-p", "pnp", "pnp-mean")  # of networks whose answers are starts
STARTS = ("train-mean", "random", "nearest", *LOSSES)
NOISES = (20, 40, 60)  # dB below the mean power of the whole sound
LEVEL, DELAY = 6.0, 0.1  # dB and s, either way
MAP = 11  # starts an axis of the picture of basins
CENTRE = (740.0, 8.7, 1.7)  # the sound in its middle
CLEAN: dict[str, Any] = {"level": "known", "delay": "known", "noise": None}


def descent(start: str, item: int) -> list[dict[str, Any]]:
    """Distances of one sound from the answer after so many steps."""
    g, phi, theta = target_of(item)
    x, began = g(theta), time.perf_counter()
    end = refine(g, phi, phi(x), start_of(start, item), lam=LAM, steps=max(AFTER), tolerance=FINE)
    seconds, table = time.perf_counter() - began, end.table()
    row: dict[str, Any] = {"jacobians": int(end.jacobians), "seconds": seconds, "converged": bool(end.converged)}
    step = {s: min(s, len(table) - 1) for s in AFTER}
    heard = {k: float(mss_distance(g(end.path[k]), x)) for k in set(step.values())}
    return [row | distance_after(table) | {f"mss_{s}": heard[k] for s, k in step.items()} | named(g, end.theta)]


def distance_after(table: pd.DataFrame, steps: Sequence[int] = AFTER) -> dict[str, float]:
    """Distance of the best answer after so many steps of a descent, by column."""
    distance = table.distance.where(table.kept.astype(bool)).ffill().tolist()
    return {f"jtfs_{s}": distance[min(s, len(distance) - 1)] for s in steps}


def basin(item: int) -> list[dict[str, Any]]:
    """Where one start leads: of a grid over carrier and rate, the chirp rate of the target."""
    problem = problem_of("arpeggio")
    g, space, phi = problem.synth, problem.space, problem.phi
    theta = torch.tensor(CENTRE, dtype=torch.float64)
    at = torch.tensor(divmod(item, MAP), dtype=torch.float64) / (MAP - 1) * 2 - 1
    start = space.decode(torch.cat([at, space.encode(theta, "logminmax")[2:]]), "logminmax")
    end = refine(g, phi, phi(g(theta)), start, lam=LAM, steps=max(AFTER), tolerance=FINE)
    began = {f"start_{n}": v for n, v in named(g, start).items()}
    return [began | {"jtfs_0": float(end.distances[0]), "jtfs_8": float(end.distance)} | named(g, end.theta)]


def start_of(start: str, item: int) -> Float[Tensor, " d"]:
    """Where a descent begins, within the ranges."""
    problem = problem_of("arpeggio")
    space = problem.space
    if start == "train-mean":
        return theta_of(problem.table[problem.table.fold == "train"], space).mean(0)
    if start == "random":
        u = torch.rand(len(space), generator=torch.Generator().manual_seed(item), dtype=torch.float64)
        return space.decode(2 * u - 1, "logminmax")
    if start == "nearest":
        g, phi, theta = target_of(item)
        x, atlas = g(theta), atlas_of("arpeggio")
        return atlas.theta[atlas.nearest(phi(atlas.normalise(x)), log_norm=x.norm().log())[0]][0].double()
    answer = torch.tensor(_answers(start).loc[item, [f"last_{n}" for n in space.names]].to_numpy(float))
    return torch.clamp(answer, space.low, space.high)


def clean(item: int) -> list[dict[str, Any]]:
    """A sound as synthesised, matched from the atlas alone."""
    g, phi, theta = target_of(item)
    found = match(g(theta), g.sample_rate, g, phi, starts=atlas_of("arpeggio"), **CLEAN)
    starts = {"starts": int(found.history.start.nunique())}
    return [facts_of(found) | starts | named(g, found.theta) | errors_of(found.theta, theta, g)]


def in_noise(noise: float, item: int, start: str | None = None) -> list[dict[str, Any]]:
    """A sound at another level, late, in white noise: by Φ alone, then on the waveform; and what no method can beat.

    From the atlas, or the answer of a network to the clean sound, as :func:`start_of` has it: its weights are not kept.
    """
    g, phi, theta = target_of(item)
    generator = torch.Generator().manual_seed(item)
    level, delay = (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1) * torch.tensor([LEVEL, DELAY])
    world = Placed(g, LEVEL, DELAY)
    full = world.whole(theta, float(level), float(delay))
    x = world(full)
    deviation = float(x.square().mean().sqrt()) * 10 ** (-noise / 20)
    x = x + deviation * torch.randn(len(x), generator=generator, dtype=torch.float64)
    starts = start_of(start, item) if start else atlas_of("arpeggio")
    found = match(x, g.sample_rate, g, phi, starts=starts, seed=item)
    row = facts_of(found) | errors_of(found.theta, theta, g) | {"held": _held(found.region, theta)}
    row |= {"level_off": found.level - float(level), "delay_off": found.delay - float(delay)}
    if found.converged:
        began = time.perf_counter()
        late = Placed(g, delay=0.5)
        done = finished(x, late, late.whole(found.theta, 0.0, found.delay), noise_in(x, "estimate"))
        row |= {f"{k}_waveform": v for k, v in errors_of(done.theta[: len(theta)], theta, g).items()}
        row |= {"held_waveform": _held(done.region, theta), "explained": done.explained}
        row |= {"seconds_waveform": time.perf_counter() - began}
    bound = 100 * cramer_rao(world, full, deviation)[: len(theta)] / theta
    return [row | {f"bound_{n}": v for n, v in zip(g.parameters.names, bound.tolist(), strict=True)}]


def cramer_rao(world: Callable[[Tensor], Tensor], theta: Float[Tensor, " p"], deviation: float) -> Float[Tensor, " p"]:
    r"""Least standard deviations of unbiased estimates from a waveform in white noise, its phase unknown too.

    .. math:: \sqrt{\operatorname{diag} \sigma^2 (\mathbf{A}^\top\mathbf{A})^{-1}}, \qquad
              \mathbf{A} = \big(\partial x/\partial\theta,\ \mathcal{H}x\big)

    Source: Kay, Fundamentals of Statistical Signal Processing I, 1993, section 3.9.
    """
    x, J = value_and_jacobian(world, lambda s: s, theta)
    quadrature = torch.fft.irfft(torch.fft.rfft(x) * -1j, n=len(x))
    A = torch.cat([J, quadrature.unsqueeze(-1)], -1).double()
    return deviation * inverse(A.mT @ A).diagonal().sqrt()[: len(theta)]


def problem_of(synth: str) -> Problem:
    return matching_problem(atlas_config(synth).grid)


def atlas_of(synth: str) -> Atlas:
    return instrument(atlas_config(synth))[2]


def sounds_of(synth: str) -> list[int]:
    """Ids of the test fold."""
    table = problem_of(synth).table
    return sorted(table.id[table.fold == "test"].tolist())


def target_of(item: int, synth: str = "arpeggio") -> tuple[Synthesiser, Phi, Float[Tensor, " d"]]:
    """g, Φ, and the θ of a sound."""
    problem = problem_of(synth)
    return problem.synth, problem.phi, theta_of(problem.table.loc[[item]], problem.space)[0]


@cache
def _answers(loss: str) -> pd.DataFrame:
    """Of the networks at the paper's scale, seed 0."""
    return Workspace.open("paper-controls").predictions(loss, 0)


def named(g: Synthesiser, theta: Tensor) -> dict[str, float]:
    return dict(zip(g.parameters.names, theta.tolist(), strict=True))


def errors_of(theta: Tensor, truth: Tensor, g: Synthesiser) -> dict[str, float]:
    """In percent."""
    return {f"error_{n}": v for n, v in named(g, 100 * (theta / truth - 1).abs()).items()}


def _held(region: Any, truth: Tensor) -> bool | None:
    return None if region is None else bool(region.contains(truth))


def facts_of(found: Match) -> dict[str, Any]:
    names = ("verdict", "converged", "distance", "usual", "jacobians", "seconds")
    return {name: getattr(found, name) for name in names}
