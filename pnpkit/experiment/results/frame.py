"""One tidy frame: a row a network and kind of its weights, a column a measure. Rows, claims and tables group it."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pnpkit.experiment.evaluation.folder import Evaluation
from pnpkit.experiment.evaluation.items import DISTANCES

DASH = "—"
COUNTS = ["items", "left_out", "outside"]


def networks(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """The frame, by ``weights``, ``loss`` and ``seed``: hours of training, how many items there are, have no distance,
    are answered out of range; mean of each distance and median of each error, NaN where there is none."""
    rows = {}
    for e in evaluations:
        for weights, part in e.summary.items():
            outside = e.of(weights).filter(like="outside_").any(axis=1).sum()
            row = {"items": part["items"], "left_out": part["items"] - part["status"]["ok"], "outside": outside}
            row |= {"hours": e.made["run"]["seconds"] / 3600} | {d: part[d]["mean"] for d in DISTANCES}
            row |= {name: part[name]["median"] for name in part if name.startswith(("error_", "percent_"))}
            rows[weights, e.run["loss"], e.run["seed"]] = row
    index = pd.MultiIndex.from_tuples(rows, names=["weights", "loss", "seed"])
    return pd.DataFrame(list(rows.values()), index, dtype=float).sort_index()


def over_seeds(values: pd.Series) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds; a seed without a finite value leaves the row without one."""
    known, whole = values.dropna().tolist(), bool(values.notna().all())
    mean = statistics.fmean(known) if whole else None
    sd = statistics.stdev(known) if whole and len(known) > 1 else None
    return {"values": [None if v != v else v for v in values.tolist()], "mean": mean, "sd": sd}


def statistic(rows: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Of the rows of results: a row a loss that has a run, a column a measure, its ``"mean"`` or its ``"sd"``."""
    cells = {
        loss: {measure: cell.get(name) for measure, cell in row.items() if isinstance(cell, dict) and "mean" in cell}
        for loss, row in rows.items()
        if row is not None
    }
    return pd.DataFrame.from_dict(cells, orient="index").astype(float)


def number(value: float | None) -> str:
    """A value in a table, a dash if there is none.

    >>> number(1.005), number(None), number(float("nan"))
    ('1.00', '—', '—')
    """
    return DASH if value is None or value != value else f"{value:.2f}"


def plus_minus(mean: float | None, sd: float | None) -> str:
    """A mean with its deviation."""
    return DASH if number(mean) == DASH else f"{number(mean)} ± {number(sd)}"
