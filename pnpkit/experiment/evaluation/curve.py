"""Distance against time: how close the sounds of a run's probe are after each epoch, and what it took."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pnpkit.experiment.artefacts import provenance, read_csv, read_record, require_same_config, write_record
from pnpkit.experiment.counting import Count
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.evaluation.items import DISTANCES, evaluate
from pnpkit.experiment.files import unless_read_only
from pnpkit.experiment.machine import torch_threads
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.schema import Natural
from pnpkit.experiment.training.checkpoint import probe_digest
from pnpkit.experiment.training.run_folder import config_of, read_history, read_provenance
from pnpkit.synth import ParameterSpace

# What ``curve.json`` records: means over the probe after each epoch; older versions the seconds of training too
EPOCH = {"epoch": Natural, "left_out": Natural, **dict.fromkeys(DISTANCES, float | None), "seconds?": float | None}
CURVE = {"rows": [EPOCH], "config": dict, "made": dict, "seconds?": float | None}


def distance_curve(
    run: Path,
    out: Path,
    problem: Problem,
    progress: Count = None,
    show: Callable[[pd.DataFrame], object] = lambda _: None,
) -> pd.DataFrame:
    """Mean distances of a run's probe, a row an epoch; of one that still goes on, as far as it has come.

    They are kept in ``out/curve.json``, to which the epochs are added that the run has made since.

    Args:
        run: folder of the run: ``config.json``, ``history.csv``, ``probe.csv``.
        out: folder of its evaluation.
        problem: that the run is of.
        progress: called with (items done, items in all).
        show: called with the curve before it is kept, which may fail.

    Returns:
        ``epoch``, from 0 (untrained) on; ``seconds`` of training and validation by then; ``left_out``, how many items
        have no distance; ``jtfs``, ``mss``, ``ddsp``, means of the others.

    Raises:
        ArtefactMismatch: if the curve on disk is of other predictions; names both hashes.
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
    names, path = list(problem.space.names), out / "curve.json"
    probe = read_csv(run / "probe.csv", ["epoch", "id", *names])
    epochs = [0, *map(int, history.epoch)]
    if missing := sorted(set(epochs) - set(probe.epoch)):
        raise ValueError(f"{run / 'probe.csv'} lacks epochs {missing[:5]}: train the run again, into another folder")
    config, rows = config_of(run), []
    if path.exists():
        stored = read_record(path, CURVE)
        rows = stored["rows"]
        if not rows or [row["epoch"] for row in rows] != epochs[: len(rows)]:
            raise ValueError(f"{path}: rows are not those of epochs 0, 1, …, {epochs[-1]} of {run}. {remedy(path)}")
        # Of the same run, as far as it had come: the new epochs are added to them
        require_same_config(path, stored["config"], _key(config, run, rows[-1]["epoch"]))
    if new := epochs[len(rows) :]:
        began = time.perf_counter()
        wide = probe[probe.epoch.isin(new)].pivot(index="id", columns="epoch", values=names)
        wide.columns = wide.columns.map(lambda column: f"{column[1]}_{column[0]}")
        truth, kinds = problem.table[problem.table.id.isin(wide.index)], list(map(str, new))
        said = {"weights": kinds, "source": str(run / "probe.csv"), "progress": progress}
        with torch_threads(1):
            items = evaluate(wide.reset_index(), truth, problem.synth, problem.phi, **said)  # type: ignore[arg-type]
        rows += [{"epoch": epoch} | _means(items[items.weights == str(epoch)]) for epoch in new]
        key = _key(config, run, epochs[-1])
        record = {"rows": rows, "config": key, "made": provenance(key, time.perf_counter() - began)}
    frame = pd.DataFrame(rows)[["epoch", "left_out", *DISTANCES]]
    # Of this very run: the same bits may have been made in another time elsewhere
    frame.insert(1, "seconds", [float(history.seconds[history.epoch <= epoch].sum()) for epoch in epochs])
    show(frame)
    if new:
        with unless_read_only(f"{out} cannot be written to: what is computed here is not kept"):
            write_record(path, record)
    return frame


def _key(config: dict[str, Any], run: Path, epoch: int) -> dict[str, Any]:
    """What a curve up to an epoch is of."""
    return {"run": config, "probe": probe_digest(run / "probe.csv", epoch)}


def _means(items: pd.DataFrame) -> dict[str, Any]:
    means = {name: None if items[name].isna().all() else float(items[name].mean()) for name in DISTANCES}
    return {"left_out": int((items.status != "ok").sum())} | means


def shares_outside(probe: pd.DataFrame, space: ParameterSpace) -> pd.DataFrame:
    """Share of a probe's answers that are out of range, a row an epoch, a column a parameter."""
    outside = pd.DataFrame(~space.in_range(theta_of(probe, space)).numpy(), columns=list(space.names))
    return outside.groupby(probe.epoch.to_numpy()).mean().rename_axis("epoch")


def in_range_from(shares: pd.Series) -> int | None:
    """The epoch from which on, to the last, at most half of the answers are out of range; None if there is none."""
    kept = (shares <= 0.5)[::-1].cummin()
    return int(kept.index[kept][-1]) if kept.any() else None
