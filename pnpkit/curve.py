"""Distance against time: how close the sounds of a run's probe are after each epoch, and what it took."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pnpkit.evaluation import DISTANCES, evaluate
from pnpkit.problem import Problem
from pnpkit.provenance import file_hash, provenance, read_json, require_same_config, write_json


def distance_curve(
    run: Path, out: Path, problem: Problem, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Mean distances of a run's probe, a row an epoch; of one that still goes on, as far as it has come.

    They are kept in ``out/curve.json``, which is made again when the run has gone on.

    Args:
        run: folder of the run: ``config.json``, ``history.csv``, ``probe.csv``.
        out: folder of its evaluation.
        problem: that the run is of.
        progress: called with (items done, items in all).

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
    if not (run / "probe.csv").exists():
        raise FileNotFoundError(f"{run} was trained before probes were kept: train it again, with --no-resume")
    probe, history = pd.read_csv(run / "probe.csv"), pd.read_csv(run / "history.csv")
    epochs = [0, *map(int, history.epoch)]
    missing = sorted(set(epochs) - set(probe.epoch))
    if missing:
        raise ValueError(f"{run / 'probe.csv'} lacks epochs {missing[:5]}: train the run again, with --no-resume")
    key = {"run": read_json(run / "config.json"), "probe": file_hash(run / "probe.csv")}
    path = out / "curve.json"
    if not path.exists() or len(read_json(path)["rows"]) < len(epochs):
        began = time.perf_counter()
        wide = probe.pivot(index="id", columns="epoch", values=list(problem.space.names))
        wide.columns = wide.columns.map(lambda column: f"{column[1]}_{column[0]}")
        part = problem.table[problem.table.id.isin(wide.index)]
        kinds, source = [str(epoch) for epoch in epochs], str(run / "probe.csv")
        items = evaluate(
            wide.reset_index(),
            part,
            problem.synth,
            problem.jtfs,
            weights=kinds,
            source=source,
            progress=progress,
        )
        rows = [{"epoch": epoch} | _means(items[items.weights == str(epoch)]) for epoch in epochs]
        write_json(path, {"config": key, "rows": rows, "made": provenance(key, time.perf_counter() - began)})
    stored: dict[str, Any] = read_json(path)
    require_same_config(path, stored["config"], key)
    frame = pd.DataFrame(stored["rows"])[["epoch", "left_out", *DISTANCES]]
    # Of this very run: the same bits may have been made in another time elsewhere
    frame.insert(1, "seconds", [float(history.seconds[history.epoch <= epoch].sum()) for epoch in epochs])
    return frame


def _means(items: pd.DataFrame) -> dict[str, Any]:
    means = {name: None if items[name].isna().all() else float(items[name].mean()) for name in DISTANCES}
    return {"left_out": int((items.status != "ok").sum())} | means
