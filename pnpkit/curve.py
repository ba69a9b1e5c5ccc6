"""Distance against time: how close the sounds of a run's probe are after each epoch, and what it took."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pnpkit.distances import Operator
from pnpkit.evaluation import DISTANCES, evaluate
from pnpkit.provenance import file_hash, provenance, read_json, require_same_config, write_json
from pnpkit.synth import Synthesiser


def distance_curve(
    run: Path,
    out: Path,
    table: pd.DataFrame,
    synth: Synthesiser,
    jtfs: Operator,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Mean distances of a finished run's probe, a row an epoch.

    They are kept in ``out/curve.json``, which is written after each epoch and completed if it is partial.

    Args:
        run: folder of the run: ``config.json``, ``history.csv``, ``probe.csv``, ``provenance.json``.
        out: folder of its evaluation.
        table: the data set.
        synth, jtfs: as in :func:`pnpkit.evaluation.evaluate`.
        progress: called with (epochs done, epochs in all).

    Returns:
        ``epoch``, from 0 (untrained) on; ``seconds`` of training and validation by then; ``left_out``, how many items
        have no distance; ``jtfs``, ``mss``, ``ddsp``, means of the others.

    Raises:
        ArtefactMismatch: if the curve on disk is of other predictions; names both hashes.
        FileNotFoundError: if the run is not finished, or has no probe.
        ValueError: if the probe lacks epochs; names the first of them.
    """
    if not (run / "provenance.json").exists():
        raise FileNotFoundError(f"{run} holds no finished run")
    if not (run / "probe.csv").exists():
        raise FileNotFoundError(f"{run} was trained before probes were kept: train it again, with --no-resume")
    probe, history = pd.read_csv(run / "probe.csv"), pd.read_csv(run / "history.csv")
    epochs = [0, *history.epoch]
    missing = sorted(set(epochs) - set(probe.epoch))
    if missing:
        raise ValueError(f"{run / 'probe.csv'} lacks epochs {missing[:5]}: train the run again, with --no-resume")
    key = {"run": read_json(run / "config.json"), "probe": file_hash(run / "probe.csv")}
    path = out / "curve.json"
    stored: dict[str, Any] = read_json(path) if path.exists() else {"config": key, "rows": [], "seconds": 0.0}
    require_same_config(path, stored["config"], key)
    probe = probe.rename(columns={name: f"last_{name}" for name in synth.parameters.names})
    for epoch in epochs[len(stored["rows"]) :]:
        began, part = time.perf_counter(), probe[probe.epoch == epoch]
        items = evaluate(part, table[table.id.isin(part.id)], synth, jtfs, source=str(run / "probe.csv"))
        means = {name: None if items[name].isna().all() else float(items[name].mean()) for name in DISTANCES}
        stored["rows"].append({"epoch": int(epoch), "left_out": int((items.status != "ok").sum())} | means)
        stored["seconds"] += time.perf_counter() - began
        write_json(path, stored | {"made": provenance(key, stored["seconds"])})
        if progress is not None:
            progress(len(stored["rows"]), len(epochs))
    frame = pd.DataFrame(stored["rows"])[["epoch", "left_out", *DISTANCES]]
    # Of this very run: the same bits may have been made in another time elsewhere
    frame.insert(1, "seconds", [float(history.seconds[history.epoch <= epoch].sum()) for epoch in epochs])
    return frame
