"""Kills: a process ends at a drawn moment, another goes on, and the bits are those of one that nothing stopped.

Most are forks of one warm process, which end themselves at a drawn event. Some are processes of their own, which have
nothing in common with this one and are killed from outside: ``python -m tests.campaign.kills ROOT KIND FOLDER``.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from pnpkit.experiment.evaluation.curve import distance_curve
from pnpkit.experiment.evaluation.folder import evaluate_run
from pnpkit.experiment.precompute import inputs
from pnpkit.experiment.precompute import metrics as precompute
from pnpkit.experiment.training.loop import train
from pnpkit.synth import Arpeggio
from tests.campaign import Outcome
from tests.campaign.plant import FEATURES, TABLE, Plant, data, toy_metrics
from tests.small_network import small_network

EVENTS = ("replace", "rename", "fsync", "open", "unlink", "rmdir", "mkdir")  # of os: where a write may be half done


def outcomes(plant: Plant, n: int, seed: int) -> Iterator[Outcome]:
    """Of n kills; of trainings, which take seconds, one in nine."""
    rng, jobs = random.Random(seed), _jobs(plant)
    kinds = (*("metrics", "features", "evaluation", "curve") * 2, "training")
    known: dict[str, tuple[int, dict[str, bytes]]] = {}
    for i in range(n):
        kind = kinds[i % len(kinds)]
        if kind not in known:
            folder = _empty(plant.root / "kills" / "whole")
            known[kind] = _events(jobs[kind], folder), _products(folder)
        yield one(kind, jobs[kind], plant.root / "kills" / "killed", *known[kind], rng)


def real(plant: Plant, n: int, seed: int) -> Iterator[Outcome]:
    """Of n kills of real processes, which another process, or this one, goes on from."""
    rng, jobs = random.Random(seed), _jobs(plant)
    kinds, root = ("metrics", "features", "evaluation", "curve", "training"), plant.root / "kills"
    first = rng.randrange(len(kinds))  # a large campaign draws one a round
    known: dict[str, tuple[float, dict[str, bytes]]] = {}
    for i in range(n):
        kind = kinds[(first + i) % len(kinds)]
        if kind not in known:
            begin = time.monotonic()
            _events(jobs[kind], _empty(root / "whole"))
            known[kind] = time.monotonic() - begin, _products(root / "whole")
        seconds, whole = known[kind]
        folder, after = _empty(root / "killed"), rng.uniform(0, 1.5 * seconds)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.kills", str(plant.root), kind, str(folder)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()  # it begins
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        process.kill()
        alive = process.wait() == -signal.SIGKILL
        process.stdout.close()
        when = f"after {after:.3f} of {seconds:.3f} s" if alive else "at its end"
        yield _judged(f"{kind}, a process", jobs[kind], folder, whole, when)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _jobs(plant: Plant) -> dict[str, Callable[[Path], Any]]:
    def metrics(folder: Path) -> None:
        precompute.metrics_of = toy_metrics
        with ThreadPoolExecutor(1) as pool:
            precompute.compute_metrics(folder / "metrics.zarr", plant.workspace.metric_config, executor=pool)

    def features(folder: Path) -> None:
        inputs.BLOCK = 64
        inputs.compute_inputs(TABLE, Arpeggio(), FEATURES, folder)

    def training(folder: Path) -> None:
        with small_network():
            train(plant.config("p"), data(), folder)

    run = plant.workspace.run_folder("p", 0)
    return {
        "metrics": metrics,
        "features": features,
        "evaluation": lambda folder: evaluate_run(run, folder, plant.problem),
        "curve": lambda folder: distance_curve(run, folder, plant.problem),
        "training": training,
    }


def _count(limit: int | None) -> list[int]:
    """Let this process end itself at the n-th event; the count, for one that is let live."""
    seen = [0]

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seen[0] += 1
            if seen[0] == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in EVENTS:
        setattr(os, name, watched(getattr(os, name)))
    return seen


def _forked(work: Callable[[], int]) -> tuple[int, int]:
    """Exit status and answer of work in a fork of this warm process."""
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(ours, work().to_bytes(8, "little"))
            code = 0
        finally:
            os._exit(code)
    os.close(ours)
    answer = os.read(theirs, 8)
    os.close(theirs)
    return os.waitpid(pid, 0)[1], int.from_bytes(answer, "little")


def _events(job: Callable[[Path], Any], folder: Path) -> int:
    def work() -> int:
        seen = _count(None)
        job(folder)
        return seen[0]

    status, count = _forked(work)
    assert status == 0, "the job fails by itself"
    return count


def one(
    kind: str, job: Callable[[Path], Any], folder: Path, events: int, whole: dict[str, bytes], rng: random.Random
) -> Outcome:
    """Kill once or twice, then go on to the end."""
    _empty(folder)
    moments = [rng.randrange(1, events + 1) for _ in range(rng.choice((1, 1, 2)))]

    def killed(moment: int) -> int:
        _count(moment)
        job(folder)
        return 0

    for moment in moments:
        _forked(lambda moment=moment: killed(moment))
    return _judged(kind, job, folder, whole, f"at {moments} of {events}")


def _judged(kind: str, job: Callable[[Path], Any], folder: Path, whole: dict[str, bytes], at: str) -> Outcome:
    """Go on to the end, and compare."""

    def resumed() -> int:
        job(folder)
        return 0

    status, _ = _forked(resumed)
    if status != 0:
        return Outcome("kill", kind, "lost", f"{at}: the second process ended with {status}")
    found = _products(folder)
    if found.keys() != whole.keys():
        return Outcome("kill", kind, "lost", f"{at}: {sorted(found.keys() ^ whole.keys())} differ")
    wrong = [name for name in whole if found[name] != whole[name]]
    if wrong:
        return Outcome("kill", kind, "lost", f"{at}: other bits in {wrong}")
    return Outcome("kill", kind, "same bits", at)


def _products(folder: Path) -> dict[str, bytes]:
    """Every file by name, without what says when it was made and how long that took."""
    return {
        path.relative_to(folder).as_posix(): _timeless(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _timeless(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_without_times(json.loads(path.read_text(encoding="utf-8"))), sort_keys=True).encode()
    if path.name == "history.csv":
        return pd.read_csv(path, dtype=str).drop(columns="seconds").to_csv().encode()
    return path.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("commit", "date", "seconds", "sessions", "self", "history.csv", "items", "zarr.json", "made")
        return {k: _without_times(v) for k, v in value.items() if k not in times}
    return value


def main() -> None:
    """One job, in a process of its own."""
    root, kind, folder = sys.argv[1:]
    job = _jobs(Plant(Path(root)))[kind]
    print("begins", flush=True)
    job(Path(folder))


if __name__ == "__main__":
    main()
