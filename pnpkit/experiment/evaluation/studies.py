"""The studies of matching, by name, and a way to pursue them; those of drums, recordings and morphs are made here.

python -m pnpkit.experiment.evaluation.studies from-p noise-20 --sounds 180     # all 2 700 without --sounds
"""

import argparse
import math
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pnpkit._names import require_known
from pnpkit.experiment.artefacts import config_dict
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.evaluation import directions
from pnpkit.experiment.evaluation import matching as arpeggio
from pnpkit.experiment.evaluation.matching import errors_of, facts_of, named, problem_of, sounds_of
from pnpkit.experiment.evaluation.study import Study, pursue
from pnpkit.experiment.machine import torch_threads
from pnpkit.experiment.matches import MatchConfig, match_as
from pnpkit.experiment.precompute.atlases import atlas_config
from pnpkit.experiment.remedies import data_root
from pnpkit.matching import match, morph
from pnpkit.matching.morph import EVENNESS, unevenness
from pnpkit.matching.search import FINE, LAM
from pnpkit.synth.partials import lowest_peak

Finish = Literal["phi", "waveform"]
DRUM: dict[str, Any] = arpeggio.CLEAN | {"steps": 20}
STROKES: dict[str, Finish] = {"drum": "waveform", "drum-phi": "phi"}
PAIRS = 20


def folder() -> Path:
    """Where the studies are kept."""
    return data_root() / "matching"


def studies(recordings: Path | None = None) -> dict[str, Study]:
    """All of them, by name; that of the recordings if their folder is given."""
    every = tuple(sounds_of("arpeggio"))
    atlas, how = {"atlas": config_dict(atlas_config("arpeggio"))}, {"lam": LAM, "tolerance": FINE}
    of = {s: how | {"start": s} | (atlas if s == "nearest" else {}) for s in arpeggio.STARTS}
    found = [Study(f"from-{s}", of[s], every, partial(arpeggio.descent, s)) for s in arpeggio.STARTS]
    target = {"target": arpeggio.CENTRE, "starts": arpeggio.MAP}
    found += [Study("basin", how | target, tuple(range(arpeggio.MAP**2)), arpeggio.basin)]
    found += [Study("clean", atlas | arpeggio.CLEAN, every, arpeggio.clean)]
    placed = {"level": arpeggio.LEVEL, "delay": arpeggio.DELAY}
    for n in arpeggio.NOISES:
        found += [Study(f"noise-{n}", atlas | placed | {"noise": n}, every, partial(arpeggio.in_noise, n))]
    for n, s in product(arpeggio.NOISES, arpeggio.LOSSES):
        told = {"noise": n, "start": s, "start_hears": "the clean sound"}
        found += [Study(f"noise-{n}-from-{s}", placed | told, every, partial(arpeggio.in_noise, n, start=s))]
    for name, finish in STROKES.items():
        drum = {"atlas": config_dict(atlas_config("drum")), **DRUM, "finish": finish}
        found += [Study(name, drum, tuple(sounds_of("drum")), partial(stroke, finish))]
    found += [Study("morphs", {"steps": 10, "evenness": EVENNESS}, tuple(range(PAIRS)), between)]
    found += directions.studies()
    if recordings is not None:
        files = tuple(sorted(p.name for p in recordings.glob("*.wav")))
        config = config_dict(MatchConfig(atlas_config("drum")))
        found += [Study("recordings", config, files, partial(recording, recordings))]
    return {study.name: study for study in found}


def stroke(finish: Finish, item: int) -> list[dict[str, Any]]:
    """A stroke, as synthesised, matched from atlas and spectrum; a row a start, with distances after so many steps."""
    g, phi, theta = arpeggio.target_of(item, "drum")
    atlas, steps = arpeggio.atlas_of("drum"), (*arpeggio.AFTER, DRUM["steps"])
    found = match(g(theta), g.sample_rate, g, phi, starts=atlas, finish=finish, **DRUM)
    facts = facts_of(found) | {"finish": found.finish} | errors_of(found.theta, theta, g)
    return [
        {"start": start, "steps": len(table)} | arpeggio.distance_after(table, steps) | facts
        for start, table in found.history.groupby("start")
    ]


def recording(where: Path, file: str) -> list[dict[str, Any]]:
    """A recorded sound, matched as the command line does; its fundamental before and after, and its spectrum's peak."""
    config = MatchConfig(atlas_config("drum"))
    found, sound = match_as(str(where / file), config)
    g, tables = config.synth, found.history[found.history.start >= 0].groupby("start")
    ends = {k: float(t.distance[t.kept.astype(bool)].iloc[-1]) for k, t in tables}
    first = tables.get_group(min(ends, key=ends.__getitem__)).iloc[0]
    peaks = {"lowest_peak": lowest_peak(sound.x, g.sample_rate, 40.0, 1000.0), "peak": _peak(sound.x, g.sample_rate)}
    hertz = {"before": float(first.omega) / (2 * math.pi), "after": float(found.theta[0]) / (2 * math.pi)}
    return [facts_of(found) | {"share": found.share, "starts": len(ends)} | hertz | peaks | named(g, found.theta)]


def between(item: int) -> list[dict[str, Any]]:
    """Ten steps between two sounds, along the geodesic and along the straight line."""
    problem, every = problem_of("arpeggio"), sounds_of("arpeggio")
    pair = np.random.default_rng(item).choice(every, 2, replace=False)
    a, b = theta_of(problem.table.loc[pair], problem.space)
    began = time.perf_counter()
    path = morph(a, b, 10, g=problem.synth, phi=problem.phi)
    row: dict[str, Any] = {"first": pair[0], "second": pair[1], "seconds": time.perf_counter() - began}
    row |= {"converged": path.converged, "uneven": path.unevenness, "sum": float(path.lengths.sum())}
    straight = path.straight_lengths
    return [row | {"straight_sum": float(straight.sum()), "straight_uneven": unevenness(straight)}]


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
        done = 0 if rows.empty else rows.item.nunique()
        print(f"{name}: {done} of {len(known[name].items)}: {folder() / name}", flush=True)
    return 0


def _say(name: str, done: int, total: int) -> None:
    print(f"{name}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
