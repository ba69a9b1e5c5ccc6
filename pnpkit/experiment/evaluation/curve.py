"""Distance against time: how close the sounds of a run's probe are after each epoch, and what it took."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pnpkit.experiment.artefacts import (
    digest,
    provenance,
    read_csv,
    read_json,
    read_record,
    require_same_config,
    write_record,
)
from pnpkit.experiment.config import TrainingConfig
from pnpkit.experiment.evaluation.folder import READ_ONLY
from pnpkit.experiment.evaluation.items import DISTANCES, evaluate
from pnpkit.experiment.integrity import say_once
from pnpkit.experiment.machine import torch_threads
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import at_least
from pnpkit.experiment.training.probe import probe_up_to
from pnpkit.experiment.training.run_folder import read_history, read_provenance


@dataclass(frozen=True)
class Row:
    """Means over the probe after an epoch; ``seconds`` was recorded by older versions."""

    jtfs: float | None
    mss: float | None
    ddsp: float | None
    epoch: int = at_least(0)
    left_out: int = at_least(0)
    seconds: float | None = None


@dataclass(frozen=True)
class Curve:
    """What ``curve.json`` records."""

    rows: list[Row]
    config: dict[str, Any]
    made: dict[str, Any]
    seconds: float | None = None  # of training, in older ones


def distance_curve(
    run: Path,
    out: Path,
    problem: Problem,
    progress: Callable[[int, int], None] | None = None,
    wanted: TrainingConfig | None = None,
) -> pd.DataFrame:
    """Mean distances of a run's probe, a row an epoch; of one that still goes on, as far as it has come.

    They are kept in ``out/curve.json``, to which the epochs are added that the run has made since.

    Args:
        run: folder of the run: ``config.json``, ``history.csv``, ``probe.csv``.
        out: folder of its evaluation.
        problem: that the run is of.
        progress: called with (items done, items in all).
        wanted: configuration that the run must have; any by default.

    Returns:
        ``epoch``, from 0 (untrained) on; ``seconds`` of training and validation by then; ``left_out``, how many items
        have no distance; ``jtfs``, ``mss``, ``ddsp``, means of the others.

    Raises:
        ArtefactMismatch: if the curve on disk is of other predictions, or the run another; names both hashes.
        FileNotFoundError: if no epoch of the run has ended, or it has no probe.
        ValueError: if the probe lacks epochs; names the first of them.
    """
    if not (run / "history.csv").exists():
        raise FileNotFoundError(f"{run} holds no run of which an epoch has ended: `pnpkit train` makes it")
    if (run / "provenance.json").exists():
        read_provenance(run, ["history.csv", "probe.csv"])
    if not (run / "probe.csv").exists():
        raise FileNotFoundError(f"{run} was trained before probes were kept: train it again, into another folder")
    history = read_history(run)  # first: the probe of a run that goes on is never behind it
    probe = _Probe(run / "probe.csv", problem.space.names)
    epochs = [0, *map(int, history.epoch)]
    missing = sorted(set(epochs) - set(probe.table.epoch))
    if missing:
        raise ValueError(f"{run / 'probe.csv'} lacks epochs {missing[:5]}: train the run again, into another folder")
    config, path = read_json(run / "config.json", "train"), out / "curve.json"
    if wanted is not None:
        require_same_config(run, config, wanted)
    stored: dict[str, Any] = read_record(path, Curve) if path.exists() else {"rows": []}
    if [row["epoch"] for row in stored["rows"]] != epochs[: len(stored["rows"])]:
        raise ValueError(f"{path}: rows are not those of epochs 0, 1, …, {epochs[-1]} of {run}. {remedy(path)}")
    if stored["rows"]:  # of the same run, as far as it had come: the new epochs are added to them
        kept = {"run": config, "probe": probe.hash(stored["rows"][-1]["epoch"])}
        require_same_config(path, stored["config"], kept)
    new = epochs[len(stored["rows"]) :]
    if new:
        began = time.perf_counter()
        wide = probe.table[probe.table.epoch.isin(new)].pivot(
            index="id", columns="epoch", values=list(problem.space.names)
        )
        wide.columns = wide.columns.map(lambda column: f"{column[1]}_{column[0]}")
        part = problem.table[problem.table.id.isin(wide.index)]
        kinds, source = [str(epoch) for epoch in new], str(run / "probe.csv")
        with torch_threads(1):
            items = evaluate(
                wide.reset_index(),
                part,
                problem.synth,
                problem.jtfs,
                weights=kinds,
                source=source,
                progress=progress,
            )
        rows = [{"epoch": epoch} | _means(items[items.weights == str(epoch)]) for epoch in new]
        key = {"run": config, "probe": probe.hash(epochs[-1])}
        stored = {"rows": stored["rows"] + rows, "config": key, "made": provenance(key, time.perf_counter() - began)}
        try:
            write_record(path, stored)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            say_once(f"{out} cannot be written to: what is computed here is not kept")
    frame = pd.DataFrame(stored["rows"])[["epoch", "left_out", *DISTANCES]]
    # Of this very run: the same bits may have been made in another time elsewhere
    frame.insert(1, "seconds", [float(history.seconds[history.epoch <= epoch].sum()) for epoch in epochs])
    return frame


class _Probe:
    """``probe.csv`` at one moment: its table, and the hash of what it says up to an epoch."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path, self.content = path, path.read_bytes()
        self.table = read_csv(path, ["epoch", "id", *names])

    def hash(self, epoch: int) -> str:
        return digest(probe_up_to(self.content, epoch, self.path))


def _means(items: pd.DataFrame) -> dict[str, Any]:
    means = {name: None if items[name].isna().all() else float(items[name].mean()) for name in DISTANCES}
    return {"left_out": int((items.status != "ok").sum())} | means
