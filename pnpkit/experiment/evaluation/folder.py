"""The folder of an evaluation: distances and errors of a run's predictions, kept with the run they are of."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pnpkit._names import require_known
from pnpkit.experiment import artefacts
from pnpkit.experiment.artefacts import PROVENANCE, config_dict, read_csv, read_record, require_same_config
from pnpkit.experiment.counting import Count
from pnpkit.experiment.evaluation.items import DISTANCES, evaluate, summarise
from pnpkit.experiment.files import read_bytes, unless_read_only
from pnpkit.experiment.machine import torch_threads
from pnpkit.experiment.problem import Problem
from pnpkit.experiment.schema import Natural, check
from pnpkit.experiment.training.run_folder import RUN_PROVENANCE, read_provenance

ITEMS = {"test": "items.csv", "validation": "validation.csv"}  # items of each fold that is evaluated
DISTANCE_TOLERANCE = 1e-3  # of distances between machines, relative; float32 inside Φ


# What ``summary.json`` records: of a distance, of an error, of one kind of weights (see :func:`~.items.summarise`), all
DISTANCE = {"mean": float | None, "standard_error": float | None, "interval": list[float] | None, "left_out": Natural}
MEDIAN = {"median": float | None}
PART = {"items": int, "status": {"ok": int, ...: int}, "outside": {...: int}, **dict.fromkeys(DISTANCES, DISTANCE)}
SUMMARY: dict[str, Any] = {
    "config": {"run": dict, "predictions?": str},
    "summary": {...: {**PART, ...: MEDIAN}},
    "validation?": {...: {**PART, ...: MEDIAN}},
    "made": {"evaluation": PROVENANCE, "run?": RUN_PROVENANCE},
}


@dataclass(frozen=True)
class Evaluation:
    """One evaluated run, as its folder holds it.

    Args:
        folder: of ``items.csv`` and ``summary.json``.
        run: configuration of the training run (or the name and grid of a reference).
        items: of :func:`pnpkit.experiment.evaluation.items.evaluate`.
        summary: of :func:`pnpkit.experiment.evaluation.items.summarise`.
        made: provenance of the run and of its evaluation.
        validation: the summary of the validation fold; None of a run that was made before it was predicted.
    """

    folder: Path
    run: dict[str, Any]
    items: pd.DataFrame
    summary: dict[str, Any]
    made: dict[str, Any]
    validation: dict[str, Any] | None = None

    def of(self, weights: str) -> pd.DataFrame:
        """The items of one kind of weights, by id in ascending order; ``UnknownName`` if the run has none of it."""
        require_known(f"weights of {self.folder}", weights, self.summary)
        return self.items[self.items.weights == weights].set_index("id").sort_index()


Show = Callable[[Evaluation], object]


def evaluate_run(
    folder: Path, out: Path, problem: Problem, progress: Count = None, show: Show = lambda _: None
) -> Evaluation:
    """Evaluate a finished run, or read its evaluation if it is of these very predictions.

    Args:
        folder: of the run: ``config.json``, ``predictions.csv``, ``provenance.json``.
        out: where ``items.csv`` and ``summary.json`` go.
        problem: that the run is of.
        progress: called with (items done, items in all).
        show: called with the evaluation before it is kept, which may fail.

    Raises:
        ValueError: if the run is of another data set, or its predictions do not match, or a file of it or of its
            evaluation is not what was written; names the file.
        ArtefactMismatch: if ``out`` holds another evaluation; names both hashes.
        FileNotFoundError: if the run is not finished.
    """
    made, file = read_provenance(folder, ["predictions.csv"]), folder / "predictions.csv"
    run, grid = made["config"], config_dict(problem.grid)
    if run.get("grid") != grid:
        raise ValueError(f"{folder / 'config.json'} is of the data set {run.get('grid')}, not {grid}")
    key = {"run": run, "predictions": artefacts.digest(read_bytes(file))}
    return _evaluated(out, key, {"run": made}, read_csv(file, ["id"]), problem, str(file), progress, show)


def evaluate_reference(
    name: str, predictions: pd.DataFrame, out: Path, problem: Problem, progress: Count = None
) -> Evaluation:
    """Evaluate predictions that need no training, those of :func:`reference_predictions`, or read what was kept."""
    key = {"run": {"reference": name, "grid": config_dict(problem.grid)}}
    return _evaluated(out, key, {}, predictions, problem, name, progress)


def read_evaluation(folder: Path, run: Any = None) -> Evaluation:
    """An evaluation from its folder, after checking it against its digests.

    Args:
        folder: of the evaluation.
        run: configuration of the run that it must be of; any by default.

    Raises:
        ArtefactMismatch: if it is of another run; names both hashes.
        FileNotFoundError: if there is none.
        ValueError: if a file is truncated, or not what was written; names it.
    """
    path = folder / "summary.json"
    stored = read_record(path, SUMMARY, "evaluate")
    if run is not None:
        require_same_config(path, stored["config"]["run"], run)
    items = read_csv(folder / "items.csv", ["id", *DISTANCES])
    if "reference" not in stored["config"]["run"]:
        check(stored["made"], SUMMARY["made"] | {"run": RUN_PROVENANCE}, path, "made")
    weights = set(items.get("weights", []))
    if "status" not in items or weights != set(stored["summary"]):
        raise ValueError(f"{folder / 'items.csv'} holds weights {sorted(weights)}, not those of {path}")
    run, validation = stored["config"]["run"], stored.get("validation")
    return Evaluation(folder, run, items, stored["summary"], stored["made"], validation)


def verify_evaluation(folder: Path, out: Path, problem: Problem, n: int) -> float:
    """Compare a run's answers with their targets again, for a random sample of the test fold.

    Args:
        folder, out: of the run and of its evaluation.
        problem: that the run is of.
        n: how many items; all of them if there are fewer.

    Returns:
        The largest difference of a distance, relative to it; of the text's MSS, to one more than it. Its logarithms
        reach down to the rounding of float32, which another processor does differently, by some 4e-4 in all.

    Raises:
        ValueError: if a distance differs by more than the tolerance, or what could be compared then cannot now, or the
            reverse; names the ids.
    """
    table = problem.table
    ids = table.id[table.fold == "test"].to_numpy()
    sample = np.random.default_rng(0).choice(ids, min(n, len(ids)), replace=False)
    read_provenance(folder, ["predictions.csv"])
    predictions, index = read_csv(folder / "predictions.csv", ["id"]), ["weights", "id"]
    part = table[table.id.isin(sample)]
    again = evaluate(predictions[predictions.id.isin(sample)], part, problem.synth, problem.phi)
    kept = read_evaluation(out).items
    again, kept = again.set_index(index), kept[kept.id.isin(sample)].set_index(index)
    new, old = again[list(DISTANCES)], kept[list(DISTANCES)]
    difference = ((new - old).abs() / (old + pd.Series({"jtfs": 0.0, "mss": 0.0, "ddsp": 1.0}))).max(axis=1).fillna(0.0)
    wrong = (difference > DISTANCE_TOLERANCE) | (again.status != kept.status)
    if wrong.any():
        found = sorted({item for _, item in difference.index[wrong]})
        raise ValueError(
            f"{out}: the distances of ids {found} are not those of a new computation to {DISTANCE_TOLERANCE:.0e}"
        )
    return float(difference.max())


def _evaluated(
    out: Path,
    key: dict[str, Any],
    made: dict[str, Any],
    predictions: pd.DataFrame,
    problem: Problem,
    source: str,
    progress: Count,
    show: Show = lambda _: None,
) -> Evaluation:
    if (out / "summary.json").exists():
        require_same_config(out, read_record(out / "summary.json", SUMMARY)["config"], key)
        show(found := read_evaluation(out))
        return found
    began = time.perf_counter()
    with torch_threads(1):
        # The paper built the validation fold to test generalisation; runs of before it was predicted lack it
        folds = [f for f in ITEMS if f == "test" or ("fold" in predictions and f in set(predictions.fold))]
        hear = partial(evaluate, predictions, problem.table, problem.synth, problem.phi, source=source)
        items = {fold: hear(fold=fold, progress=progress) for fold in folds}
    made = made | {"evaluation": artefacts.provenance(key, time.perf_counter() - began)}
    summaries = {"summary" if fold == "test" else fold: summarise(items[fold]) for fold in folds}
    show(found := Evaluation(out, key["run"], items["test"], summaries["summary"], made, summaries.get("validation")))
    with unless_read_only(f"{out} cannot be written to: what is computed here is not kept"):
        for fold in folds:
            artefacts.write_csv(out / ITEMS[fold], items[fold], float_format="%.7g")
        # The summary goes last: its presence says that the items are whole.
        record = {"config": config_dict(key), **summaries, "made": made}
        artefacts.write_record(out / "summary.json", record, [ITEMS[fold] for fold in folds])
        found = read_evaluation(out)
    return found
