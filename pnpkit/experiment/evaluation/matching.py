"""What the instrument can do, measured: from every start of Table 1, clean, in noise, drums, recordings, morphs.

python -m pnpkit.experiment.evaluation.matching from-p --sounds 180     # all 2 700 without --sounds
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pnpkit._names import require_known
from pnpkit.distances import mss_distance
from pnpkit.experiment.artefacts import config_dict, read_csv
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.evaluation.study import Study, pursue
from pnpkit.experiment.machine import torch_threads
from pnpkit.experiment.matches import MatchConfig, instrument, match_file
from pnpkit.experiment.precompute.atlases import SHIPPED
from pnpkit.experiment.problem import Problem, get_problem
from pnpkit.experiment.remedies import data_root
from pnpkit.experiment.training.run_folder import read_provenance
from pnpkit.matching import Match, Placed, match, morph, refine
from pnpkit.matching.noise import noise_in
from pnpkit.matching.search import FINE, LAM
from pnpkit.matching.starting import lowest_peak
from pnpkit.matching.waveform import finished
from pnpkit.metric import value_and_jacobian
from pnpkit.synth import Synthesiser

AFTER = (0, 1, 2, 4, 8)  # steps
RUNS = {"p": "paper", "weighted-p": "paper-controls", "pnp": "paper", "pnp-mean": "paper"}  # where each loss has run
STARTS = ("train-mean", "random", "nearest", *RUNS)
NOISES = (20, 40, 60)  # dB below the mean power of the whole sound
LEVEL, DELAY = 6.0, 0.1  # dB and s, either way
CLEAN: dict[str, Any] = {"level": "known", "delay": "known", "noise": None}
DRUM_STEPS = 20
PAIRS = 20


def folder() -> Path:
    """Where the studies are kept."""
    return data_root() / "matching"


def studies(recordings: Path | None = None) -> dict[str, Study]:
    """All of them, by name; that of the recordings if their folder is given."""
    every = tuple(_sounds("arpeggio"))
    found = [Study(f"from-{s}", {"start": s, "lam": LAM, "tolerance": FINE}, every, partial(_from, s)) for s in STARTS]
    atlas = {"atlas": config_dict(SHIPPED["arpeggio"])}
    found += [Study("clean", atlas | CLEAN, every, clean)]
    placed = {"level": LEVEL, "delay": DELAY}
    found += [Study(f"noise-{n}", atlas | placed | {"noise": n}, every, partial(in_noise, n)) for n in NOISES]
    drum = {"atlas": config_dict(SHIPPED["drum"]), "steps": DRUM_STEPS}
    found += [Study("drum", drum | CLEAN, tuple(_sounds("drum")), stroke)]
    found += [Study("morphs", {"steps": 10}, tuple(range(PAIRS)), between)]
    if recordings is not None:
        files = tuple(sorted(p.name for p in recordings.glob("*.wav")))
        config = config_dict(MatchConfig(SHIPPED["drum"]))
        found += [Study("recordings", config, files, partial(recording, recordings))]
    return {study.name: study for study in found}


def _from(start: str, item: int) -> list[dict[str, Any]]:
    """Distances of one sound from the answer after so many steps."""
    g, phi, theta = _target(item)
    x, began = g(theta), time.perf_counter()
    end = refine(g, phi, phi(x), start_of(start, item), lam=LAM, steps=max(AFTER), tolerance=FINE)
    seconds, table = time.perf_counter() - began, end.table()
    distance = table.distance.where(table.kept).ffill().tolist()
    row: dict[str, Any] = {"jacobians": int(end.jacobians), "seconds": seconds, "converged": bool(end.converged)}
    row |= {f"jtfs_{s}": distance[min(s, len(distance) - 1)] for s in AFTER}
    heard = {k: float(mss_distance(g(end.path[k]), x)) for k in {min(s, len(distance) - 1) for s in AFTER}}
    return [row | {f"mss_{s}": heard[min(s, len(distance) - 1)] for s in AFTER} | _named(g, end.theta)]


def start_of(start: str, item: int) -> Float[Tensor, " d"]:
    """Where a descent begins, within the ranges."""
    problem = _problem("arpeggio")
    space = problem.space
    if start == "train-mean":
        return theta_of(problem.table[problem.table.fold == "train"], space).mean(0)
    if start == "random":
        u = torch.rand(len(space), generator=torch.Generator().manual_seed(item), dtype=torch.float64)
        return space.decode(2 * u - 1, "logminmax")
    if start == "nearest":
        g, phi, atlas = instrument(SHIPPED["arpeggio"])
        x = g(theta_of(problem.table.loc[[item]], space)[0])
        return atlas.theta[atlas.nearest(phi(atlas.normalise(x)), log_norm=x.norm().log())[0]][0].double()
    answers = _answers(start)
    answer = torch.tensor(answers.loc[item, [f"last_{n}" for n in space.names]].to_numpy(float))
    return torch.clamp(answer, space.low, space.high)


def clean(item: int) -> list[dict[str, Any]]:
    """A sound as synthesised, matched from the atlas alone."""
    g, phi, theta = _target(item)
    found = match(g(theta), g.sample_rate, g, phi, starts=instrument(SHIPPED["arpeggio"])[2], **CLEAN)
    starts = int(found.history.start.nunique())
    return [_found(found) | {"starts": starts} | _errors(found.theta, theta, g)]


def in_noise(noise: float, item: int) -> list[dict[str, Any]]:
    """A sound at another level, late, in white noise: by Φ alone, then on the waveform; and what no method can beat."""
    g, phi, theta = _target(item)
    generator = torch.Generator().manual_seed(item)
    level, delay = (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1) * torch.tensor([LEVEL, DELAY])
    world = Placed(g, LEVEL, DELAY)
    full = torch.cat([theta, level.reshape(1), delay.reshape(1)])
    x = world(full)
    deviation = float(x.square().mean().sqrt()) * 10 ** (-noise / 20)
    x = x + deviation * torch.randn(len(x), generator=generator, dtype=torch.float64)
    found = match(x, g.sample_rate, g, phi, starts=instrument(SHIPPED["arpeggio"])[2], seed=item)
    row = _found(found) | _errors(found.theta, theta, g) | {"held": _held(found.region, theta)}
    row |= {"level_off": found.level - float(level), "delay_off": found.delay - float(delay)}
    if found.converged:
        began = time.perf_counter()
        start = torch.cat([found.theta, torch.tensor([found.delay], dtype=torch.float64)])
        done = finished(x, Placed(g, 0.0, 0.5), start, noise_in(x, "estimate"))
        row |= {f"{k}_waveform": v for k, v in _errors(done.theta[: len(theta)], theta, g).items()}
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
    scale = A.norm(dim=0)
    A = A / scale  # columns of very different lengths
    return deviation * torch.linalg.inv(A.mT @ A).diagonal().sqrt()[: len(theta)] / scale[: len(theta)]


def stroke(item: int) -> list[dict[str, Any]]:
    """A drum's stroke, as synthesised, matched from the atlas; a row a start, with the distance after so many steps."""
    problem = _problem("drum")
    theta = theta_of(problem.table.loc[[item]], problem.space)[0]
    g, phi, atlas = instrument(SHIPPED["drum"])
    found = match(g(theta), g.sample_rate, g, phi, starts=atlas, steps=DRUM_STEPS, **CLEAN)
    rows = []
    for start, table in found.history.groupby("start"):
        distance = table.distance.where(table.kept.astype(bool)).ffill().tolist()
        after = {f"jtfs_{s}": distance[min(s, len(distance) - 1)] for s in (*AFTER, DRUM_STEPS)}
        rows.append({"start": start, "steps": len(table), **after, **_found(found), **_errors(found.theta, theta, g)})
    return rows


def recording(where: Path, file: str) -> list[dict[str, Any]]:
    """A recorded sound, matched as the command line does; its fundamental before and after, and its spectrum's peak."""
    config = MatchConfig(SHIPPED["drum"])
    found, sound = match_file(str(where / file), config)
    g, tables = config.synth, found.history[found.history.start >= 0].groupby("start")
    ends = {k: float(t.distance[t.kept.astype(bool)].iloc[-1]) for k, t in tables}
    first = tables.get_group(min(ends, key=ends.__getitem__)).iloc[0]
    peaks = {"lowest_peak": lowest_peak(sound.x, g.sample_rate, 40.0, 1000.0), "peak": _peak(sound.x, g.sample_rate)}
    hertz = {"before": float(first.omega) / (2 * math.pi), "after": float(found.theta[0]) / (2 * math.pi)}
    return [_found(found) | {"share": found.share, "starts": len(ends)} | hertz | peaks | _named(g, found.theta)]


def between(item: int) -> list[dict[str, Any]]:
    """Ten steps between two sounds, along the geodesic and along the straight line."""
    problem, every = _problem("arpeggio"), _sounds("arpeggio")
    pair = np.random.default_rng(item).choice(every, 2, replace=False)
    a, b = theta_of(problem.table.loc[pair], problem.space)
    g, phi, _ = instrument(SHIPPED["arpeggio"])
    began = time.perf_counter()
    path = morph(a, b, 10, g=g, phi=phi)
    row: dict[str, Any] = {"first": pair[0], "second": pair[1], "seconds": time.perf_counter() - began}
    row |= {"converged": path.converged, "uneven": path.unevenness, "sum": float(path.lengths.sum())}
    straight = path.straight_lengths
    uneven = float((straight.max() - straight.min()) / straight.mean())
    return [row | {"straight_sum": float(straight.sum()), "straight_uneven": uneven}]


def _problem(synth: str) -> Problem:
    return get_problem(SHIPPED[synth].grid)


def _sounds(synth: str) -> list[int]:
    """Ids of the test fold."""
    table = _problem(synth).table
    return sorted(table.id[table.fold == "test"].tolist())


def _target(item: int) -> tuple[Synthesiser, Callable[[Tensor], Tensor], Float[Tensor, " d"]]:
    problem = _problem("arpeggio").with_gain("attached")
    return problem.synth, instrument(SHIPPED["arpeggio"])[1], theta_of(problem.table.loc[[item]], problem.space)[0]


@cache
def _answers(loss: str) -> Any:
    run = data_root() / RUNS[loss] / "runs" / loss / "0"
    read_provenance(run)  # which checks its files
    return read_csv(run / "predictions.csv", ["id"]).set_index("id")


def _named(g: Synthesiser, theta: Tensor) -> dict[str, float]:
    return dict(zip(g.parameters.names, theta.tolist(), strict=True))


def _errors(theta: Tensor, truth: Tensor, g: Synthesiser) -> dict[str, float]:
    """In percent."""
    return {f"error_{n}": v for n, v in _named(g, 100 * (theta / truth - 1).abs()).items()}


def _held(region: Any, truth: Tensor) -> bool | None:
    return None if region is None else bool(region.contains(truth))


def _found(found: Match) -> dict[str, Any]:
    names = ("verdict", "converged", "distance", "usual", "jacobians", "seconds")
    return {name: getattr(found, name) for name in names}


def _peak(x: Tensor, rate: float) -> float:
    """Frequency of the highest peak of the spectrum, Hz."""
    spectrum = torch.fft.rfft(x.double(), n=4 * len(x)).abs()
    return float(spectrum.argmax()) * rate / (4 * len(x))


def main(argv: list[str] | None = None) -> int:
    """Pursue some studies, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="+", metavar="study", help="from-p, clean, noise-20, drum, morphs, …")
    parser.add_argument("--sounds", type=int, help="of each, the first so many; all by default")
    parser.add_argument("--minutes", type=float, help="after which each begins no further sound")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--recordings", type=Path, help="folder of WAV files, for the study of that name")
    args = parser.parse_args(argv)
    known = studies(args.recordings)
    for name in args.names:
        require_known("study", name, known)
    for name in args.names:
        with torch_threads(1):
            rows = pursue(known[name], folder(), args.sounds, args.minutes, args.workers, _say)
        print(f"{name}: {rows.item.nunique()} of {len(known[name].items)}: {folder() / name}", flush=True)
    return 0


def _say(name: str, done: int, total: int) -> None:
    print(f"{name}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
